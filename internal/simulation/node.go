package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/core"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Configuration of a node. The times are those of production; the sizes are drawn
// for each run, see limits.
const (
	leaseTime  = 5 * time.Second
	lingerTime = 10 * time.Second
	answerTime = 5 * time.Second
	tickTime   = 500 * time.Millisecond
	drainBytes = 4096
	turnDelay  = 300 * time.Microsecond
	slowTurn   = 60 * time.Millisecond
)

var names = wire.NewNames("ws:", 0)

// A machine runs one node at a time. The node may die and be started again. It
// belongs to its run.
type machine struct {
	r     *run
	index int
	name  string
	life  int // number of nodes that it has started

	began time.Duration // start of the present node
	died  time.Duration // end of the last node that died

	up          bool
	stays       bool          // the node has died and is not started again
	paused      time.Duration // until then the node executes nothing
	held        []func()      // calls that came during the pause
	skew        time.Duration // difference of its wall clock from the true time
	slow        time.Duration // added to the delays of its connections
	cut         time.Duration // until then it cannot reach Redis
	off         time.Duration // until then it cannot reach RabbitMQ
	deaf        time.Duration // until then it gets no messages from Redis
	dieAtJoin   int           // number of joins and leaves until it dies; 0: it does not
	dieAtReturn int           // number of returns of clients until it dies; 0: it does not

	hub      *rooms.Hub
	node     *core.Node
	cluster  *clusterDriver
	reader   *readerDriver
	appender *appender               // to the log in Redis; nil: the log is in RabbitMQ
	letters  *lettersDriver          // nil: the run has no dead letters
	recovery *sessionsDriver         // nil: the run has no recovery
	presence *presenceDriver         // nil: the run has no presence
	sessions []*session              // sessions open on the node, also if their client has closed them
	revoked  map[string]time.Time    // by user: tokens issued up to then are refused
	obeyed   map[int64]time.Duration // by the position of an order: when the node took it
	leaving  bool                    // the node is shutting down
	transfer *transfer               // the hand-over in which the node takes part; nil: none
	frozen   bool                    // its event loops are stopped
	unread   []func()                // packets of clients that came while frozen, as in the kernel's buffers
	turnDue  []bool                  // by shard: a turn is scheduled
	turns    []func()                // by shard: calls turn
}

// A lifeOf identifies one of the nodes that a machine has started.
type lifeOf struct{ index, life int }

// start starts a new node.
func (m *machine) start() {
	m.life++
	m.skew = time.Duration(m.r.rng.Int64N(int64(2*skewMost))) - skewMost
	m.build()
	m.r.trace(m.name, "starts as number %d", m.cluster.number)
	m.r.note('S', uint64(m.index), uint64(m.life), 0)
	m.cluster.begin()
	m.reader.begin()
	m.beginLetters()
	m.appender.begin()
	m.presence.begin()
	m.expire()
}

// build makes the parts of a node, and starts none of them.
func (m *machine) build() {
	m.up, m.leaving = true, false
	m.began = m.r.now
	m.held, m.paused = nil, 0
	m.frozen, m.unread, m.transfer = false, nil, nil
	m.sessions = nil
	m.obeyed = make(map[int64]time.Duration)
	m.revoked = make(map[string]time.Time)
	number := uint32(m.index+1)<<12 | uint32(m.life)
	l := &m.r.limits
	m.node = core.New(core.Config{
		Names: names, Node: number, Lease: leaseTime, Linger: lingerTime, Answer: answerTime * 2 / 5,
		Messages: l.queue, Bytes: 1 << 20,
	})
	m.cluster = &clusterDriver{m: m, number: number}
	m.cluster.waker = waker{of: m, act: m.cluster.act}
	m.cluster.cut.Take = m.cluster.message
	m.reader = newReaderDriver(m)
	m.appender = newAppender(m)
	m.presence = m.newPresence()
	hub, err := rooms.New(rooms.Config{
		Shards: l.shards, Auth: m, Revoker: m, ConnectTimeout: 45 * time.Second, MaxPacket: 1 << 16,
		MaxMailbox: l.mailbox, Handlers: rooms.ClientEvents(), Cluster: m.cluster,
		Limits: rooms.Limits{Presence: 500}, Recovery: m.recoveryConfig(), Presence: m.presencePort(),
	})
	if err != nil {
		panic(err)
	}
	m.hub, m.turnDue, m.turns = hub, make([]bool, l.shards), make([]func(), l.shards)
	for i := range l.shards {
		m.turns[i] = func() { m.turn(i) }
		hub.Shard(i).Attach(func() { m.ring(i) })
	}
}

// alive wraps a callback of the node: it does nothing if that node has died.
func (m *machine) alive(do func()) func() {
	life := m.life
	return func() {
		if m.up && m.life == life {
			m.execute(do)
		}
	}
}

// execute calls do on the node, or keeps it until the end of a pause.
func (m *machine) execute(do func()) {
	if m.paused > m.r.now {
		life := m.life
		m.held = append(m.held, func() {
			if m.up && m.life == life {
				do()
			}
		})
		return
	}
	do()
}

// after calls do on the node when d has passed.
func (m *machine) after(d time.Duration, do func()) { m.at(m.r.now+d, do) }

// at calls do on the node at a time.
func (m *machine) at(at time.Duration, do func()) {
	m.r.add(timer{at: at, do: do, on: m, life: m.life})
}

// pause stops the node for d, as SIGSTOP does.
func (m *machine) pause(d time.Duration) {
	if m.paused > m.r.now {
		return
	}
	m.paused = m.r.now + d
	life := m.life
	m.r.after(d, func() {
		if m.life != life || !m.up {
			return
		}
		held := m.held
		m.held, m.paused = nil, 0
		for _, do := range held {
			do()
		}
	})
}

// die ends the node as kill -9 does.
func (m *machine) die() {
	if !m.up {
		return
	}
	m.up, m.died = false, m.r.now
	m.held, m.paused = nil, 0
	m.end()
	if m.transfer != nil && m.transfer.died(m) {
		return // the other process has its connections
	}
	m.hangUp()
}

// end closes the node's connections to the servers.
func (m *machine) end() {
	m.cluster.end()
	m.reader.end()
	m.appender.end()
	m.presence.end()
	if m.letters != nil {
		m.letters.end()
	}
}

// hangUp closes all connections of clients to the node.
func (m *machine) hangUp() {
	m.r.deaths[lifeOf{m.index, m.life}] = m.r.now
	for _, c := range m.r.clients {
		if c.machine == m {
			c.lost()
		}
	}
}

// ring schedules a turn of a shard's event loop, because its mailbox has messages.
func (m *machine) ring(i int) {
	if m.turnDue[i] {
		return
	}
	m.turnDue[i] = true
	m.after(m.r.between(0, m.r.limits.turn), m.turns[i])
}

// turn runs one round of a shard's event loop.
func (m *machine) turn(i int) {
	m.turnDue[i] = false
	sh := m.hub.Shard(i)
	sh.Tasks(m.now())
	if sh.Drain(drainBytes) == 0 || sh.Walking() {
		m.ring(i)
	}
	m.reader.resume()
}

// Authenticate implements rooms.Authenticator. A token is a user and the time at
// which it was issued.
func (m *machine) Authenticate(token []byte, _ rooms.Presenter, now time.Time, done func(rooms.Identity, error)) {
	user, issued := parseToken(string(token))
	id := rooms.Identity{UserID: user, Issued: issued}
	done(id, m.Check(id, now))
}

var errRevoked = errors.New("revoked")

// Check implements rooms.Revoker.
func (m *machine) Check(id rooms.Identity, _ time.Time) error {
	if until, refused := m.revoked[id.UserID]; refused && !id.Issued.After(until) {
		return errRevoked
	}
	return nil
}

// Revoke implements rooms.Revoker.
func (m *machine) Revoke(o rooms.Order) {
	if o.User != "" && o.Issued.After(m.revoked[o.User]) {
		m.revoked[o.User] = o.Issued
	}
}

// The following methods make the machine an upstream.Rooms.

// Holds implements upstream.Rooms.
func (m *machine) Holds(room []byte) bool { return m.hub.Holds(room) }

// Wait implements upstream.Rooms. It does not wait, because the reader checks full
// before it delivers.
func (m *machine) Wait(context.Context) error { return nil }

// Deliver implements upstream.Rooms.
func (m *machine) Deliver(b rooms.Broadcast) int { return m.hub.Deliver(b) }

// Obey implements upstream.Rooms.
func (m *machine) Obey(o rooms.Order) error { return m.hub.Obey(o) }

// Passed implements upstream.Rooms.
func (m *machine) Passed(position uint64) { m.hub.Passed(position) }

// Anew implements upstream.Rooms.
func (m *machine) Anew(log string, behind uint64) { m.hub.Anew(log, behind) }

// Gap implements upstream.Rooms.
func (m *machine) Gap() { m.hub.Gap() }

// receive delivers a message of a client on another node.
func (m *machine) receive(d core.Delivery) {
	if m.hub.Receive(rooms.Broadcast{Room: d.Room, Message: d.Message}) == 0 {
		m.r.count("stray")
	}
}

// missed closes all sessions, because the node has missed events.
func (m *machine) missed() {
	m.closeAll(rooms.ReasonMissedEvents)
}

func (m *machine) closeAll(reason rooms.Reason) {
	for _, l := range slices.Clone(m.sessions) {
		l.Close(reason)
	}
}

func (m *machine) String() string { return fmt.Sprintf("%s.%d", m.name, m.life) }

// The following methods make the clusterDriver a rooms.Cluster.

// Occupied implements rooms.Cluster.
func (d *clusterDriver) Occupied(room, user string) {
	d.m.node.Occupied(room, user)
	d.wake()
}

// Vacated implements rooms.Cluster.
func (d *clusterDriver) Vacated(room string) { d.m.node.Vacated(room, d.m.now()) }

// Counted implements rooms.Cluster.
func (d *clusterDriver) Counted(room string, members int) {
	d.m.node.Counted(room, members, d.m.now())
}

// Members implements rooms.Cluster.
func (d *clusterDriver) Members(room string) int { return d.m.node.Members(room) }

// Elsewhere implements rooms.Cluster.
func (d *clusterDriver) Elsewhere(room string) bool { return d.m.node.Elsewhere(room) }

// Publish implements rooms.Cluster.
func (d *clusterDriver) Publish(room string, msg *codec.Message) {
	d.m.node.Publish(room, msg)
	d.flush()
}
