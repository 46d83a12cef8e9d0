package core

import (
	"github.com/hometrip/gateway/rooms/cluster/directory"
	"github.com/hometrip/gateway/rooms/cluster/lease"
)

// counters are those that belong to none of the parts.
type counters struct {
	away, malformed, received, failures int64
	warned                              bool // that Redis is away
	started                             bool // Redis has answered once
}

// Stats is a snapshot of a node's counters, and of what it knows about the
// others.
type Stats struct {
	Connected  bool // Redis answers, and this node gets what others publish
	Registered bool // the directory has all rooms of this node, which has all orders

	Peers   []lease.Peer // other nodes with a lease
	Rooms   int          // in the directory for this node, lingering ones included
	Queued  int          // messages that wait or are under way
	Waiting int          // rooms that wait for the directory

	Published int64 // messages sent to other nodes, times nodes
	Publishes int64 // PUBLISH commands
	Received  int64 // messages of other nodes
	Directory directory.Stats
	Sessions  int64 // that have begun
	Failures  int64 // batches that failed
	Surplus   int64 // orders that Redis has let go

	Full, Away, NoReceiver, Lost, Malformed int64 // messages dropped
}

// Stats returns the counters.
func (n *Node) Stats() Stats {
	o := &n.outbox.Stats
	return Stats{
		Connected: n.IsConnected(), Registered: n.directory.Registered() && n.orders.Current(),
		Peers: n.lease.Peers(), Rooms: n.directory.Len(), Queued: n.outbox.Queued(), Waiting: n.directory.Pending(),
		Published: o.Published, Publishes: o.Publishes, Received: n.stats.received,
		Directory: n.directory.Stats, Sessions: n.lease.Sessions(), Failures: n.stats.failures,
		Surplus: n.orders.Surplus,
		Full:    o.Full, Away: n.stats.away, NoReceiver: o.NoReceiver, Lost: o.Lost,
		Malformed: n.stats.malformed + n.orders.Malformed,
	}
}

// Compare returns what is wrong if claimed are the rooms that Redis has for
// this node.
func (n *Node) Compare(claimed map[string]bool) directory.Difference {
	return n.directory.Compare(claimed)
}

func (n *Node) line(l Line) { n.lines = append(n.lines, l) }

// Trouble records that a request to Redis has failed that was not a batch.
func (n *Node) Trouble(err error) {
	n.stats.failures++
	n.trouble(err)
}

// trouble logs that Redis fails: first as a warning, and then as a detail.
func (n *Node) trouble(err error) {
	if n.lease.Away() && !n.stats.warned {
		n.stats.warned = true
		n.line(Line{Text: "redis is away: until it answers, this node serves its own clients only", Error: err, Warn: true})
		return
	}
	n.line(Line{Text: "redis", Error: err, Warn: !n.lease.Away()})
}

// recovered logs once that Redis answers, at first and after each failure.
func (n *Node) recovered() {
	if n.lease.Away() || !n.lease.Reached() || n.stats.started && !n.stats.warned {
		return
	}
	n.stats.warned, n.stats.started = false, true
	n.line(Line{Text: "redis connected"})
}
