package rooms

import "github.com/hometrip/gateway/codec"

// A Broadcast is one message for all members of a room.
type Broadcast struct {
	Room    string
	Message *codec.Message

	// Position is the message's position in the log of service events, 0 if it
	// is not from there. A socket gets the message if this is above the
	// position of the last one it got.
	Position uint64

	// Shared is set if the event at Position is for several rooms. A socket may
	// be in more than one of them.
	Shared bool

	Selected *Selection // instead of Room
	action   *action    // for the selected sockets, instead of a message

	anew bool // instead of a message: positions restart behind Position, in the log whose identity is Room
	gap  bool // instead of a message: events were lost before this node had read them
}
