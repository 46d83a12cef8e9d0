package core

import (
	"time"

	"github.com/hometrip/gateway/rooms/cluster/directory"
	"github.com/hometrip/gateway/rooms/cluster/members"
)

// A process that takes another one's place goes on as the same node: with its
// number, its session in Redis and what it knows of the other nodes. The rooms
// are entered again under the same session, which changes nothing in Redis.

// A mode is what of the node's work goes to Redis.
type mode uint8

const (
	working mode = iota
	resting      // the lease is renewed, messages go out: another process is about to be this node
	silent       // nothing: another process is this node
)

// An Identity is what a process hands on of the node that it is.
type Identity struct {
	Session int64   // the current one, or the last
	Former  []int64 // those before, unless nothing is left of them
	Live    bool    // Redis has the lease of Session
	Vacant  []directory.Vacancy
	Tallies []members.Tally
	Told    []members.Tally // what the others were told, where that is far from right; of no node
	Orders  []string        // that Redis does not have
}

// Rest has nothing more be entered into the directory or taken out, and says
// what is still under way; "" is nothing. It is to be asked again until then.
// While Redis is away there is nothing to wait for: the node's session ends.
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

// Silence has nothing go to Redis any more, or not before Assume.
func (n *Node) Silence() { n.mode = silent }

// Identity is what the next process needs. It is called when Rest has said that
// nothing is under way.
func (n *Node) Identity(now time.Time) Identity {
	id := Identity{Vacant: n.directory.Vacant(now), Orders: n.orders.Unsaved()}
	id.Session, id.Former, id.Live = n.lease.State()
	id.Tallies, id.Told = n.members.State()
	return id
}

// LastSession returns the node's session, or the last one.
func (n *Node) LastSession() int64 { session, _, _ := n.lease.State(); return session }

// Assume ends the silence of a node that takes another process's place. It is in
// no room yet.
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

// Inherit tells what the process before this one knew of the members of rooms,
// when all rooms have been told of.
func (n *Node) Inherit(id *Identity, now time.Time) {
	for _, room := range n.members.Inherit(id.Tallies, id.Told, now) {
		n.directory.Holders(room) // has it read, as soon as Redis has the room
	}
}
