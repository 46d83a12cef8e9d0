// Package clustertest checks nodes of a cluster, real or simulated, against a
// model: who is in which room, and who receives what.
//
//	model.go  the nodes and clients, and what happens in each round
//	round.go  what clients and services do at the same time
//	judge.go  who must have received what, and who may have
package clustertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// A Node is a gateway under test.
type Node interface {
	// Connect connects a client with this user id.
	Connect(user string) (Client, error)

	// Publish publishes an event as a service does, with this text.
	Publish(room, text string) error

	// Sent waits until everything that was published here has left the node,
	// and the directory has its rooms.
	Sent() error

	// Received waits until everything that has reached the node is with its
	// clients, and it knows which nodes hold its rooms.
	Received() error

	// Kill ends the node at once, and with it its clients.
	Kill()
}

// A Client is a connected socket.
type Client interface {
	// Do emits an event about a conversation and returns when it is
	// acknowledged with success.
	Do(event, room string) error

	// Heard returns all events received so far, in order: the name, a space,
	// and either its text, or the user it is about, a space and the room.
	Heard() []string

	// Settle waits until everything that the node has for the client has
	// arrived.
	Settle()

	Close()
}

// patience is how long an event may take, including the lease of a dead node.
const patience = 30 * time.Second

// A Model runs random rounds and compares what clients receive with what they
// must and may receive: each event once, those of one sender in order, and none
// of rooms they have left. Owned by one goroutine.
type Model struct {
	Start func() (Node, error) // starts a node and waits until the others know it
	Fault func() error         // a fault that the nodes must recover from; may be nil
	Log   func(format string, args ...any)

	random  *rand.Rand
	nodes   []Node
	members []*member
	users   int
	texts   int
	fresh   int // number of rooms made in addition to the usual ones
	clock   atomic.Int64
}

// A member is a client. In a round it belongs to its actor.
type member struct {
	Client
	name   string
	node   Node
	stays  []stay
	judged int // number of received events that were checked
}

// A stay is a member's time in a room. The times are the model's.
type stay struct {
	room           string
	asked, in      int64 // when the join was sent, when acknowledged
	leaving, out   int64 // the same of the leave; never as long as it stays
	opened, closed int   // number of events received at asked, and at out
	settled        bool  // all nodes know of the join
}

const never = 1 << 62

// in returns the stay in a room that has not ended, nil when there is none.
func (x *member) in(room string) *stay {
	for i := range x.stays {
		if s := &x.stays[i]; s.room == room && s.leaving == never {
			return s
		}
	}
	return nil
}

const (
	mostNodes   = 5
	mostMembers = 20
	mostActors  = 6
	mostSteps   = 5
	mostBurst   = 8
	roomCount   = 4
)

// Run runs that many rounds from a seed, starting with two nodes.
func (m *Model) Run(seed uint64, rounds int) error {
	m.random = rand.New(rand.NewPCG(seed, 0))
	for range 2 {
		if err := m.startNode(); err != nil {
			return err
		}
	}
	for i := range rounds {
		if what, err := m.round(); err != nil {
			return fmt.Errorf("seed %d, round %d, %s: %w", seed, i, what, err)
		}
	}
	m.Log("seed %d: %d nodes and %d clients at the end; %d clients and %d events of services in all",
		seed, len(m.nodes), len(m.members), m.users, m.texts)
	return nil
}

func (m *Model) startNode() error {
	n, err := m.Start()
	if err == nil {
		m.nodes = append(m.nodes, n)
	}
	return err
}

// round runs one round and checks it.
func (m *Model) round() (what string, err error) {
	switch dice := m.random.IntN(100); {
	case len(m.members) < 4 || dice < 15 && len(m.members) < mostMembers:
		return m.connect()
	case dice < 22:
		return m.disconnect()
	default:
		return m.crowd()
	}
}

func (m *Model) connect() (what string, err error) {
	m.users++
	x := &member{name: fmt.Sprint("user", m.users)}
	at := m.random.IntN(len(m.nodes))
	x.node = m.nodes[at]
	if x.Client, err = x.node.Connect(x.name); err == nil {
		m.members = append(m.members, x)
	}
	return fmt.Sprintf("%s connects to the %d. node", x.name, at+1), err
}

// disconnect is a round of its own, because it is not known when a node
// notices.
func (m *Model) disconnect() (string, error) {
	x := m.members[m.random.IntN(len(m.members))]
	m.members = slices.DeleteFunc(m.members, func(o *member) bool { return o == x })
	var events []event
	now := m.clock.Add(1)
	for _, s := range x.stays {
		events = append(events, event{what: "user_left " + x.name + " " + s.room, room: s.room, by: x, from: now})
	}
	x.Close()
	return x.name + " disconnects", m.settle(events)
}
