// Package core is the state machine of one node of a cluster. It puts together the
// directory of rooms, the outbox of messages to other nodes, the numbers of members,
// the orders that last and the node's lease. It has no I/O, no clock and no
// goroutine. Inputs are method calls with values; outputs are values: batches of
// commands for Redis, orders to carry out, lines for the log, and the time of the
// next call. The same inputs in the same order give the same outputs.
//
// A driver connects it with Redis: package cluster with a server, the simulation
// with a model of one.
//
//	core.go     inputs
//	outputs.go  batches and the time of the next call
//	stats.go    counters
package core

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/directory"
	"github.com/hometrip/gateway/rooms/cluster/lease"
	"github.com/hometrip/gateway/rooms/cluster/members"
	"github.com/hometrip/gateway/rooms/cluster/orders"
	"github.com/hometrip/gateway/rooms/cluster/outbox"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// tellMost is for how many rooms the numbers of members are sent in one batch.
const tellMost = 512

// A Config is the configuration of a Node. All fields are needed.
type Config struct {
	Names  wire.Names
	Node   uint32
	Lease  time.Duration // a node whose lease was not renewed for that long is dead
	Linger time.Duration // how long a room stays in the directory after its last member left
	Answer time.Duration // how long Redis may take to answer before it counts as away

	Messages int // that wait to be published
	Bytes    int // of these

	Alone bool // until Redis has been reached once, this node is the only one
}

// A Node is one node's part in the cluster. Its methods must not be called at
// the same time.
type Node struct {
	c         Config
	lease     *lease.Lease
	sweep     *lease.Sweep
	directory *directory.Directory
	members   *members.Members
	outbox    *outbox.Outbox
	orders    *orders.Orders

	connected bool
	mine      wire.Lease // what the lease says
	batches   uint64     // the id of the last one
	mode      mode
	leaving   bool
	left      bool   // nothing of this node is left in Redis
	farewell  uint64 // id of the batch that takes the lease back

	redial   bool      // the directory's connection leads to a replica
	redialed time.Time // when that was last found

	lines []Line
	stats counters
}

// A Line is a line for the log.
type Line struct {
	Text  string
	Error error
	Warn  bool
}

// New makes a node that is not connected.
func New(c Config) *Node {
	n := &Node{
		c:       c,
		lease:   lease.New(lease.Config{Names: c.Names, Node: c.Node, Lease: c.Lease, Answer: c.Answer}),
		members: members.New(),
		outbox:  outbox.New(outbox.Config{Names: c.Names, Node: c.Node, Messages: c.Messages, Bytes: c.Bytes}),
		orders:  orders.New(c.Names),
	}
	n.sweep = lease.NewSweep(c.Names, n.lease.Lives)
	n.directory = directory.New(directory.Config{Names: c.Names, Node: c.Node, Linger: c.Linger, Others: n.lease, Speaks: n.outbox.Speaks})
	return n
}

// Alone reports whether there are no other nodes as far as this one knows.
func (n *Node) Alone() bool { return n.c.Alone && !n.lease.Reached() }

// Occupied records that this node has its first member in a room: see
// rooms.Cluster.
func (n *Node) Occupied(room, by string) { n.directory.Occupied(room, by) }

// Vacated records that this node has no member in a room any more.
func (n *Node) Vacated(room string, now time.Time) {
	n.directory.Vacated(room, now)
	n.members.Counted(room, 0, now)
}

// Counted records how many members a room has.
func (n *Node) Counted(room string, count int, now time.Time) { n.members.Counted(room, count, now) }

// Members returns the approximate number of members that a room has on other
// nodes.
func (n *Node) Members(room string) int { return n.members.Members(room, n.lease.Gone) }

// Elsewhere reports whether another node may hold a room.
func (n *Node) Elsewhere(room string) bool { return !n.Alone() && n.directory.Elsewhere(room) }

// OfOthers reports whether one of the sessions that were read for a room
// belongs to another node and is not known to be over.
func (n *Node) OfOthers(sessions []string) bool {
	return slices.ContainsFunc(sessions, func(text string) bool {
		session, err := strconv.ParseInt(text, 10, 64)
		return err == nil && wire.NodeOf(session) != n.c.Node && !n.lease.Dead(session)
	})
}

// Publish queues a client's message to a room. While Redis is away, volatile
// messages are dropped.
func (n *Node) Publish(room string, m *codec.Message) {
	switch {
	case n.Alone() || n.leaving:
	case m.Volatile && (n.lease.Away() || !n.connected):
		n.stats.away++
	default:
		_, known := n.directory.Holders(room)
		n.outbox.Say(room, n.directory.User(room), known, m)
	}
}

// Keep stores a lasting order in Redis.
func (n *Node) Keep(o rooms.Order, now time.Time) { n.orders.Keep(o, now) }

// ReadOrders reads the orders in Redis again: some may have been missed.
func (n *Node) ReadOrders() { n.orders.Read() }

// Tell sets what the node's lease says to the others.
func (n *Node) Tell(sockets int64) {
	n.mine = wire.Lease{Registered: n.directory.Registered(), Sockets: sockets, Rooms: int64(n.directory.Len())}
}

// Connected records that there are connections to Redis, on which batches can
// be sent.
func (n *Node) Connected(sharded bool, now time.Time) {
	n.connected = true
	n.outbox.Sharded(sharded)
}

// Disconnected records that there are no connections, and why. Batches that
// were under way are answered, too.
func (n *Node) Disconnected(err error, now time.Time) {
	n.connected = false
	n.Lost("the connection is made anew", now)
	if err != nil {
		n.lease.Failed(err, now)
		n.Trouble(err)
	}
}

// Subscribed records whether this node receives what others publish.
func (n *Node) Subscribed(yes bool, now time.Time) {
	if yes && !n.lease.IsSubscribed() {
		n.members.Missed(now)
	}
	n.lease.Subscribed(yes, now)
}

// IsSubscribed returns the argument of the last call of Subscribed.
func (n *Node) IsSubscribed() bool { return n.lease.IsSubscribed() }

// Lost records that Redis may have lost what was written, and missed
// invalidations: the connection was lost, or the database flushed.
func (n *Node) Lost(why string, now time.Time) {
	n.lease.Lose(why, now)
	n.after(now)
}

// Missed records that messages of other nodes may have been lost.
func (n *Node) Missed(now time.Time) { n.members.Missed(now) }

// Changed records that a key has changed that was read with tracking.
func (n *Node) Changed(key string) {
	if room, ok := n.c.Names.RoomOf(key); ok {
		n.directory.Changed(room)
	}
}

// A Delivery is a message for this node's members of a room.
type Delivery struct {
	Room    string
	Message *codec.Message
}

// Message handles an envelope that another node has published to this one, and
// appends the messages for its members to list. It keeps a view of body.
func (n *Node) Message(body []byte, list []Delivery, now time.Time) []Delivery {
	from, records, err := wire.Parse(body)
	if err != nil {
		n.stats.malformed++
		n.line(Line{Text: "a message of another node cannot be read", Error: err, Warn: true})
	}
	for _, r := range records {
		room, count := r.Of()
		if n.directory.Holds(room) && n.members.Heard(room, from, count) {
			n.directory.Changed(room)
		}
		switch r := r.(type) {
		case wire.Message:
			n.stats.received++
			list = append(list, Delivery{room, r.Frames})
		case wire.Count:
			if r.Ask {
				n.members.Retell(room, now)
			}
		}
	}
	return list
}

// Reply handles the replies to a batch.
func (n *Node) Reply(id uint64, replies []wire.Reply, now time.Time) {
	if err := wire.FirstError(replies); err != nil {
		n.stats.failures++
		n.trouble(err)
	}
	switch {
	case id == n.farewell:
		n.left = true
	case n.outbox.Reply(id, replies):
		for _, room := range n.outbox.Failed() {
			if session, _ := n.lease.Session(); session != 0 { // otherwise all are sent when the next one begins
				n.members.Failed(room, now)
			}
		}
	case n.directory.Reply(id, replies, now):
		n.replica(wire.FirstError(replies), now)
	case n.orders.Reply(id, replies, now):
	default:
		n.sweep.Reply(id, replies, now)
		n.lease.Reply(id, replies, n.directory.Registered(), now)
	}
	n.after(now)
}

// replica requests new connections, at most once in a lease, if err says that
// the directory's connection leads to a server that has become a replica. The
// lease has a connection of its own, which may lead to the new master.
func (n *Node) replica(err error, now time.Time) {
	if err != nil && strings.HasPrefix(err.Error(), "READONLY") && now.Sub(n.redialed) >= n.c.Lease {
		n.redial, n.redialed = true, now
	}
}

// Tick does what is due.
func (n *Node) Tick(now time.Time) {
	away := n.lease.Away()
	n.lease.Tick(now)
	if !away && n.lease.Away() {
		n.trouble(n.lease.Trouble())
	}
	n.directory.Tick(now)
	for _, room := range n.members.Due(tellMost, now) {
		n.outbox.Count(room)
	}
	n.after(now)
}

// Leave removes everything of this node from Redis. Messages that wait are
// published first, as far as possible.
func (n *Node) Leave() {
	n.leaving = true
	n.directory.Leave()
}

// after passes between the parts what one of them has found out.
func (n *Node) after(now time.Time) {
	n.directory.Share(n.lease.Nodes())
	if why := n.lease.Ended(); why != "" {
		n.line(Line{Text: "redis session lost: " + why})
		n.directory.Session(0, nil, now)
		n.orders.Session(0)
	}
	if n.lease.Begun() {
		session, former := n.lease.Session()
		n.directory.Session(session, former, now)
		n.orders.Session(session)
		n.members.Missed(now)
	}
	n.recovered()
	for _, room := range n.directory.Seen() {
		n.members.Holders(room, n.directory.Sessions(room), now)
		n.outbox.Known(room)
	}
	for _, room := range n.directory.Gone() {
		n.members.Forget(room)
		n.outbox.Known(room) // no member is there
	}
	if sessions, removed := n.sweep.Done(); sessions != nil {
		n.line(Line{Text: fmt.Sprintf("removed dead nodes' sessions %s from rooms, %d times", strings.Join(sessions, ", "), removed)})
	}
}

// asked is the outbox's view of a room.
type asked struct{ n *Node }

func (a asked) Holders(room string) ([]int64, bool) { return a.n.directory.Holders(room) }
func (a asked) Tell(room string, count bool) (members int, asks bool) {
	members, asks = a.n.members.Tell(room)
	if asks && count {
		a.n.members.Asked(room)
	}
	return members, asks && count
}
