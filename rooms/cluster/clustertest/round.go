package clustertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
)

// An event is something that other clients are to receive.
type event struct {
	what string // in the form of Client.Heard
	room string
	by   *member // nil: a service
	line int     // number of the actor in this round; its events keep their order
	from int64   // time at which it was sent

	faulty bool // in a round with a fault
}

// An actor does some things one after the other.
type actor struct {
	m      *Model
	who    *member // nil: a service
	node   Node    // where the service publishes
	steps  []step
	line   int
	events []event // that its steps have caused
	err    error
}

// A step is one thing that an actor does. It is drawn beforehand, so that a
// seed determines everything.
type step struct {
	do   string
	room string
	text string // of a service's event
}

// crowd runs some actors at the same time. A node may start or be killed
// meanwhile, or a fault may happen.
func (m *Model) crowd() (what string, err error) {
	aside := func() error { return nil }
	nodes, members := m.nodes, m.members // who may act
	faulty := false
	switch dice := m.random.IntN(100); {
	case dice < 5 && len(m.nodes) < mostNodes:
		what, aside = "a node starts", m.startNode
	case dice < 10 && len(m.nodes) > 1:
		doomed := m.nodes[m.random.IntN(len(m.nodes))]
		m.nodes = slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return n == doomed })
		m.members = slices.DeleteFunc(slices.Clone(members), func(x *member) bool { return x.node == doomed })
		nodes, members = m.nodes, m.members
		what, aside = "a node is killed", func() error { doomed.Kill(); return nil }
	case dice < 20 && m.Fault != nil:
		what, aside, faulty = "a fault", m.Fault, true
	}
	actors := m.actors(nodes, members)
	err = perform(actors, aside)
	var events []event
	for _, a := range actors {
		what += "; " + a.String()
		for _, e := range a.events {
			e.faulty = faulty
			events = append(events, e)
		}
		err = errors.Join(err, a.err)
	}
	if err == nil {
		err = m.settle(events)
	}
	return what, err
}

// perform runs the actors, and something else meanwhile.
func perform(actors []*actor, aside func() error) error {
	var all sync.WaitGroup
	for _, a := range actors {
		all.Go(a.act)
	}
	err := aside()
	all.Wait()
	return err
}

// actors draws who acts and what they do: now and then one alone, and half of
// it in one room, which may be new.
func (m *Model) actors(nodes []Node, members []*member) (all []*actor) {
	order := m.random.Perm(len(members))
	hot := fmt.Sprint("room", m.random.IntN(roomCount))
	if m.random.IntN(2) == 0 {
		m.fresh++
		hot = fmt.Sprint("fresh", m.fresh)
	}
	for i := range 1 + m.random.IntN(mostActors) {
		a := &actor{m: m, line: i}
		if i < len(order) && m.random.IntN(4) > 0 {
			a.who = members[order[i]]
		} else {
			a.node = nodes[m.random.IntN(len(nodes))]
		}
		for range 1 + m.random.IntN(mostSteps) {
			a.draw(m.random, hot)
		}
		all = append(all, a)
	}
	return all
}

// draw adds a step, or a burst of them.
func (a *actor) draw(random *rand.Rand, hot string) {
	s := step{room: hot}
	if random.IntN(2) == 0 {
		s.room = fmt.Sprint("room", random.IntN(roomCount))
	}
	burst := 1
	switch dice := random.IntN(10); {
	case a.who == nil:
		burst = 1 + random.IntN(mostBurst)
	case dice < 4:
		s.do = "join_room"
	case dice < 6:
		s.do = "leave_room"
	default:
		s.do, burst = "typing", 1+random.IntN(mostBurst)
	}
	for range burst {
		if a.who == nil {
			a.m.texts++
			s.text = fmt.Sprint("text", a.m.texts)
		}
		a.steps = append(a.steps, s)
	}
}

// act runs the steps. It is a goroutine.
func (a *actor) act() {
	for _, s := range a.steps {
		if a.who == nil {
			a.cause("new_message "+s.text, s.room)
			a.err = a.node.Publish("conversation:"+s.room, s.text)
		} else {
			a.err = a.do(s)
		}
		if a.err != nil {
			a.err = fmt.Errorf("%s: %w", a, a.err)
			return
		}
	}
}

func (a *actor) cause(what, room string) int64 {
	from := a.m.clock.Add(1)
	a.events = append(a.events, event{what: what, room: room, by: a.who, line: a.line, from: from})
	return from
}

func (a *actor) do(s step) error {
	x := a.who
	about := " " + x.name + " " + s.room
	at := x.in(s.room)
	switch {
	case s.do == "join_room" && at == nil:
		x.stays = append(x.stays, stay{room: s.room, in: never, leaving: never, out: never, opened: len(x.Heard()), closed: never})
		at = &x.stays[len(x.stays)-1]
		at.asked = a.cause("user_joined"+about, s.room)
		err := x.Do(s.do, s.room)
		at.in = a.m.clock.Add(1)
		return err
	case s.do == "leave_room" && at != nil:
		at.leaving = a.cause("user_left"+about, s.room)
		err := x.Do(s.do, s.room)
		at.out, at.closed = a.m.clock.Add(1), len(x.Heard())
		return err
	case s.do == "typing" && at == nil:
		return nil // it would be refused
	case s.do == "typing":
		a.cause("user_typing"+about, s.room)
	}
	return x.Do(s.do, s.room)
}

func (a *actor) String() string {
	name := "a service"
	if a.who != nil {
		name = a.who.name
	}
	text := name + ":"
	for i, s := range a.steps {
		if i == 0 || s.do != a.steps[i-1].do || s.room != a.steps[i-1].room {
			text += " " + s.do + " " + s.room
		}
	}
	return text
}
