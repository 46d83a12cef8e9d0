package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// Delays of the network between clients and nodes.
const (
	clientLeast = 2 * time.Millisecond
	clientMost  = 60 * time.Millisecond
	silentTime  = 25 * time.Second // until a node notices that a client is gone
	reconnect   = 3 * time.Second  // the longest pause before a client comes back
	actEvery    = 30 * time.Second // between two things that a client does
)

// A client is a simulated client that follows the protocol. Owned by its run.
type client struct {
	r     *run
	index int
	name  string
	user  string
	rng   *rand.Rand

	machine *machine
	link    *session // nil: not connected
	slow    bool     // reads seldom

	returning
	lostEvents bool // its session was ended because its node has missed events
}

// A session is one connection of a client, and the rooms.Sink of its socket.
type session struct {
	c      *client
	m      *machine
	life   int // of the machine
	shard  *rooms.Shard
	socket *rooms.Socket
	line   *line
	up     channel
	issued time.Time

	out     []*codec.Message // on the way to the client
	spare   []*codec.Message // a list that was on the way
	pending int              // bytes of these
	moving  bool             // they arrive at some time
	arrives func()           // moved
	closing bool             // the node has closed it, or is about to
	closed  bool             // Closed was called
	gone    bool             // the client knows that it is over

	connected bool // has the answer to CONNECT
	since     time.Duration
	id        string
	acks      int64
	calls     map[int64]call
	members   []*member   // by room; nil: not in there
	bases     map[int]int // by room: its events that were written when the node had the packet
	heard     map[heardKey]*heard
	typing    time.Duration // when it has typed last
	typings   map[int]int   // by room
	probes    map[int]bool  // rooms in which it has typed since the faults are over

	verdicts  uint32               // what the node has told of returns of the client, a bit for each result
	verdict   rooms.RecoveryResult // the last of these
	returning bool                 // has the answer, and not all that comes with it
	replay    bool                 // it is sent what it missed
	back      bool                 // it goes on with a session of before
	aged      bool                 // the record of which may be older than it knows
	restored  map[int]bool         // rooms of which it was told since
}

// A call is an event that waits for its acknowledgement.
type call struct {
	leave bool
	room  int
}

// A member is what a client knows of a room that it is in.
type member struct {
	since   time.Duration
	base    int  // number of the room's first event that was written after the node had the join
	last    int  // number of the last that came; -1: none
	sure    bool // it is not before base
	leaving bool
	unsure  bool // whether it is in there after a return: what comes is held until that is told
	held    []*event
	heard   int         // typings, since the faults are over
	early   map[int]int // copies of repeated events that have come although an earlier one had
	had     []int       // events that have come and may come again
}

func newClient(r *run, i int) *client {
	c := &client{r: r, index: i, name: fmt.Sprintf("client%d", i), user: "u" + strconv.Itoa(i), rng: stream(r.config.Seed, 1000+uint64(i))}
	c.asks = stream(r.config.Seed, 8000+uint64(i)).IntN(100) < r.config.Recovery
	return c
}

func (c *client) begin() {
	c.r.after(between(c.rng, 0, 2*time.Second), c.connect)
	c.r.after(between(c.rng, 0, actEvery), c.act)
	if c.asks {
		c.r.after(between(c.rng, 0, c.r.recovery.every), c.cut)
	}
}

// token is a user and when it was issued.
func token(user string, issued time.Time) string {
	return user + "@" + strconv.FormatInt(issued.Unix(), 10)
}

func parseToken(text string) (user string, issued time.Time) {
	user, seconds, _ := strings.Cut(text, "@")
	n, _ := strconv.ParseInt(seconds, 10, 64)
	return user, time.Unix(n, 0)
}

// connect opens a connection to any node that takes some.
func (c *client) connect() {
	if c.link != nil {
		return
	}
	m := c.r.nodes[c.rng.IntN(len(c.r.nodes))]
	if !m.up || m.leaving || m.reader.reader.Identity() == "" { // not ready
		c.r.after(between(c.rng, 10*time.Millisecond, time.Second), c.connect)
		return
	}
	l := &session{c: c, m: m, life: m.life, line: newLine(clientLeast, clientMost, &noDelay), calls: make(map[int64]call), bases: make(map[int]int)}
	l.up = channel{s: &c.r.schedule, line: l.line}
	l.members = make([]*member, c.r.config.Rooms+c.r.config.Clients)
	l.issued = epoch.Add(c.r.now)
	c.link, c.machine = l, m
	l.up.send(func() {
		l.arrive(func() {
			if c.link != l || !l.line.open {
				return
			}
			m := l.m
			m.sessions = append(m.sessions, l)
			l.shard = m.hub.Shard(c.rng.IntN(m.hub.Shards()))
			l.socket = l.shard.Open(l, "", m.now())
		})
	})
	l.enter("0"+c.auth(l.issued), c.r.config.Rooms+c.index)
}

// arrive executes something on the node that was sent over the connection. While
// the node's event loops are frozen it is kept, as the kernel does.
func (l *session) arrive(do func()) {
	switch m := l.m; {
	case m.frozen && m.life == l.life && (m.up || m.transfer != nil): // a process that takes its place has the connection
		m.kernel = append(m.kernel, func() { l.arrive(do) })
	case !l.there():
	default:
		m.execute(func() {
			if m.frozen {
				l.arrive(do)
			} else {
				do()
			}
		})
	}
}

// later does the same some time later.
func (l *session) later(d time.Duration, do func()) {
	l.c.r.after(d, func() { l.arrive(do) })
}

// there reports whether the node that has the session is alive.
func (l *session) there() bool { return l.m.up && l.m.life == l.life }

// text sends a Socket.IO packet.
func (l *session) text(packet string) { l.enter(packet, -1) }

// enter sends a packet by which the client comes into a room; -1: into none.
func (l *session) enter(packet string, room int) {
	l.up.send(func() {
		l.arrive(func() {
			if m := l.m; l.socket != nil && !l.closed && !l.closing && l.there() {
				l.socket.Text([]byte(packet), m.now())
				if room >= 0 {
					l.bases[room] = len(l.c.r.judge.rooms[room])
					m.sprung(&m.trap)
				}
				m.cluster.wake()
			}
		})
	})
}

// ask sends an event that asks for an acknowledgement.
func (l *session) ask(event string, room int, c call) {
	l.acks++
	l.calls[l.acks] = c
	l.enter(fmt.Sprintf(`2%d["%s",{"roomType":"conversation","roomId":"%s"}]`, l.acks, event, roomID(room)), room)
}

// userNumber is the index of a user's client.
func userNumber(user string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(user, "u"))
	return n
}

func roomID(room int) string { return "r" + strconv.Itoa(room) }

// act does something now and then.
func (c *client) act() {
	if c.r.ending {
		return
	}
	c.r.after(between(c.rng, 0, 2*actEvery), c.act)
	l := c.link
	if l == nil || !l.connected {
		return
	}
	for range 1 + c.rng.IntN(3) {
		room := c.room()
		m := l.members[room]
		switch n := c.rng.IntN(10); {
		case m == nil && n < 7:
			l.join(room)
		case m == nil || m.leaving:
		case n < 5:
			l.typeIn(room)
		case n < 7:
			l.leave(room)
		case n == 7:
			c.slow = !c.slow
		case n == 8:
			c.leave(c.rng.IntN(2) == 0)
			return
		}
	}
}

// room draws a room: a few have many members.
func (c *client) room() int {
	n := c.r.config.Rooms
	if c.rng.IntN(4) == 0 {
		return c.rng.IntN(min(n, 3))
	}
	return c.rng.IntN(n)
}

func (l *session) join(room int) {
	for _, o := range l.calls {
		if o.room == room {
			return // its answer is on the way
		}
	}
	l.c.r.trace(l.c.name, "joins %s", roomID(room))
	delete(l.bases, room)
	l.ask("join_room", room, call{room: room})
}

func (l *session) leave(room int) {
	l.c.r.trace(l.c.name, "leaves %s", roomID(room))
	l.members[room].leaving = true
	delete(l.bases, room)
	l.ask("leave_room", room, call{leave: true, room: room})
}

func (l *session) typeIn(room int) {
	if l.typing == l.c.r.now {
		return // two in one millisecond could not be told apart
	}
	l.typing = l.c.r.now
	if l.typings == nil {
		l.typings, l.probes = make(map[int]int), make(map[int]bool)
	}
	l.typings[room]++
	l.probes[room] = l.c.r.ending
	l.c.r.trace(l.c.name, "types in %s", roomID(room))
	l.text(`2["typing",{"roomType":"conversation","roomId":"` + roomID(room) + `"}]`)
}

// probed reports whether it has typed in a room since the faults are over.
func (l *session) probed(room int) bool { return l.probes[room] }

// leave ends the connection from the client's side; silent: the node is not
// told.
func (c *client) leave(silent bool) {
	l := c.link
	if l == nil {
		return
	}
	c.r.trace(c.name, "goes away, silent %v", silent)
	l.over()
	d := c.r.between(clientLeast, clientMost)
	if silent {
		d = silentTime
	}
	l.later(d, l.hangUp)
}

// over ends the connection on the client's side.
func (l *session) over() {
	if l.gone {
		return
	}
	l.gone, l.line.open = true, false
	l.c.link, l.c.machine = nil, nil
	l.c.r.note('O', uint64(l.c.index), 0, 0)
	l.ended()
	l.c.r.after(l.c.away(), l.c.connect)
}

// lost is the end of the client's node.
func (c *client) lost() {
	if l := c.link; l != nil {
		l.line.silent = true
		c.r.after(c.r.between(clientLeast, noticeMost), l.over)
	}
}

// hangUp ends the connection on the node's side.
func (l *session) hangUp() {
	if l.closed || !l.there() {
		return
	}
	l.closed = true
	l.m.sessions = slices.DeleteFunc(l.m.sessions, func(o *session) bool { return o == l })
	if l.socket != nil {
		l.socket.Closed(l.m.now())
	}
	l.m.cluster.wake()
}

// Send implements rooms.Sink.
func (l *session) Send(m *codec.Message) {
	if l.closing || l.closed {
		return
	}
	if m.Volatile && l.pending > 0 && l.c.slow {
		return // a backlog does without it
	}
	l.out = append(l.out, m)
	if l.pending += m.Size(); l.pending > l.mostPending() {
		l.c.r.count("slow consumer")
		l.Close(rooms.ReasonSlowConsumer)
		return
	}
	l.move()
}

// Replay implements rooms.Replayer.
func (l *session) Replay() { l.replay = true }

// mostPending is how many bytes may be on the way to the client: more when it is
// sent what it missed.
func (l *session) mostPending() int {
	if l.replay {
		return 2 * l.c.r.limits.pending
	}
	return l.c.r.limits.pending
}

// move has what is on its way arrive, together, at some time.
func (l *session) move() {
	if l.moving {
		return
	}
	l.moving = true
	r := l.c.r
	d := r.between(clientLeast, clientMost)
	if l.c.slow && !r.ending {
		d += r.between(0, 20*time.Second)
	}
	if l.arrives == nil {
		l.arrives = l.moved
	}
	r.after(d, l.arrives)
}

// moved has the client read what was on its way.
func (l *session) moved() {
	l.moving = false
	out := l.out
	l.out, l.spare, l.pending, l.replay = l.spare, nil, 0, false
	if !l.line.open || l.line.silent {
		return
	}
	for _, m := range out {
		l.receive(m)
	}
	clear(out)
	l.spare = out[:0]
	if l.returning {
		l.settled()
	}
}

// Close implements rooms.Sink.
func (l *session) Close(reason rooms.Reason) {
	if l.closing || l.closed {
		return
	}
	l.closing = true
	r := l.c.r
	r.trace(l.c.name, "is closed by %v: %v", l.m, reason)
	r.count("closed " + reason.String())
	if reason == rooms.ReasonMissedEvents {
		l.c.lostEvents = true
	}
	l.later(r.between(0, time.Millisecond), l.hangUp)
	r.after(r.between(clientLeast, 2*clientMost), func() {
		if l.line.open {
			l.over()
		}
	})
}

// Source implements rooms.Sink.
func (l *session) Source() uint64 { return uint64(l.c.index) + 1 }

// Wake implements rooms.Sink; tokens here have no end.
func (l *session) Wake() {}
