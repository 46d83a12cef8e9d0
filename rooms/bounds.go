package rooms

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"
)

// The rooms that clients join take memory on the node. They are limited by
// number and share for each user, and in bytes for the node. Redis stores about
// as much for each node, so the limit protects it too. A user's own room does
// not count. Joins are refused long before new sessions are.

const (
	// A room costs roomBytes and nameCopies times its name, on its loop, in the
	// occupancy table and in the directory; a member in it membershipBytes.
	// TestRoomBytesMatchTheHeap measures that.
	roomBytes       = 256
	nameCopies      = 2
	membershipBytes = 64

	// A user may hold 1/roomShare of the free bytes, so that a few users cannot
	// have all of them. 1/roomReserve of all bytes is reserved for users with
	// no more than roomLittle: some hundred rooms.
	roomShare   = 16
	roomReserve = 4
	roomLittle  = 64 << 10

	boundStripes = 64
)

// errNodeFull refuses joins beyond Limits.RoomBytes, and while memory is short.
var errNodeFull = errors.New("Too many rooms here, try again later")

// joinCost returns what a join costs the node if nobody else is in the room. A
// user's joins are counted with it, whoever else is in the room.
func joinCost(name int) int64 { return roomCost(name) + membershipBytes }

func roomCost(name int) int64 { return roomBytes + nameCopies*int64(name) }

// bounds counts what each user of a node holds: memberships and bytes of rooms.
// Safe for concurrent use; a lock is held for one map access.
type bounds struct {
	seed    maphash.Seed
	stripes [boundStripes]boundStripe
}

// A boundStripe has the holdings of a share of the users, under one lock.
type boundStripe struct {
	mu    sync.Mutex
	users map[string]holding
}

// A holding is what all sockets of one user hold together.
type holding struct {
	memberships int
	bytes       int64
}

func newBounds() *bounds {
	b := &bounds{seed: maphash.MakeSeed()}
	for i := range b.stripes {
		b.stripes[i].users = make(map[string]holding)
	}
	return b
}

// add changes what a user holds and returns it.
func (b *bounds) add(user string, memberships int, bytes int64) holding {
	s := &b.stripes[maphash.String(b.seed, user)%boundStripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.users[user]
	if memberships == 0 {
		return h
	}
	h.memberships += memberships
	h.bytes += bytes
	if h.memberships > 0 {
		s.users[user] = h
	} else {
		delete(s.users, user)
	}
	return h
}

// of returns what a user holds.
func (b *bounds) of(user string) holding { return b.add(user, 0, 0) }

// mayJoin returns an error if the socket, its user or the node holds too much
// for another room with a name of so many bytes. Several loops may check at
// once, so a limit may be exceeded by one room for each loop.
func (s *Socket) mayJoin(name int, now time.Time) error {
	h := s.shard.hub
	limits := h.limits()
	if s.rooms.len() >= limits.Rooms {
		return fmt.Errorf("In %d rooms already", limits.Rooms)
	}
	held := s.holding()
	if left := h.vacant.of(s.UserID(), now); s.UserID() != "" { // sockets without a user share nothing
		held.bytes += left
	}
	if most := limits.UserRooms; most > 0 && s.UserID() != "" && held.memberships >= most {
		s.shard.stats.JoinsOverUser.Add(1)
		return fmt.Errorf("User in %d rooms already", most)
	}
	if !h.short.Load() && h.roomFor(held.bytes, joinCost(name)) {
		return nil
	}
	if held.bytes > h.largestShare() {
		s.shard.stats.JoinsOverUser.Add(1)
	} else {
		s.shard.stats.JoinsOverNode.Add(1)
	}
	return errNodeFull
}

// holding returns what the socket's user holds, or what the socket holds if it
// has no user.
func (s *Socket) holding() (held holding) {
	if s.UserID() != "" {
		return s.shard.hub.bounds.of(s.UserID())
	}
	for i := range s.rooms.all() {
		held.memberships++
		held.bytes += joinCost(len(s.rooms.all()[i].room.name))
	}
	return held
}

// roomFor reports whether a user who holds that many bytes may hold that many
// more.
func (h *Hub) roomFor(held, more int64) bool {
	most := int64(h.limits().RoomBytes)
	if most == 0 {
		return true
	}
	free := most - h.roomBytes()
	if held+more <= roomLittle {
		return more <= free
	}
	return held+more <= (free-most/roomReserve)/roomShare
}

// largestShare returns the most that any user may hold.
func (h *Hub) largestShare() int64 {
	most := int64(h.limits().RoomBytes)
	return max(roomLittle, (most-most/roomReserve)/(roomShare+2))
}

// roomBytes returns the bytes that rooms and memberships take on this node,
// users' own rooms not counted.
func (h *Hub) roomBytes() (n int64) {
	for _, sh := range h.shards {
		n += sh.stats.RoomBytes.Load()
	}
	return n + h.vacant.bytes.Load()
}

// MemoryIsShort sets whether joins are refused because the process is about to
// run out of memory.
func (h *Hub) MemoryIsShort(short bool) { h.short.Store(short) }

// Forget stops counting rooms that are no longer in the directory. It is to be
// called regularly: otherwise only joins do this.
func (h *Hub) Forget(now time.Time) { h.vacant.of("", now) }

// hold counts a membership, and the room if it is new on the shard.
func (sh *Shard) hold(r *room, user string, fresh bool) {
	sh.count(r, user, 1, fresh)
}

// release reverses hold.
func (sh *Shard) release(r *room, user string, last bool) {
	sh.count(r, user, -1, last)
}

func (sh *Shard) count(r *room, user string, sign int64, whole bool) {
	if !r.announce {
		return
	}
	bytes := int64(membershipBytes)
	if whole {
		bytes += roomCost(len(r.name))
	}
	sh.stats.RoomBytes.Add(sign * bytes)
	if user != "" {
		sh.hub.bounds.add(user, int(sign), sign*joinCost(len(r.name)))
	}
}
