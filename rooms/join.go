package rooms

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/hometrip/gateway/codec"
)

// ErrNotAllowed is the error of an Authorizer that denies a room.
var ErrNotAllowed = errors.New("Not allowed")

const eventRoomRevoked = "room_revoked"

func handleJoin(c *Call) {
	kind, id, err := c.room()
	if err != nil {
		c.Refuse(err)
		return
	}
	sh := c.Socket.shard
	name := sh.roomName(kind, id)
	switch r := sh.rooms.getBytes(name); {
	case r != nil && c.Socket.in(r) >= 0:
		c.join(name)
	case c.full(name):
	case sh.hub.config.Authorizer != nil:
		c.authorize(string(name))
	default:
		c.join(name)
	}
}

// full refuses a join that exceeds a limit, and reports whether it did.
func (c *Call) full(name []byte) bool {
	err := c.Socket.mayJoin(len(name), c.Now)
	if err != nil {
		c.Refuse(err)
	}
	return err != nil
}

// authorize asks the Authorizer, and joins if the socket may be in the room.
func (c *Call) authorize(room string) {
	s, answer := c.Socket, c.deferred()
	s.authorize(room, c.Now, later(s, func(err error, now time.Time) {
		answer.Now = now
		if err != nil {
			s.shard.stats.JoinsDenied.Add(1)
			answer.Refuse(err)
			return
		}
		name := []byte(room)
		r := s.shard.rooms.get(room) // another join of this room may have been answered before
		if r != nil && s.in(r) >= 0 || !answer.full(name) {
			answer.join(name)
		}
	}))
}

func (s *Socket) authorize(room string, now time.Time, then func(error, time.Time)) {
	who := s.identity()
	consult(s.shard, now, func(done func(error)) {
		s.shard.hub.config.Authorizer.Authorize(who, room, done)
	}, then)
}

// join puts the socket into the room, acknowledges the join and notifies the
// other members.
func (c *Call) join(name []byte) {
	s := c.Socket
	r, joined := s.shard.join(s, name, true)
	answer := c.deferred()
	s.whenSaved(c.Now, func() {
		s.shard.whenHeard(r, s, func() { answer.joined(r) })
	})
	if joined {
		s.announce(r, eventUserJoined, 0, c.Now)
	}
}

func (c *Call) joined(r *room) {
	if c.ack == codec.NoAck {
		return
	}
	b := append(c.Socket.appendAck(c.ack), `{"success":true,"message":`...)
	b = codec.AppendString(b, "Joined room: "+r.name)
	b = append(b, `,"members":`...)
	b = strconv.AppendInt(b, int64(c.Socket.shard.hub.Members(r.name)), 10)
	c.Socket.sendPacket(append(b, "}]"...))
}

// crowded reports whether r has too many members to notify them that one has
// joined or left, and counts that it was not done. gone is 1 if the member has
// left r already, 0 otherwise.
func (sh *Shard) crowded(r *room, there occupied, gone int, now time.Time) bool {
	members := sh.hub.occupancy.members(r.name, there) + gone
	if most := sh.hub.limits().Presence; (most == 0 || members <= most) && sh.mayTell(members, now) {
		return false
	}
	sh.stats.CrowdsMuted.Add(1)
	return true
}

// mayTell reports whether a room with that many members may be sent a message
// that is not essential.
func (sh *Shard) mayTell(members int, now time.Time) bool {
	return members <= fewMembers || sh.telling.Allow(sh.hub.limits().Telling, members, now)
}

// recheckRooms asks the Authorizer again for each room of the socket, after its
// token has changed, and removes the socket from those that are denied.
func (s *Socket) recheckRooms(now time.Time) {
	if s.shard.hub.config.Authorizer == nil {
		return
	}
	for _, m := range append([]membership(nil), s.rooms.all()...) {
		if !m.room.announce {
			continue // its user's
		}
		name := m.room.name
		s.authorize(name, now, later(s, func(err error, now time.Time) {
			if errors.Is(err, ErrNotAllowed) {
				s.expel(name, err.Error(), now)
			}
		}))
	}
}

// expel removes the socket from a room and sends it room_revoked.
func (s *Socket) expel(name, reason string, now time.Time) {
	r := s.shard.rooms.get(name)
	if r == nil {
		return
	}
	slot := s.in(r)
	if slot < 0 {
		return
	}
	if c := s.comeback(); c != nil { // the events that it missed are already requested
		c.fail(RecoveryPolicy, now)
		return
	}
	s.shard.stats.Expelled.Add(1)
	s.sendRevoked(name, reason)
	s.leaveRoom(slot, "it may not be in it any more", now)
	s.saveSession()
}

func (s *Socket) sendRevoked(name, reason string) {
	b := append(s.shard.buf[:0], `42["`+eventRoomRevoked+`",{"room":`...)
	b = codec.AppendString(b, name)
	b = append(b, `,"reason":`...)
	b = codec.AppendString(b, reason)
	s.sendPacket(append(b, "}]"...))
}

// Users returns the users with sockets in a room on this node, each once. A
// user who was authorized before the call and is about to join is included.
func (h *Hub) Users(ctx context.Context, room string) ([]string, error) {
	answers := make(chan []string, len(h.shards))
	for _, sh := range h.shards {
		sh.Post(func(time.Time) { answers <- sh.users(room) })
	}
	seen := make(map[string]bool)
	var all []string
	for range h.shards {
		select {
		case users := <-answers:
			for _, user := range users {
				if !seen[user] {
					seen[user] = true
					all = append(all, user)
				}
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return all, nil
}

func (sh *Shard) users(room string) (users []string) {
	r := sh.rooms.get(room)
	if r == nil {
		return nil
	}
	for _, m := range r.members.all() {
		users = append(users, m.UserID())
	}
	return users
}

// Expel removes the sockets of some users from a room on this node. Each gets
// room_revoked with the reason, and the other members user_left. Sockets
// without a connection stay: when the client comes back, the Authorizer is
// asked again, and the client can be notified.
func (h *Hub) Expel(room string, users []string, reason string) {
	gone := make(map[string]bool, len(users))
	for _, user := range users {
		gone[user] = true
	}
	for _, sh := range h.shards {
		sh.Post(func(now time.Time) { sh.expel(room, gone, reason, now) })
	}
}

func (sh *Shard) expel(room string, users map[string]bool, reason string, now time.Time) {
	r := sh.rooms.get(room)
	if r == nil {
		return
	}
	var sockets []*Socket // leaving moves members about
	for _, m := range r.members.all() {
		if users[m.UserID()] && m.phase != phaseAbsent {
			sockets = append(sockets, m)
		}
	}
	for _, s := range sockets {
		s.expel(room, reason, now)
	}
}
