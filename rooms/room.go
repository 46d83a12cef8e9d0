package rooms

import (
	"strings"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/shrink"
)

// The rooms a client may name, and the one it is put into. A room's name is
// its kind, a colon and an id.
const (
	kindUser         = "user"
	kindConversation = "conversation"
	kindNotification = "notification"
)

// What the names of rooms that clients can be in begin with.
const (
	UserPrefix         = kindUser + ":"
	ConversationPrefix = kindConversation + ":"
	NotificationPrefix = kindNotification + ":"
)

// OfUser reports whether a room is a user's. A socket is in that of its own user
// as long as it is connected; other servers can put it into others too.
func OfUser(name string) bool { return strings.HasPrefix(name, UserPrefix) }

// OfClients reports whether a room is of a kind that clients join. The policy
// decides who may be in it, and the others in it are told who is.
func OfClients(name string) bool {
	return strings.HasPrefix(name, ConversationPrefix) || strings.HasPrefix(name, NotificationPrefix)
}

// A room is one shard's members of a room. Owned by the shard's event loop; it
// exists while it has members.
type room struct {
	name     string
	announce bool // joins and leaves are told to the others
	own      bool // of one socket, or of all: nobody else's business
	members  []member
	asked    int // members that asked for recovery: they get offsets
}

// member and membership are the two ends of one bond. Each knows where the
// other is, so that leaving costs the same in a room of ten thousand.
type member struct {
	socket *Socket
	slot   int32 // index in socket.rooms
}

// A membership is a socket's end of the bond.
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

// leave takes the socket's slot'th membership apart. The last member of the
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

// move puts a member into a gap, unless that is where it was: then the member
// has gone, or has moved already.
func (r *room) move(from, to int) {
	if from == to {
		return
	}
	m := r.members[from]
	r.members[to] = m
	m.socket.rooms[m.slot].seat = int32(to)
}

// send queues m for members, but except, and returns for how many. Sinks only
// queue, so members cannot change under the loop.
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
