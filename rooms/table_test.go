package rooms

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Random puts and removals are compared with a map, while the table grows and
// shrinks.
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
			t.Fatalf("list has a room %q that is not in the table", r.name)
		}
		table.remove(r)
	}
	if len(list) != len(want) || table.parts != nil {
		t.Errorf("%d rooms are listed, want %d; after their removal the table is %+v, want it empty", len(list), len(want), table)
	}
}

// Three names with the same hash are put into a table. Each must be found by
// its name.
func TestNamesWithTheSameHash(t *testing.T) {
	const hash = 1<<63 | 5
	var table nameTable[*nodeRoom]
	names := []string{"a", "b", "c"}
	for _, name := range names {
		table.put(hash, &nodeRoom{name: name})
	}
	for _, name := range names {
		if p := table.get(hash, name); p == nil || p.name != name {
			t.Errorf("the entry of %q is %v", name, p)
		}
	}
	if p := table.get(hash, "d"); p != nil {
		t.Errorf("a name that was not put was found: %q", p.name)
	}
}

func TestPublicIDsAreWrittenAndRead(t *testing.T) {
	id := newPublicID()
	if again, ok := parsePublicID(id.String()); !ok || again != id || string(id.append([]byte("x"))) != "x"+id.String() {
		t.Errorf("%v was parsed as %v, %v", id, again, ok)
	}
	if none, ok := parsePublicID(""); !ok || none != (publicID{}) || none.String() != "" || len(none.append(nil)) != 0 {
		t.Errorf("an empty id was parsed as %v, %v; want the zero id", none, ok)
	}
	if id, ok := parsePublicID("short"); ok {
		t.Errorf("an id that is too short was parsed as %v, want an error", id)
	}
}

// Members that are added and dropped are compared with a slice.
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
		t.Errorf("after the last drop members is %+v, want the zero value", m)
	}
}
