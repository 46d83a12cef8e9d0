package rooms

import "time"

// Defaults of Limits.
const (
	// DefaultRooms is small because joining looks through them.
	DefaultRooms  = 1000
	DefaultRoomID = 256

	// DefaultUserRooms is five devices with DefaultRooms each.
	DefaultUserRooms = 5 * DefaultRooms
)

// Limits bound what one client can make a node do.
type Limits struct {
	Rooms int // a socket may be in at a time, its user's not counted; 0: DefaultRooms

	// UserRooms is how many memberships in rooms all sockets of a user may have
	// on this node, their user's not counted; 0: any number.
	UserRooms int

	// RoomBytes is what rooms and memberships may hold on this node, the users'
	// own not counted; 0: any number. See bounds.go.
	RoomBytes int

	// Linger is how long the cluster keeps a room that nobody is in any more.
	Linger time.Duration

	RoomID int // bytes of a room's id; 0: DefaultRoomID

	RoomIDs Alphabet // what a room's id may consist of

	Events  Rate // of a socket
	PerUser int  // sockets of one user on this node, about; 0: any number

	// Presence is how many members a room may have and still tell them of
	// each join and leave: a crowd of n that comes makes n²/2 messages. 0:
	// any number.
	Presence int

	// Telling is how many messages a second a shard's sockets may cause that
	// tell rooms of more than fewMembers who comes, goes or types. Each socket
	// keeps to its own rate, and a few hundred in one room could still have
	// the loops do nothing else.
	Telling Rate
}

// fewMembers is up to how many members a room is told whatever the others do.
const fewMembers = 10

func (l *Limits) fill() {
	if l.Rooms == 0 {
		l.Rooms = DefaultRooms
	}
	if l.RoomID == 0 {
		l.RoomID = DefaultRoomID
	}
}
