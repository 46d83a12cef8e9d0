package rooms

import (
	"strings"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/shrink"
)

// The kinds of rooms that a client may name, and the kind that it is put into.
// A room's name is its kind, a colon and an id.
const (
	kindUser         = "user"
	kindConversation = "conversation"
	kindNotification = "notification"
)

// Prefixes of the rooms that clients can be in.
const (
	UserPrefix         = kindUser + ":"
	ConversationPrefix = kindConversation + ":"
	NotificationPrefix = kindNotification + ":"
)

// OfUser reports whether a room is a user's. Every socket is in the room of its
// own user as long as it is connected; other servers can put it into others.
func OfUser(name string) bool { return strings.HasPrefix(name, UserPrefix) }

// OfClients reports whether a room is of a kind that clients join. The
// Authorizer decides who may be in it, and its members are notified of joins
// and leaves.
func OfClients(name string) bool {
	return strings.HasPrefix(name, ConversationPrefix) || strings.HasPrefix(name, NotificationPrefix)
}

// A room is one shard's members of a room. Owned by the shard's event loop; it
// exists while it has members.
type room struct {
	name     string
	members  []member
	asked    int32 // members that asked for recovery, which get offsets
	announce bool  // joins and leaves are sent to the others
	own      bool  // of one socket, or of all sockets: not listed
}

// member and membership are the two ends of one link. Each has the index of the
// other, so that leaving takes the same time in a room of ten thousand.
type member struct {
	socket *Socket
	slot   int32 // index in socket.rooms
}

// A membership is the socket's end of the link.
type membership struct {
	room *room
	seat int32 // index in room.members
}

// join adds s to the room and reports whether it is new there.
func (r *room) join(s *Socket) bool {
	if s.in(r) >= 0 {
		return false
	}
	r.members = append(r.members, member{s, int32(len(s.rooms))})
	s.rooms = append(s.rooms, membership{r, int32(len(r.members) - 1)})
	return true
}

// leave removes the membership in a slot of the socket. The last member of the
// room and the last room of the socket move into the gaps. w is the shard's
// walk.
func (r *room) leave(s *Socket, slot int, w *walk) {
	gap := int(s.rooms[slot].seat)
	if w.room == r {
		gap = w.fill(gap)
	}
	last := len(r.members) - 1
	r.move(last, gap)
	r.members[last] = member{}
	r.members = r.members[:last]

	end := len(s.rooms) - 1
	shifted := s.rooms[end]
	s.rooms[slot] = shifted
	if slot != end {
		shifted.room.members[shifted.seat].slot = int32(slot)
	}
	s.rooms[end] = membership{}
	s.rooms = s.rooms[:end]
	s.rooms = shrink.List(s.rooms)
	r.members = shrink.List(r.members)
}

// move moves a member into a gap, unless the member was there itself: then it
// has gone or has been moved already.
func (r *room) move(from, to int) {
	if from == to {
		return
	}
	m := r.members[from]
	r.members[to] = m
	m.socket.rooms[m.slot].seat = int32(to)
}

// send queues m for members, except one, and returns for how many. Sinks only
// queue, so members cannot change meanwhile.
func send(members []member, m *codec.Message, except *Socket) (sent int) {
	for i := range members {
		if s := members[i].socket; s != except {
			s.sink.Send(m)
			sent++
		}
	}
	return sent
}

// UserRoom returns the name of a user's own room.
func UserRoom(user string) string { return UserPrefix + user }
