package rooms

import (
	"hash/maphash"
	"sync"
)

// occupancyStripes spreads the lock on the occupancy table. Loops meet on a
// stripe only in the instant in which a room gets its first or loses its last
// member on a loop, or is broadcast to.
const occupancyStripes = 64

// occupancy knows which shards hold members of a room, so that a broadcast
// wakes only those event loops, and how many they are. Safe for concurrent use.
type occupancy struct {
	cluster Cluster // may be nil
	seed    maphash.Seed
	stripes [occupancyStripes]occupancyStripe
}

type occupancyStripe struct {
	mu     sync.RWMutex
	shards map[string]uint64 // which hold the room, as a bit set
	// counts is how many members a room has, of more than one: most rooms are
	// a user's with one socket, and there would be one entry here for each.
	counts map[string]int
	_      [24]byte // keeps neighbours' locks off one cache line
}

func newOccupancy(c Cluster) *occupancy {
	o := &occupancy{cluster: c, seed: maphash.MakeSeed()}
	for i := range o.stripes {
		o.stripes[i].shards, o.stripes[i].counts = make(map[string]uint64), make(map[string]int)
	}
	return o
}

func (o *occupancy) stripe(room string) *occupancyStripe {
	return &o.stripes[maphash.String(o.seed, room)%occupancyStripes]
}

// join notes that a shard has one more member in room. fresh: it is the
// shard's first, and known is what Cluster.Occupied returns. The cluster is
// told under the lock, so that it hears of two loops in the right order.
func (o *occupancy) join(r *room, shard int) (fresh, known bool) {
	s := o.stripe(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.shards[r.name]
	fresh = held&(1<<shard) == 0
	members := s.members(r.name) + 1
	if members > 1 {
		s.counts[r.name] = members
	}
	if fresh {
		s.shards[r.name] = held | 1<<shard
		known = o.cluster == nil || o.cluster.Occupied(r.name)
	}
	o.counted(r, members)
	return fresh, known
}

// leave notes that a shard has one member less in room; last: it was the
// shard's last.
func (o *occupancy) leave(r *room, shard int, last bool) {
	s := o.stripe(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	members := s.members(r.name) - 1
	if members > 1 {
		s.counts[r.name] = members
	} else {
		delete(s.counts, r.name)
	}
	if last {
		s.shards[r.name] &^= 1 << shard
	}
	if members > 0 {
		o.counted(r, members)
		return
	}
	delete(s.shards, r.name)
	if o.cluster != nil {
		o.cluster.Vacated(r.name)
	}
}

// members returns how many sockets are in room. s.mu is held.
func (s *occupancyStripe) members(room string) int {
	if n, ok := s.counts[room]; ok {
		return n
	}
	if _, ok := s.shards[room]; ok {
		return 1
	}
	return 0
}

// counted tells the cluster of the members of a room that clients join.
func (o *occupancy) counted(r *room, members int) {
	if o.cluster != nil && r.announce {
		o.cluster.Counted(r.name, members)
	}
}

// members returns how many sockets are in room: exactly of this node, and about
// of the others.
func (o *occupancy) members(room string) (n int) {
	if o.cluster != nil {
		n = o.cluster.Members(room)
	}
	s := o.stripe(room)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return n + s.members(room)
}

// elsewhere reports whether another node may hold room.
func (o *occupancy) elsewhere(room string) bool {
	return o.cluster != nil && o.cluster.Elsewhere(room)
}

// holders returns the shards that have members in room, as a bit set.
func (o *occupancy) holders(room string) uint64 {
	s := o.stripe(room)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.shards[room]
}

// names returns up to limit room names, and how many rooms there are.
func (o *occupancy) names(limit int) (names []string, total int) {
	for i := range o.stripes {
		s := &o.stripes[i]
		s.mu.RLock()
		total += len(s.shards)
		for room := range s.shards {
			if len(names) >= limit {
				break
			}
			names = append(names, room)
		}
		s.mu.RUnlock()
	}
	return names, total
}
