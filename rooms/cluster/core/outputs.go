package core

import (
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Take returns a batch that is to be sent now, messages excepted. It is called
// until there is none.
func (n *Node) Take(now time.Time) (b wire.Batch, ok bool) {
	if !n.connected || n.left || n.mode == silent {
		return b, false
	}
	id := n.batches + 1
	if b, ok = n.take(id, now); ok {
		n.batches = id
	}
	return b, ok
}

func (n *Node) take(id uint64, now time.Time) (b wire.Batch, ok bool) {
	if n.directory.Left() && n.orders.Saved() && n.farewell == 0 {
		return n.takeBack(id)
	}
	if n.farewell != 0 {
		return b, false
	}
	if session, _ := n.lease.Session(); session == 0 && n.mode == resting {
		return b, false // the next session is for the next process to begin
	}
	if b, ok = n.lease.Take(id, n.mine, now); ok {
		return b, true
	}
	if b, ok = n.orders.Take(id, now); ok || n.mode == resting {
		return b, ok
	}
	if b, ok = n.directory.Take(id, now); ok {
		return b, true
	}
	session, _ := n.lease.Session()
	return n.sweep.Take(id, n.lease.Silent(now), session, now)
}

// takeBack returns the batch that ends the session.
func (n *Node) takeBack(id uint64) (b wire.Batch, ok bool) {
	session, former := n.lease.Session()
	if session == 0 {
		return b, false
	}
	n.farewell = id
	gone := wire.Command{Name: "SREM", Keys: []string{n.c.Names.Nodes()}}
	del := wire.Command{Name: "DEL"}
	for _, s := range append([]int64{session}, former...) {
		gone.Args = append(gone.Args, wire.Decimal(s))
		del.Keys = append(del.Keys, n.c.Names.Lease(s))
	}
	return wire.Batch{ID: id, Commands: []wire.Command{gone, del}}, true
}

// TakeMessages returns a batch of messages that is to be sent now. It is called
// until there is none.
func (n *Node) TakeMessages() (b wire.Batch, ok bool) {
	if !n.HasMessages() {
		return b, false
	}
	if b, ok = n.outbox.Take(n.batches+1, asked{n}); ok {
		n.batches++
	}
	return b, ok
}

// HasMessages reports whether TakeMessages may have something.
func (n *Node) HasMessages() bool { return n.connected && n.mode != silent && n.outbox.Ready() }

// HasWork reports whether Take may have something, because of rooms.
func (n *Node) HasWork() bool { return n.connected && n.mode == working && n.directory.Waiting() }

// Next returns when Tick is to be called, and Take after it; zero: not before
// there is another input.
func (n *Node) Next() (at time.Time) {
	consider := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	consider(n.members.Next())
	consider(n.directory.Next())
	if n.connected && n.farewell == 0 {
		consider(n.lease.Next())
		consider(n.orders.Next())
		if session, _ := n.lease.Session(); session != 0 && n.mode == working {
			consider(n.sweep.Next())
		}
	}
	return at
}

// Obey returns the orders to be carried out on this node.
func (n *Node) Obey() []rooms.Order { return n.orders.Obey() }

// Lines returns the lines for the log.
func (n *Node) Lines() (lines []Line) { lines, n.lines = n.lines, nil; return lines }

// Redial reports once that the connections should be made again.
func (n *Node) Redial() bool {
	wanted := n.lease.Redial() || n.redial
	n.redial = false
	return wanted && n.connected
}

// Left reports whether Redis has nothing left of this node.
func (n *Node) Left() bool { return n.left }

// Ready reports whether Redis answers, this node receives what others publish,
// and it has read the orders in Redis.
func (n *Node) Ready() bool { return n.IsConnected() && n.orders.Loaded() }

// IsConnected reports whether Redis answers and this node receives what others
// publish.
func (n *Node) IsConnected() bool {
	session, _ := n.lease.Session()
	return session != 0 && !n.lease.Away() && n.lease.IsSubscribed()
}
