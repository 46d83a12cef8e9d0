package core

import (
	"time"

	"github.com/hometrip/gateway/rooms/cluster/directory"
	"github.com/hometrip/gateway/rooms/cluster/members"
)

// A process that takes another one's place continues as the same node: with its
// number, its session in Redis and its knowledge of the other nodes. The rooms
// are registered again under the same session, which changes nothing in Redis.

// A mode says which part of the node's work goes to Redis.
type mode uint8

const (
	working mode = iota
	resting      // the lease is renewed, messages go out: another process is about to be this node
	silent       // nothing: another process is this node
)

// An Identity is what a process hands over about the node.
type Identity struct {
	Session int64   // the current one, or the last
	Former  []int64 // those before, unless nothing is left of them
	Live    bool    // Redis has the lease of Session
	Vacant  []directory.Vacancy
	Tallies []members.Tally
	Told    []members.Tally // what the others were told, where that is far from right; of no node
	Orders  []string        // that Redis does not have
}

// Rest stops changes of the directory, and describes what is still under way;
// "" is nothing. It is to be called again until then. While Redis is away there
// is nothing to wait for: the node's session ends.
func (n *Node) Rest() (why string) {
	if n.mode == silent {
		return ""
	}
	n.mode = working // messages may need the directory
	switch {
	case !n.IsConnected():
	case n.outbox.Busy():
		return "messages to other nodes"
	case n.members.Owes():
		return "numbers of members that other nodes have asked for"
	case !n.orders.Saved():
		return "orders that Redis does not have"
	}
	n.mode = resting
	if n.IsConnected() && n.directory.Flying() {
		return "rooms being entered into the directory"
	}
	return ""
}

// Work ends Rest.
func (n *Node) Work() {
	if n.mode == resting {
		n.mode = working
	}
}

// Silence stops everything that goes to Redis, for good or until Assume.
func (n *Node) Silence() { n.mode = silent }

// Identity returns what the next process needs. It is called when Rest has
// returned "".
func (n *Node) Identity(now time.Time) Identity {
	id := Identity{Vacant: n.directory.Vacant(now), Orders: n.orders.Unsaved()}
	id.Session, id.Former, id.Live = n.lease.State()
	id.Tallies, id.Told = n.members.State()
	return id
}

// LastSession returns the node's session, or the last one if there is none.
func (n *Node) LastSession() int64 { session, _, _ := n.lease.State(); return session }

// Assume ends the silence of a node that takes another process's place. The
// node holds no room yet.
func (n *Node) Assume(id *Identity, now time.Time) {
	if n.mode != silent {
		return
	}
	n.mode = working
	n.lease.Assume(id.Session, id.Former, id.Live && n.connected, now)
	for _, v := range id.Vacant {
		n.directory.Linger(v, now)
	}
	n.orders.Inherit(id.Orders, now)
	n.after(now)
}

// Inherit sets what the previous process knew of the members of rooms. It is
// called when all rooms have been registered.
func (n *Node) Inherit(id *Identity, now time.Time) {
	for _, room := range n.members.Inherit(id.Tallies, id.Told, now) {
		n.directory.Holders(room) // has it read, as soon as Redis has the room
	}
}
