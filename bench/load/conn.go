package load

import "unsafe"

// step is how far a connection has come.
type step uint8

const (
	stepClosed  step = iota
	stepDialing      // connect(2) is under way
	stepHead         // waiting for 101
	stepProbe        // upgrading from polling: waiting for the probe's answer
	stepOpen         // waiting for the Engine.IO open packet
	stepAuth         // waiting for CONNECT's answer
	stepWelcome      // waiting for the connected event
	stepReady
	stepStalled // ready, but not reading
	stepKicked  // stalled, and closed by the server
)

// conn is one client. Owned by the Loop's thread. Its size and what the part
// holds is all a connection costs the worker.
type conn struct {
	fd     int32
	room   int32 // number of its conversation room, -1: none
	user   int32
	step   step
	target uint8  // index into Loop.targets
	pings  uint16 // seen in this phase
	seq    uint32 // number of the next event of its room
	count  uint32 // events seen in this phase
	acks   uint32 // acks seen in this phase
	sent   uint32 // events sent in this phase
	stamp  int32  // timestamp of the last event, ms of day
	at     int64  // ns; when what is being timed began
	part   []byte // an incomplete head or frame
}

// fresh resets what belongs to one phase.
func (c *conn) fresh() {
	c.seq, c.count, c.acks, c.sent, c.stamp, c.pings = 0, 0, 0, 0, 0, 0
}

// inOrder notes an event's timestamp and reports whether it is not older than
// the one before. A jump back of more than half a day is midnight.
func (c *conn) inOrder(stamp int32) bool {
	const halfDay = 12 * 60 * 60 * 1000
	before := c.stamp
	c.stamp = stamp
	return stamp >= before || before-stamp > halfDay
}

// ConnSize is what a connection takes in the worker's memory, from Setup on.
const ConnSize = int(unsafe.Sizeof(conn{})) // bytes
