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

// Delays of the network between clients and nodes, and habits of clients.
const (
	clientLeast = 2 * time.Millisecond
	clientMost  = 60 * time.Millisecond
	silentTime  = 25 * time.Second // until a node notices that a client is gone without a close
	reconnect   = 3 * time.Second  // the longest pause before a client reconnects
	actEvery    = 30 * time.Second // average time between two actions of a client
)

// A client is a simulated client that follows the protocol. It belongs to its run.
type client struct {
	r     *run
	index int
	name  string
	user  string
	rng   *rand.Rand

	machine *machine
	link    *session // nil: not connected
	slow    bool     // it reads rarely

	returning       // what it keeps for its return
	lostEvents bool // a session was closed because its node had missed events
}

// A session is one connection of a client, and the rooms.Sink of its socket.
type session struct {
	c      *client
	m      *machine
	life   int // the machine's life that it belongs to
	shard  *rooms.Shard
	socket *rooms.Socket
	line   *line
	up     channel
	issued time.Time

	out     []*codec.Message // messages under way to the client
	spare   []*codec.Message // an empty list for out
	pending int              // bytes in out
	moving  bool             // the arrival of out is scheduled
	arrives func()           // calls moved
	closing bool             // the node has closed it, and hangUp is scheduled
	closed  bool             // hangUp was called
	gone    bool             // the client has noticed the end

	connected bool // the client has the answer to CONNECT
	since     time.Duration
	id        string // of the socket
	acks      int64
	calls     map[int64]call // by the id of the acknowledgement that is expected
	members   []*member      // by room; nil: not a member
	bases     map[int]int    // by room: number of its entries when the node got the join
	heard     map[heardKey]*heard
	typing    time.Duration // when it last typed
	typings   map[int]int   // by room: how often it typed
	probes    map[int]bool  // rooms in which it typed after the end of the faults

	verdicts  uint32               // results that the node has reported for the client's return, one bit each
	verdict   rooms.RecoveryResult // the last of these
	returning bool                 // it was recovered, and has not got everything that comes with the answer
	replay    bool                 // it is being sent the events that it missed
	back      bool                 // it has recovered an earlier session
	outdated  bool                 // its record may be older than the client's knowledge
	restored  map[int]bool         // rooms for which it got room_state after the return
}

// A call is a join or leave whose acknowledgement has not come.
type call struct {
	leave bool
	room  int
}

// A member is what a client knows of a room that it has joined.
type member struct {
	since   time.Duration
	base    int  // number of the room's first entry that was written after the node had got the join
	last    int  // number of the last entry that has come; -1: none
	sure    bool // an entry from base on has come, so no later one may be missing
	leaving bool // it has sent a leave
	unsure  bool // after a return it is not known whether it is a member; events are held until it is
	held    []*event
	heard   int         // typings of others since the end of the faults
	early   map[int]int // by event: copies that have come out of order, which is accepted
	had     []int       // events that have come and of which another copy may come
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

// token returns the token of a user: the name and the time of issue.
func token(user string, issued time.Time) string {
	return user + "@" + strconv.FormatInt(issued.Unix(), 10)
}

func parseToken(text string) (user string, issued time.Time) {
	user, seconds, _ := strings.Cut(text, "@")
	n, _ := strconv.ParseInt(seconds, 10, 64)
	return user, time.Unix(n, 0)
}

// connect opens a connection to a random node that accepts connections.
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

// arrive calls do on the node for a packet that has arrived there. While the
// node's event loops are frozen the packet is kept, as the kernel keeps it.
func (l *session) arrive(do func()) {
	switch m := l.m; {
	case m.frozen && m.life == l.life && (m.up || m.transfer != nil): // a process that takes over has the connection
		m.unread = append(m.unread, func() { l.arrive(do) })
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

// later calls arrive when d has passed.
func (l *session) later(d time.Duration, do func()) {
	l.c.r.after(d, func() { l.arrive(do) })
}

// there reports whether the node of the session is alive.
func (l *session) there() bool { return l.m.up && l.m.life == l.life }

// text sends a Socket.IO packet.
func (l *session) text(packet string) { l.enter(packet, -1) }

// enter sends a packet. If the packet makes the client a member of a room, the
// room's number of entries is recorded when the node gets it; room -1: none.
func (l *session) enter(packet string, room int) {
	l.up.send(func() {
		l.arrive(func() {
			if m := l.m; l.socket != nil && !l.closed && !l.closing && l.there() {
				l.socket.Text([]byte(packet), m.now())
				if room >= 0 {
					l.bases[room] = len(l.c.r.judge.rooms[room])
					m.countDown(&m.dieAtJoin)
				}
				m.cluster.wake()
			}
		})
	})
}

// ask sends a join or leave, and expects an acknowledgement.
func (l *session) ask(event string, room int, c call) {
	l.acks++
	l.calls[l.acks] = c
	l.enter(fmt.Sprintf(`2%d["%s",{"roomType":"conversation","roomId":"%s"}]`, l.acks, event, roomID(room)), room)
}

// userNumber returns the index of a user's client.
func userNumber(user string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(user, "u"))
	return n
}

func roomID(room int) string { return "r" + strconv.Itoa(room) }

// act does a few random actions, and schedules itself again.
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

// room draws a room. The first three rooms get more members.
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
			return // it waits for an acknowledgement for this room
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
		return // two at one time have the same timestamp
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

// probed reports whether the client typed in a room after the end of the faults.
func (l *session) probed(room int) bool { return l.probes[room] }

// leave closes the connection on the client's side. If silent, the node only
// notices after a timeout.
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

// over ends the connection on the client's side, and schedules the next one.
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

// lost ends the connection because the client's node has died.
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
		return // a slow client does not get volatile messages
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

// mostPending returns how many bytes may be under way to the client: twice as many
// during a replay.
func (l *session) mostPending() int {
	if l.replay {
		return 2 * l.c.r.limits.pending
	}
	return l.c.r.limits.pending
}

// move schedules the arrival of the messages under way.
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

// moved lets the client read the messages under way.
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

// Wake implements rooms.Sink. Tokens do not expire in the simulation.
func (l *session) Wake() {}
