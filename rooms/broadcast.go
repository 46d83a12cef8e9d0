package rooms

import (
	"sync/atomic"

	"github.com/hometrip/gateway/codec"
)

// A Broadcast is one message for everybody in a room, or an order.
type Broadcast struct {
	Room    string
	Message *codec.Message
	Order   *Order // instead of a message; Room is EveryNode then

	// Event is not 0 for one of the messages of an event to several rooms: who
	// sits in two of them gets the first that comes.
	Event uint64

	Selected *Selection // instead of Room
	action   *action    // for the selected sockets, instead of a message

	barrier *barrier // instead of a message
}

// EveryNode is where orders are sent: a room that each node is in, and no
// client.
const EveryNode = "nodes"

// A barrier travels through every mailbox behind what was posted before it.
type barrier struct {
	left atomic.Int32 // shards it has not passed
	done func()
}

func (b *barrier) pass() {
	if b.left.Add(-1) == 0 {
		b.done()
	}
}
