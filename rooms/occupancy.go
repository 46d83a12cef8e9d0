package rooms

import (
	"sync"
	"unsafe"
)

// occupancyStripes is the number of locks and tables of the occupancy. A stripe
// is locked only when a room gets or loses a member, or is broadcast to.
const occupancyStripes = 256

// occupancy has, for each room, which shards have members of it and how many
// members, so that a broadcast wakes only those event loops. Safe for
// concurrent use.
type occupancy struct {
	cluster Cluster  // may be nil
	outside Outside  // may be nil
	present Presence // may be nil
	vacant  *vacant
	stripes [occupancyStripes]occupancyStripe
}

// An occupancyStripe has a share of the rooms, under one lock.
type occupancyStripe struct {
	mu    sync.RWMutex
	rooms nameTable[*nodeRoom]
	_     [48]byte // keeps the locks of adjacent stripes on different cache lines
}

// A nodeRoom is one room on this node, with members on at least one shard. The
// mutex of its stripe guards all but the name, which does not change.
type nodeRoom struct {
	name     string
	occupied occupied
}

func (p *nodeRoom) key() string { return p.name }

// occupied is the state of one room on this node.
type occupied struct {
	shards  uint64 // as a bit set
	members int32
	own     bool // only its owner's sockets or all sockets are in it: not listed
}

func newOccupancy(c Cluster, outside Outside, present Presence, v *vacant) *occupancy {
	return &occupancy{cluster: c, outside: outside, present: present, vacant: v}
}

func (o *occupancy) stripe(hash uint64) *occupancyStripe {
	return &o.stripes[hash>>8%occupancyStripes]
}

// join counts one more member of a room on a shard: a socket of user. The
// cluster is called under the lock, so that it sees changes by two loops in
// order.
func (o *occupancy) join(r *room, shard int, user string) {
	hash := hashName(r.name)
	s := o.stripe(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.rooms.get(hash, r.name); p != nil {
		r.nodeRoom = p // another shard may have come first
	} else {
		s.rooms.put(hash, r.nodeRoom)
		o.vacant.occupied(r.name)
	}
	now := &r.nodeRoom.occupied
	fresh := now.shards&(1<<shard) == 0
	now.shards |= 1 << shard
	now.members++
	now.own = r.own && (now.own || now.members == 1)
	if o.outside != nil && now.members == 1 && r.name != roomOfAll {
		o.outside.Occupied(r.name)
	}
	if fresh && o.cluster != nil && !r.own {
		o.cluster.Occupied(r.name, user)
	}
	o.counted(r, int(now.members))
	o.tell(r, *now)
}

// newRoom returns the nodeRoom for a room's first member on a shard: that of the
// other shards, if there is one.
func (o *occupancy) newRoom(room string) *nodeRoom {
	hash := hashName(room)
	s := o.stripe(hash)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.rooms.get(hash, room); p != nil {
		return p
	}
	return &nodeRoom{name: room}
}

// leave counts one member less of a room on a shard. last is true if it was the
// shard's last. It reports whether it was the node's last.
func (o *occupancy) leave(r *room, shard int, last bool) (vacated bool) {
	hash := hashName(r.name)
	s := o.stripe(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := &r.nodeRoom.occupied
	now.members--
	o.tell(r, *now)
	if last {
		now.shards &^= 1 << shard
	}
	if now.members > 0 {
		o.counted(r, int(now.members))
		return false
	}
	s.rooms.remove(hash, r.name)
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
	hash := hashName(room)
	s := o.stripe(hash)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.rooms.get(hash, room); p != nil {
		return p.occupied
	}
	return occupied{}
}

// holds reports whether this node has members in room. It does not allocate.
func (o *occupancy) holds(room []byte) bool {
	return o.of(unsafe.String(unsafe.SliceData(room), len(room))).members > 0
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
		for p := range s.rooms.all() {
			if p.occupied.own {
				continue
			}
			if total++; len(names) < limit {
				names = append(names, p.name)
			}
		}
		s.mu.RUnlock()
	}
	return names, total
}
