package rooms

import (
	"math/rand/v2"
	"testing"
)

func TestPIDsAreWrittenAndRead(t *testing.T) {
	p := newPID()
	if again, ok := parsePID(p.String()); !ok || again != p {
		t.Errorf("%v was parsed as %v, %v", p, again, ok)
	}
	text := p.String()
	for _, bad := range []string{"", "?", text[1:], text + "A", text[:19] + "=", text[:19] + "+", text[:18] + "\n\n"} {
		if q, ok := parsePID(bad); ok {
			t.Errorf("%q was parsed as %v, want an error", bad, q)
		}
	}
}

// Random puts and removals are compared with a map. Many pids begin alike, so
// that they are in the same part of the table.
func TestPIDTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var table pidTable
	want := make(map[pid]*Socket)
	pick := func() (p pid) {
		p[0], p[1], p[2] = byte(rng.IntN(2)), byte(rng.IntN(4)), byte(rng.IntN(256))
		p[4] = byte(rng.IntN(3)) * 100 // decides most of its place
		return p
	}
	for step := range 20_000 {
		p := pick()
		switch grow := step/2_000%2 == 0; {
		case rng.IntN(3) > 0 == grow:
			s := &Socket{session: &session{pid: p}}
			if old := table.put(s); old != want[p] {
				t.Fatalf("step %d: %p was replaced, want %p", step, old, want[p])
			}
			want[p] = s
		default:
			table.remove(p)
			delete(want, p)
		}
		if q := pick(); table.get(q) != want[q] || table.get(p) != want[p] || table.size != len(want) {
			t.Fatalf("step %d: %d sockets, want %d; or a pid has another socket than in the map", step, table.size, len(want))
		}
	}
	if all := table.all(); len(all) != len(want) {
		t.Errorf("%d sockets, want %d", len(all), len(want))
	}
	for p := range want {
		table.remove(p)
	}
	for i := range table.parts {
		if len(table.parts[i].slots) > 0 {
			t.Error("an empty table has slots, want none")
		}
	}
}

func TestPlacesHoldPositions(t *testing.T) {
	for _, position := range []uint64{0, 1, 255, 1 << 24, 1<<31 + 5, 1 << 32, 1<<givenBits - 1} {
		var p place
		if p.set(position); p.position() != position {
			t.Errorf("position %d was read as %d", position, p.position())
		}
	}
}
