package rooms

import (
	"context"
	"math/bits"
	"time"
)

// Reach returns how many connected sockets of this node are in at least one of
// some rooms. Absent sockets, which may come back, do not count. It must not be
// called on an event loop. The error is ctx's.
func (h *Hub) Reach(ctx context.Context, names []string) (sockets int, err error) {
	var holders uint64
	for _, name := range names {
		holders |= h.occupancy.of(name).shards
	}
	answers := make(chan int, len(h.shards))
	asked := bits.OnesCount64(holders)
	for ; holders != 0; holders &= holders - 1 {
		sh := h.shards[bits.TrailingZeros64(holders)]
		sh.Post(func(time.Time) { answers <- sh.reach(names) })
	}
	for range asked {
		select {
		case n := <-answers:
			sockets += n
		case <-ctx.Done():
			return sockets, ctx.Err()
		}
	}
	return sockets, nil
}

func (sh *Shard) reach(names []string) (sockets int) {
	var seen map[*Socket]bool // nil: a socket cannot be in two of the rooms
	if len(names) > 1 {
		seen = make(map[*Socket]bool)
	}
	for _, name := range names {
		r := sh.rooms.get(name)
		if r == nil {
			continue
		}
		if seen == nil && r.asked == 0 { // nobody who could be absent
			sockets += r.members.len()
			continue
		}
		for _, m := range r.members.all() {
			if m.phase == phaseAbsent || seen[m] {
				continue
			}
			if sockets++; seen != nil {
				seen[m] = true
			}
		}
	}
	return sockets
}
