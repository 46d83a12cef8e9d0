package rooms

import (
	"hash/maphash"
	"sync"

	"github.com/hometrip/gateway/internal/shrink"
)

// occupancyStripes is the number of locks of the occupancy table. A stripe is
// locked only when a room gets or loses a member, or is broadcast to.
const occupancyStripes = 64

// occupancy has, for each room, which shards have members of it and how many
// members, so that a broadcast wakes only those event loops. Safe for
// concurrent use.
type occupancy struct {
	cluster Cluster  // may be nil
	outside Outside  // may be nil
	present Presence // may be nil
	vacant  *vacant
	seed    maphash.Seed
	stripes [occupancyStripes]occupancyStripe
}

// An occupancyStripe has a share of the rooms, under one lock.
type occupancyStripe struct {
	mu    sync.RWMutex
	rooms map[string]occupied
	peak  shrink.Peak // most rooms so far
	_     [24]byte    // keeps the locks of adjacent stripes on different cache lines
}

// occupied is the state of one room on this node.
type occupied struct {
	shards  uint64 // as a bit set
	members int32
	own     bool // only its owner's sockets or all sockets are in it: not listed
}

func newOccupancy(c Cluster, outside Outside, present Presence, v *vacant) *occupancy {
	o := &occupancy{cluster: c, outside: outside, present: present, vacant: v, seed: maphash.MakeSeed()}
	for i := range o.stripes {
		o.stripes[i].rooms = make(map[string]occupied)
	}
	return o
}

func (o *occupancy) stripe(room string) *occupancyStripe {
	return &o.stripes[maphash.String(o.seed, room)%occupancyStripes]
}

// join counts one more member of a room on a shard: a socket of user. The
// cluster is called under the lock, so that it sees changes by two loops in
// order.
func (o *occupancy) join(r *room, shard int, user string) {
	s := o.stripe(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.rooms[r.name]
	if now.members == 0 {
		o.vacant.occupied(r.name)
	}
	fresh := now.shards&(1<<shard) == 0
	now.shards |= 1 << shard
	now.members++
	now.own = r.own && (now.own || now.members == 1)
	s.rooms[r.name] = now
	if o.outside != nil && now.members == 1 && r.name != roomOfAll {
		o.outside.Occupied(r.name)
	}
	if fresh && o.cluster != nil && !r.own {
		o.cluster.Occupied(r.name, user)
	}
	o.counted(r, int(now.members))
	o.tell(r, now)
}

// leave counts one member less of a room on a shard. last is true if it was the
// shard's last. It reports whether it was the node's last.
func (o *occupancy) leave(r *room, shard int, last bool) (vacated bool) {
	s := o.stripe(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.rooms[r.name]
	now.members--
	o.tell(r, now)
	if last {
		now.shards &^= 1 << shard
	}
	if now.members > 0 {
		s.rooms[r.name] = now
		o.counted(r, int(now.members))
		return false
	}
	delete(s.rooms, r.name)
	s.rooms = shrink.Map(s.rooms, &s.peak)
	if o.outside != nil && r.name != roomOfAll {
		o.outside.Vacated(r.name)
	}
	if o.cluster != nil && !now.own {
		o.cluster.Vacated(r.name)
	}
	return true
}

// counted calls the cluster with the number of members of a room, if clients
// can join it.
func (o *occupancy) counted(r *room, members int) {
	if o.cluster != nil && r.announce {
		o.cluster.Counted(r.name, members)
	}
}

// tell passes the number of sockets in a room to Presence.
func (o *occupancy) tell(r *room, now occupied) {
	if o.present != nil && !now.own {
		o.present.Counted(r.name, int(now.members))
	}
}

// of returns the state of a room on this node.
func (o *occupancy) of(room string) occupied {
	s := o.stripe(room)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rooms[room]
}

// holds reports whether this node has members in room. It does not allocate.
func (o *occupancy) holds(room []byte) bool {
	s := &o.stripes[maphash.Bytes(o.seed, room)%occupancyStripes]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rooms[string(room)].members > 0
}

// members returns the number of members of a room on all nodes, of which here
// are on this node. The number on other nodes is approximate.
func (o *occupancy) members(room string, here occupied) int {
	if o.cluster == nil {
		return int(here.members)
	}
	return int(here.members) + o.cluster.Members(room)
}

// elsewhere reports whether another node may hold room.
func (o *occupancy) elsewhere(room string) bool {
	return o.cluster != nil && o.cluster.Elsewhere(room)
}

// names returns up to limit room names, and how many rooms there are.
func (o *occupancy) names(limit int) (names []string, total int) {
	for i := range o.stripes {
		s := &o.stripes[i]
		s.mu.RLock()
		for room, held := range s.rooms {
			if held.own {
				continue
			}
			if total++; len(names) < limit {
				names = append(names, room)
			}
		}
		s.mu.RUnlock()
	}
	return names, total
}
