package cluster

import (
	"fmt"
	"sync/atomic"
)

// A Drop says why a message was not sent to another node, or not accepted from
// one.
type Drop uint8

// The reasons.
const (
	DropQueueFull  Drop = iota // more waited than MaxQueue or MaxBytes
	DropAway                   // volatile, and Redis is away
	DropNoReceiver             // the node that holds the room is not subscribed
	DropFailed                 // the PUBLISH failed
	DropMalformed              // an envelope of another version, or damaged
	dropCount
)

var dropNames = [dropCount]string{"queue_full", "redis_away", "no_receiver", "publish_failed", "malformed"}

// String implements fmt.Stringer.
func (d Drop) String() string {
	if d < dropCount {
		return dropNames[d]
	}
	return fmt.Sprintf("drop %d", uint8(d))
}

// Totals is a snapshot of a node's counters, and what it knows of the cluster.
type Totals struct {
	Connected  bool // Redis answers, and this node gets what others publish
	Registered bool // the directory has all rooms of this node, which has all orders

	Nodes   int   // with a lease, this one included
	Sockets int64 // of all nodes

	Queued    int64 // messages that wait to be published
	Waiting   int64 // rooms that wait to be written into the directory or read
	Rooms     int64 // in the directory for this node, lingering ones included
	Published int64 // messages sent to other nodes, times nodes
	Envelopes int64 // PUBLISH commands
	Received  int64 // messages of other nodes
	Strays    int64 // of these, those for rooms without members here
	Writes    int64 // changes of the directory
	Healed    int64 // rooms that the directory had lost
	Hits      int64 // rooms looked up in the directory, and found in memory
	Misses    int64 // the same, and not found there
	Sessions  int64 // times this node has begun to register
	Failures  int64 // of commands to Redis

	Dropped map[Drop]int64
}

// Stats returns the counters.
func (c *Cluster) Stats() Totals {
	c.mu.Lock()
	s := c.node.Stats()
	c.mu.Unlock()
	t := Totals{
		Connected: s.Connected, Registered: s.Registered,
		Nodes: 1 + len(s.Peers), Sockets: c.config.Sockets(),
		Queued: int64(s.Queued), Waiting: int64(s.Waiting), Rooms: int64(s.Rooms), Published: s.Published, Envelopes: s.Publishes,
		Received: s.Received, Strays: atomic.LoadInt64(&c.strays),
		Writes: s.Directory.Writes, Healed: s.Directory.Healed, Hits: s.Directory.Hits, Misses: s.Directory.Misses,
		Sessions: s.Sessions, Failures: s.Failures,
		Dropped: map[Drop]int64{DropQueueFull: s.Full, DropAway: s.Away, DropNoReceiver: s.NoReceiver, DropFailed: s.Lost, DropMalformed: s.Malformed},
	}
	for _, p := range s.Peers {
		t.Sockets += p.Sockets
	}
	return t
}
