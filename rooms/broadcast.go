package rooms

import "github.com/hometrip/gateway/codec"

// A Broadcast is one message for everybody in a room.
type Broadcast struct {
	Room    string
	Message *codec.Message

	// Position is the place of the message in the log of the services' events,
	// 0 when it is not from there. A socket is given the message when this is
	// above the position of the last one it was given.
	Position uint64

	// Shared tells that the event at Position is for several rooms, of which a
	// socket may be in more than one.
	Shared bool

	Selected *Selection // instead of Room
	action   *action    // for the selected sockets, instead of a message

	anew bool // instead of a message: positions begin anew, behind Position in the log named Room
	gap  bool // instead of a message: events were lost before this node has read them
}
