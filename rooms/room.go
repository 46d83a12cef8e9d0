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
// exists while it has members. An idle client has one of its own: 32 bytes.
type room struct {
	*nodeRoom // the same on all shards that have members
	members   members
	asked     int32 // members that asked for recovery: they get offsets
	announce  bool  // joins and leaves are told to the others
	own       bool  // of one socket, or of all: nobody else's business
}

// A membership is a room that a socket is in. It knows where the socket is in the
// room, so that leaving costs the same in a room of ten thousand. A room does not
// know where it is in a socket's list: a client sits in a handful of rooms.
type membership struct {
	room *room
	seat int32 // index in room.members
}

// join adds s to the room and reports whether it is new there.
func (r *room) join(s *Socket) bool {
	if s.in(r) >= 0 {
		return false
	}
	r.members.add(s)
	s.rooms.add(membership{r, int32(r.members.len() - 1)})
	return true
}

// leave removes the membership in a slot of the socket. The last member of the
// room and the last room of the socket move into the gaps. w is the shard's
// walk.
func (r *room) leave(s *Socket, slot int, w *walk) {
	joined := s.rooms.all()
	gap := int(joined[slot].seat)
	if w.room == r {
		gap = w.fill(gap)
	}
	r.move(r.members.len()-1, gap)
	r.members.drop()

	end := len(joined) - 1
	joined[slot] = joined[end]
	joined[end] = membership{}
	s.rooms.set(shrink.List(joined[:end]))
}

// move moves a member into a gap, unless the member was there itself: then it
// has gone or has been moved already.
func (r *room) move(from, to int) {
	if from == to {
		return
	}
	members := r.members.all()
	s := members[from]
	members[to] = s
	s.rooms.all()[s.in(r)].seat = int32(to)
}

// send queues m for members, but except, and returns for how many. Sinks only
// queue, so members cannot change under the loop.
func send(members []*Socket, m *codec.Message, except *Socket) (sent int) {
	for _, s := range members {
		if s != except {
			s.sink.Send(m)
			sent++
		}
	}
	return sent
}

// UserRoom returns the name of a user's own room.
func UserRoom(user string) string { return UserPrefix + user }
