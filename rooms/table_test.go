package rooms

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestRoomTable compares the table with a map, while it grows and shrinks.
func TestRoomTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var table roomTable
	want := make(map[string]*room)
	for step := range 60_000 {
		name := fmt.Sprint("user:", rng.IntN(8_000))
		r := want[name]
		switch grow := step/20_000 != 1; {
		case r == nil && (grow || rng.IntN(8) == 0):
			r = &room{nodeRoom: &nodeRoom{name: name}}
			table.put(r)
			want[name] = r
		case r != nil && (!grow || rng.IntN(4) == 0):
			table.remove(r)
			delete(want, name)
		}
		if got := table.getBytes([]byte(name)); got != want[name] || table.size != len(want) {
			t.Fatalf("step %d: %q is %p of %d, want %p of %d", step, name, got, table.size, want[name], len(want))
		}
	}
	for name, r := range want {
		if table.get(name) != r {
			t.Fatalf("%q is %p, want %p", name, table.get(name), r)
		}
	}
	list := table.list()
	for _, r := range list {
		if want[r.name] != r {
			t.Fatalf("%q is listed", r.name)
		}
		table.remove(r)
	}
	if len(list) != len(want) || table.parts != nil {
		t.Errorf("%d are listed, want %d; with none of them %+v", len(list), len(want), table)
	}
}

// Names with the same hash are told apart.
func TestNamesWithTheSameHash(t *testing.T) {
	const hash = 1<<63 | 5
	var table nameTable[*nodeRoom]
	names := []string{"a", "b", "c"}
	for _, name := range names {
		table.put(hash, &nodeRoom{name: name})
	}
	for _, name := range names {
		if p := table.get(hash, name); p == nil || p.name != name {
			t.Errorf("%q is %v", name, p)
		}
	}
	if p := table.get(hash, "d"); p != nil {
		t.Errorf("%q was found, which nobody has put there", p.name)
	}
}

func TestPublicIDsAreWrittenAndRead(t *testing.T) {
	id := newPublicID()
	if again, ok := parsePublicID(id.String()); !ok || again != id || string(id.append([]byte("x"))) != "x"+id.String() {
		t.Errorf("%v was read as %v, %v", id, again, ok)
	}
	if none, ok := parsePublicID(""); !ok || none != (publicID{}) || none.String() != "" || len(none.append(nil)) != 0 {
		t.Errorf("none is %v, %v", none, ok)
	}
	if id, ok := parsePublicID("short"); ok {
		t.Errorf("read as %v", id)
	}
}

// TestMembers compares the members of a room with a slice.
func TestMembers(t *testing.T) {
	var m members
	var want []*Socket
	check := func() {
		t.Helper()
		if got := m.all(); len(got) != len(want) || m.len() != len(want) {
			t.Fatalf("%d members, want %d", len(got), len(want))
		}
		for i, s := range m.all() {
			if s != want[i] {
				t.Fatalf("member %d is %p, want %p", i, s, want[i])
			}
		}
	}
	for _, n := range []int{1, 0, 2, 1, 3, 0, 200, 1, 5, 0} {
		for len(want) < n {
			s := &Socket{}
			m.add(s)
			want = append(want, s)
			check()
		}
		for len(want) > n {
			m.drop()
			want = want[:len(want)-1]
			check()
		}
	}
	if m != (members{}) {
		t.Errorf("%+v is left of nothing", m)
	}
}
