package rooms

import "time"

// Defaults of Limits.
const (
	// DefaultRooms is small because a join searches the socket's rooms.
	DefaultRooms  = 1000
	DefaultRoomID = 256

	// DefaultUserRooms is five devices with DefaultRooms each.
	DefaultUserRooms = 5 * DefaultRooms
)

// Limits limit what one client can make a node do.
type Limits struct {
	Rooms int // of a socket, without its user's room; 0: DefaultRooms

	// UserRooms limits the memberships that all sockets of a user have on this
	// node, without the user's own room; 0: no limit.
	UserRooms int

	// RoomBytes limits what rooms and memberships use on this node, without the
	// users' own rooms; 0: no limit. See bounds.go.
	RoomBytes int

	// Linger is how long the cluster keeps a room in the directory after its
	// last member left.
	Linger time.Duration

	RoomID int // bytes of a room's id; 0: DefaultRoomID

	RoomIDs Alphabet // what a room's id may consist of

	Events  Rate // of a socket
	PerUser int  // sockets of one user on this node, about; 0: any number

	// Presence is the number of members up to which a room gets user_joined and
	// user_left: n sockets that join one room make n²/2 messages. 0: no limit.
	Presence int

	// Telling limits the presence and typing messages a second that a shard's
	// sockets cause in rooms of more than fewMembers. Each socket keeps to its
	// own rate, but a few hundred in one room could still keep the loops busy.
	Telling Rate
}

// fewMembers is the largest room that is exempt from Telling.
const fewMembers = 10

func (l *Limits) fill() {
	if l.Rooms == 0 {
		l.Rooms = DefaultRooms
	}
	if l.RoomID == 0 {
		l.RoomID = DefaultRoomID
	}
}
