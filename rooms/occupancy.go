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
	mu    sync.RWMutex
	rooms map[string]occupied
	_     [32]byte // keeps neighbours' locks off one cache line
}

// occupied is what the shards hold of a room.
type occupied struct {
	shards  uint64 // bit set
	members int
}

func newOccupancy(c Cluster) *occupancy {
	o := &occupancy{cluster: c, seed: maphash.MakeSeed()}
	for i := range o.stripes {
		o.stripes[i].rooms = make(map[string]occupied)
	}
	return o
}

func (o *occupancy) stripe(room string) *occupancyStripe {
	return &o.stripes[maphash.String(o.seed, room)%occupancyStripes]
}

// join notes that a shard has one more member in room. fresh: it is the
// shard's first, and known is what Cluster.Occupied returns. The cluster is
// told under the lock, so that it hears of two loops in the right order.
func (o *occupancy) join(room string, shard int) (fresh, known bool) {
	s := o.stripe(room)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.rooms[room]
	fresh = held.shards&(1<<shard) == 0
	held.shards |= 1 << shard
	held.members++
	s.rooms[room] = held
	if fresh {
		known = o.cluster == nil || o.cluster.Occupied(room)
	}
	return fresh, known
}

// leave notes that a shard has one member less in room; last: it was the
// shard's last.
func (o *occupancy) leave(room string, shard int, last bool) {
	s := o.stripe(room)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.rooms[room]
	held.members--
	if last {
		held.shards &^= 1 << shard
	}
	if held.shards != 0 {
		s.rooms[room] = held
		return
	}
	delete(s.rooms, room)
	if o.cluster != nil {
		o.cluster.Vacated(room)
	}
}

// members returns how many sockets of this node are in room.
func (o *occupancy) members(room string) int {
	s := o.stripe(room)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rooms[room].members
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
	return s.rooms[room].shards
}

// names returns up to limit room names, and how many rooms there are.
func (o *occupancy) names(limit int) (names []string, total int) {
	for i := range o.stripes {
		s := &o.stripes[i]
		s.mu.RLock()
		total += len(s.rooms)
		for room := range s.rooms {
			if len(names) >= limit {
				break
			}
			names = append(names, room)
		}
		s.mu.RUnlock()
	}
	return names, total
}
