// Package clustertest holds nodes of a cluster, real or nearly so, to a model:
// who is where, and who hears what.
package clustertest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// A Node is a gateway under test.
type Node interface {
	// Connect connects a client with this user id.
	Connect(user string) (Client, error)

	// Publish publishes an event as a service does, with this text in it.
	Publish(room, text string) error

	// Sent waits until everything that was published here has left the node.
	Sent() error

	// Received waits until everything that has come to the node is with its
	// clients.
	Received() error

	// Kill ends the node at once, and with it its clients.
	Kill()
}

// A Client is a connected socket.
type Client interface {
	// Do emits an event about a conversation and returns when it is
	// acknowledged with success.
	Do(event, room string) error

	// Next returns the next event: its name, a space, and the user it is about
	// or the text in it.
	Next(timeout time.Duration) (string, error)

	// Pending returns how many events wait to be read.
	Pending() int

	Close()
}

// patience is how long an event may take, a dead node's lease included.
const patience = 30 * time.Second

// A Model runs random steps and compares what clients get with what they
// should: each event once, in order, and nothing for rooms left. Owned by one
// goroutine.
type Model struct {
	Start func() (Node, error)   // starts a node and waits until it takes part
	Fault func(*rand.Rand) error // harms what should be healed without a trace; may be nil
	Log   func(format string, args ...any)

	random  *rand.Rand
	nodes   []Node
	members []*member
	users   int
	texts   int
}

// member is a client and what it is to hear.
type member struct {
	Client
	name  string
	node  Node
	rooms map[string]bool
	due   []string // events not read yet
}

const (
	mostNodes   = 5
	mostMembers = 20
	roomCount   = 4
	mostBurst   = 20
)

// Run takes that many steps from a seed, beginning with two nodes.
func (m *Model) Run(seed uint64, steps int) error {
	m.random = rand.New(rand.NewPCG(seed, 0))
	for range 2 {
		if err := m.startNode(); err != nil {
			return err
		}
	}
	for i := range steps {
		what, err := m.step()
		if err == nil {
			err = m.settle()
		}
		if err != nil {
			return fmt.Errorf("seed %d, step %d, %s: %w", seed, i, what, err)
		}
	}
	return m.finish()
}

func (m *Model) startNode() error {
	n, err := m.Start()
	if err == nil {
		m.nodes = append(m.nodes, n)
	}
	return err
}

// step does one thing and notes who is to hear of it.
func (m *Model) step() (what string, err error) {
	room := fmt.Sprint("room", m.random.IntN(roomCount))
	var who *member
	if len(m.members) > 0 {
		who = m.members[m.random.IntN(len(m.members))]
	}
	switch dice := m.random.IntN(100); {
	case who == nil || dice < 15 && len(m.members) < mostMembers:
		return m.connect()
	case dice < 40:
		return m.join(who, room)
	case dice < 55:
		return m.leave(who, room)
	case dice < 75:
		return m.typing(who, room)
	case dice < 90:
		return m.publish(room)
	case dice < 94:
		return m.disconnect(who)
	case dice < 96 && len(m.nodes) < mostNodes:
		return "a node starts", m.startNode()
	case dice < 98 && len(m.nodes) > 1:
		return m.kill()
	case m.Fault != nil:
		return "a fault", m.Fault(m.random)
	}
	return "nothing", nil
}

func (m *Model) connect() (what string, err error) {
	m.users++
	x := &member{name: fmt.Sprint("user", m.users), rooms: make(map[string]bool)}
	at := m.random.IntN(len(m.nodes))
	x.node = m.nodes[at]
	if x.Client, err = x.node.Connect(x.name); err == nil {
		m.members = append(m.members, x)
	}
	return fmt.Sprintf("%s connects to the %d. node", x.name, at+1), err
}

func (m *Model) join(x *member, room string) (string, error) {
	if !x.rooms[room] {
		m.expect(room, x, "user_joined "+x.name)
		x.rooms[room] = true
	}
	return x.name + " joins " + room, x.Do("join_room", room)
}

func (m *Model) leave(x *member, room string) (string, error) {
	if x.rooms[room] {
		delete(x.rooms, room)
		m.expect(room, x, "user_left "+x.name)
	}
	return x.name + " leaves " + room, x.Do("leave_room", room)
}

func (m *Model) typing(x *member, room string) (string, error) {
	if !x.rooms[room] {
		return "nothing", nil
	}
	for range 1 + m.random.IntN(mostBurst) {
		m.expect(room, x, "user_typing "+x.name)
		if err := x.Do("typing", room); err != nil {
			return x.name + " types", err
		}
	}
	return x.name + " types in " + room, nil
}

func (m *Model) publish(room string) (string, error) {
	at := m.random.IntN(len(m.nodes))
	for range 1 + m.random.IntN(mostBurst) {
		m.texts++
		text := fmt.Sprint("text", m.texts)
		m.expect(room, nil, "new_message "+text)
		if err := m.nodes[at].Publish("conversation:"+room, text); err != nil {
			return "a service publishes", err
		}
	}
	return fmt.Sprintf("the %d. node publishes to %s", at+1, room), nil
}

func (m *Model) disconnect(x *member) (string, error) {
	for room := range x.rooms {
		m.expect(room, x, "user_left "+x.name)
	}
	m.members = slices.DeleteFunc(m.members, func(o *member) bool { return o == x })
	x.Close()
	return x.name + " disconnects", nil
}

// kill ends a node. Nobody says that its clients have left.
func (m *Model) kill() (string, error) {
	at := m.random.IntN(len(m.nodes))
	dead := m.nodes[at]
	dead.Kill()
	m.nodes = slices.Delete(m.nodes, at, at+1)
	m.members = slices.DeleteFunc(m.members, func(o *member) bool { return o.node == dead })
	return fmt.Sprintf("the %d. node is killed", at+1), nil
}

// expect notes that everybody in a room but one is to hear of something.
func (m *Model) expect(room string, except *member, event string) {
	for _, x := range m.members {
		if x != except && x.rooms[room] {
			x.due = append(x.due, event)
		}
	}
}

// settle waits until everybody has heard what was due, and nothing else. What
// one step causes in several rooms may come in any order.
func (m *Model) settle() error {
	for _, wait := range []func(Node) error{Node.Sent, Node.Received} {
		for _, n := range m.nodes {
			if err := wait(n); err != nil {
				return err
			}
		}
	}
	for _, x := range m.members {
		for len(x.due) > 0 {
			got, err := x.Next(patience)
			if err != nil {
				return fmt.Errorf("%s waits for %s: %w", x.name, x.due[0], err)
			}
			if got != x.due[0] {
				return fmt.Errorf("%s got %s, want %s", x.name, got, x.due[0])
			}
			x.due = x.due[1:]
		}
	}
	return m.wantNothing()
}

func (m *Model) wantNothing() error {
	for _, x := range m.members {
		if x.Pending() > 0 {
			got, err := x.Next(patience)
			return fmt.Errorf("%s got %s %v, want nothing", x.name, got, err)
		}
	}
	return nil
}

// finish sends something to every room, behind which nothing is left.
func (m *Model) finish() error {
	for i := range roomCount {
		if _, err := m.publish(fmt.Sprint("room", i)); err != nil {
			return err
		}
		if err := m.settle(); err != nil {
			return fmt.Errorf("at the end: %w", err)
		}
	}
	rooms := make(map[string]bool)
	for _, x := range m.members {
		maps.Copy(rooms, x.rooms)
	}
	m.Log("%d nodes, %d clients in %d rooms at the end; %d clients and %d events in all",
		len(m.nodes), len(m.members), len(rooms), m.users, m.texts)
	return nil
}
