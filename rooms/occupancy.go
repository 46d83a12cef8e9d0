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
// wakes only those event loops. Safe for concurrent use.
type occupancy struct {
	cluster Cluster // may be nil
	seed    maphash.Seed
	stripes [occupancyStripes]occupancyStripe
}

type occupancyStripe struct {
	mu    sync.RWMutex
	rooms map[string]uint64 // room → bit set of shards
	_     [32]byte          // keeps neighbours' locks off one cache line
}

func newOccupancy(c Cluster) *occupancy {
	o := &occupancy{cluster: c, seed: maphash.MakeSeed()}
	for i := range o.stripes {
		o.stripes[i].rooms = make(map[string]uint64)
	}
	return o
}

func (o *occupancy) stripe(room string) *occupancyStripe {
	return &o.stripes[maphash.String(o.seed, room)%occupancyStripes]
}

// enter notes that a shard has its first member in room, and returns what
// Cluster.Occupied does. The cluster is told under the lock, so that it hears
// of two loops in the right order.
func (o *occupancy) enter(room string, shard int) bool {
	s := o.stripe(room)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rooms[room] |= 1 << shard
	return o.cluster == nil || o.cluster.Occupied(room)
}

// leave notes that a shard has lost its last member in room.
func (o *occupancy) leave(room string, shard int) {
	s := o.stripe(room)
	s.mu.Lock()
	defer s.mu.Unlock()
	if left := s.rooms[room] &^ (1 << shard); left != 0 {
		s.rooms[room] = left
		return
	}
	delete(s.rooms, room)
	if o.cluster != nil {
		o.cluster.Vacated(room)
	}
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
	return s.rooms[room]
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
