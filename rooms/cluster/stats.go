package cluster

import (
	"fmt"
	"sync/atomic"
)

// A Drop says why a message did not go to another node, or not from one.
type Drop uint8

// The reasons.
const (
	DropQueueFull  Drop = iota // more waited than MaxQueue or MaxBytes
	DropAway                   // volatile, and Redis is away
	DropNoReceiver             // the node that holds the room is not subscribed
	DropMalformed              // an envelope of another version, or damaged
	dropCount
)

var dropNames = [dropCount]string{"queue_full", "redis_away", "no_receiver", "malformed"}

func (d Drop) String() string {
	if d < dropCount {
		return dropNames[d]
	}
	return fmt.Sprintf("drop %d", uint8(d))
}

// Stats are a node's counters.
type Stats struct {
	published  atomic.Int64
	envelopes  atomic.Int64
	received   atomic.Int64
	duplicates atomic.Int64
	strays     atomic.Int64
	registered atomic.Int64
	hits       atomic.Int64
	misses     atomic.Int64
	sessions   atomic.Int64
	joinsLate  atomic.Int64
	failures   atomic.Int64
	gaps       atomic.Int64
	dropped    [dropCount]atomic.Int64
}

// Totals is a snapshot of a node's counters, and what it knows of the cluster.
type Totals struct {
	Connected  bool // Redis answers, and this node gets what others publish
	Registered bool // the directory has all rooms of this node, which has all orders

	Nodes   int   // with a lease, this one included
	Sockets int64 // of all nodes

	Queued     int64 // messages that wait to be published
	Rooms      int64 // in the directory for this node, lingering ones included
	Published  int64 // messages sent to other nodes, times nodes
	Envelopes  int64 // PUBLISH commands
	Received   int64 // messages of other nodes
	Duplicates int64 // of these, those that had come already
	Strays     int64 // of these, those for rooms without members here
	Writes     int64 // changes of the directory
	Hits       int64 // rooms looked up in the directory, and found in memory
	Misses     int64 // the same, and not found there
	Sessions   int64 // times this node has begun to register
	JoinsLate  int64 // joins acknowledged before the directory knew
	Failures   int64 // of Redis commands
	Gaps       int64 // times the others went on without this node

	Dropped map[Drop]int64
}

// Stats returns the counters.
func (c *Cluster) Stats() Totals {
	s := &c.stats
	t := Totals{
		Connected: c.Connected(), Nodes: 1, Sockets: c.config.Sockets(),
		Published: s.published.Load(), Envelopes: s.envelopes.Load(),
		Received: s.received.Load(), Duplicates: s.duplicates.Load(), Strays: s.strays.Load(),
		Writes: s.registered.Load(), Hits: s.hits.Load(), Misses: s.misses.Load(), Sessions: s.sessions.Load(),
		JoinsLate: s.joinsLate.Load(), Failures: s.failures.Load(), Gaps: s.gaps.Load(),
		Dropped: make(map[Drop]int64),
	}
	if v := c.view.Load(); v != nil {
		t.Nodes += len(v.peers)
		t.Registered = c.keeper.isRegistered(v.session) && c.keeper.loaded.Load() == v.session
		for _, p := range v.peers {
			t.Sockets += p.sockets
		}
	}
	for i := range s.dropped {
		t.Dropped[Drop(i)] = s.dropped[i].Load()
	}
	for _, l := range c.lanes {
		queued, rooms := l.len()
		t.Queued += queued
		t.Rooms += rooms
	}
	return t
}

// Connected reports whether Redis answers and this node gets what others
// publish.
func (c *Cluster) Connected() bool {
	return !c.away.Load() && c.view.Load() != nil && c.keeper.subscribed.Load()
}
