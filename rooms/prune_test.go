package rooms

import (
	"fmt"
	"maps"
	"runtime"
	"testing"
)

func TestPrunedMapsKeepTheirEntries(t *testing.T) {
	var p peak
	m, want, copies := make(map[int]int), make(map[int]int), 0
	for i := range 10 * pruneFrom {
		m[i], want[i] = i, i
	}
	for i := range 10*pruneFrom - 5 {
		before := p
		delete(m, i)
		delete(want, i)
		m = pruned(m, &p)
		if p < before {
			copies++
		}
		if !maps.Equal(m, want) {
			t.Fatalf("after %d deletions %d entries, want %d", i+1, len(m), len(want))
		}
	}
	if copies == 0 || copies > 3 {
		t.Errorf("%d copies, want 1 to 3", copies)
	}
}

// TestRoomsThatHaveGoneLeaveNoMemory: neither in the shard nor in the table of
// who holds which room.
func TestRoomsThatHaveGoneLeaveNoMemory(t *testing.T) {
	const all = 200_000
	o := newOccupancy(nil, nil, &vacant{})
	sh := &Shard{rooms: make(map[string]*room)}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	stay := make([]*room, 100)
	for i := range stay {
		stay[i] = &room{name: fmt.Sprint("stay ", i)}
		o.join(stay[i], 0, "")
	}
	before := heap()
	rooms := make([]*room, all)
	for i := range rooms {
		rooms[i] = &room{name: fmt.Sprint(i)}
		o.join(rooms[i], 0, "")
		sh.rooms[rooms[i].name] = rooms[i]
	}
	for _, r := range rooms {
		o.leave(r, 0, true)
		sh.forgetRoom(r)
	}
	rooms = nil
	if after := heap(); after > before+1<<20 {
		t.Errorf("%d KiB more than before", (after-before)>>10)
	}
	for _, r := range stay {
		if n := o.of(r.name).members; n != 1 {
			t.Errorf("%d members in %q, want 1", n, r.name)
		}
	}
	runtime.KeepAlive(sh)
}
