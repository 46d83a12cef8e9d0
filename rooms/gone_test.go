package rooms

import (
	"fmt"
	"runtime"
	"testing"
)

// 200,000 rooms are created and become empty. Neither the shard's table of
// rooms nor the node's occupancy table may keep memory for them.
func TestEmptyRoomsFreeTheirMemory(t *testing.T) {
	const all = 200_000
	o := newOccupancy(nil, nil, nil, &vacant{})
	sh := &Shard{}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	stay := make([]*room, 100)
	for i := range stay {
		stay[i] = &room{nodeRoom: o.newRoom(fmt.Sprint("stay ", i))}
		o.join(stay[i], 0, "")
	}
	before := heap()
	rooms := make([]*room, all)
	for i := range rooms {
		rooms[i] = &room{nodeRoom: o.newRoom(fmt.Sprint(i))}
		o.join(rooms[i], 0, "")
		sh.rooms.put(rooms[i])
	}
	for _, r := range rooms {
		o.leave(r, 0, true)
		sh.rooms.remove(r)
	}
	rooms = nil
	if after := heap(); after > before+1<<20 {
		t.Errorf("the heap has grown by %d KiB, want less than 1 MiB", (after-before)>>10)
	}
	for _, r := range stay {
		if n := o.of(r.name).members; n != 1 {
			t.Errorf("%d members in %q, want 1", n, r.name)
		}
	}
	runtime.KeepAlive(sh)
}
