package rooms

import "github.com/hometrip/gateway/codec"

// A Broadcast is one message for everybody in a room.
type Broadcast struct {
	Room    string
	Message *codec.Message
}
