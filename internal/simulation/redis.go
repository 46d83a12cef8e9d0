package simulation

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Delays of the network between nodes and servers.
const (
	netLeast   = 100 * time.Microsecond
	netMost    = 2 * time.Millisecond
	dialMost   = 5 * time.Millisecond
	noticeMost = 300 * time.Millisecond // until an end that was not told is noticed on writing
)

var errLost = errors.New("the connection was lost")

// A redisServer is the model of Redis with its connections and its faults. Owned
// by its run.
type redisServer struct {
	r      *run
	server *redismodel.Server
	links  []*redisLink
	down   bool          // takes no connections
	hangs  time.Duration // executes nothing until then
	calls  bool          // it is about to end reads that wait

	spares  [][]redismodel.Reply // lists to be used again
	answers []wire.Reply         // scratch of plain
	parcels []*parcel            // to be used again
	batches []*redisBatch        // the same
	texts   chunks[string]       // of commands
	lists   chunks[[]string]

	ill      []span        // in which faults of Redis or of the way to it were
	lostData int           // times that what it kept may be gone
	lostAt   time.Duration // the last of these
	losses   []time.Duration
}

// A span is a stretch of simulated time.
type span struct{ from, to time.Duration }

// illDuring reports whether Redis may have been unable to take something.
func (s *redisServer) illDuring(from, to time.Duration) bool { return anyDuring(s.ill, from, to) }

func anyDuring(list []span, from, to time.Duration) bool {
	return slices.ContainsFunc(list, func(x span) bool { return x.from < to && from < x.to })
}

// loses notes that what it kept may be gone.
func (s *redisServer) loses() {
	s.lostData++
	s.lostAt = s.r.now
	s.losses = append(s.losses, s.r.now)
}

// A redisLink is a connection of a node to Redis.
type redisLink struct {
	s        *redisServer
	m        *machine
	line     *line
	up, back channel
	conn     *redismodel.Conn
	stalled  backlog
	expected []*redisBatch // whose replies are to come, the oldest first
	push     func(redismodel.Reply)
	ended    func() // the node notices that the connection is gone
}

// A redisBatch is commands of which the replies are given back together. It is
// used again when they have been.
type redisBatch struct {
	commands [][]string
	arrives  func() // has the server execute commands
	link     *redisLink
	want     int
	replies  []redismodel.Reply
	done     func(replies []redismodel.Reply, err error)
}

// A parcel is what the server has written, on its way to a node. It is used
// again when it has arrived.
type parcel struct {
	link    *redisLink
	replies []redismodel.Reply
	arrives func()
}

// reachable reports whether a node can connect.
func (s *redisServer) reachable(m *machine) bool { return !s.down && m.cut <= s.r.now }

// dial opens a connection.
func (s *redisServer) dial(m *machine) *redisLink {
	l := &redisLink{s: s, m: m, line: newLine(netLeast, netMost, &m.slow)}
	l.up = channel{s: &s.r.schedule, line: l.line}
	l.back = channel{s: &s.r.schedule, line: l.line}
	l.conn = s.server.Connect()
	s.links = append(s.links, l)
	return l
}

// send has a batch executed; done is called once.
func (l *redisLink) send(commands [][]string, want int, done func([]redismodel.Reply, error)) {
	b := l.s.batch()
	b.link, b.commands, b.want, b.done = l, commands, want, done
	l.expected = append(l.expected, b)
	if !l.line.open || l.line.silent {
		return // answered when the end is noticed
	}
	apart := l.s.r.rng.IntN(8) == 0
	if !apart {
		l.up.send(b.arrives)
		return
	}
	for _, c := range commands { // others' come between
		l.up.send(func() { l.execute(c) })
	}
}

// execute is the server's side.
func (l *redisLink) execute(commands ...[]string) {
	if len(l.stalled.waiting) == 0 && l.s.hangs <= l.s.r.now {
		l.run(commands)
		return
	}
	l.stalled.take(&l.s.r.schedule, &l.s.hangs, l.line, func() { l.run(commands) })
}

func (l *redisLink) run(commands [][]string) {
	if l.conn.Closed {
		return
	}
	l.s.advance()
	for _, args := range commands {
		l.conn.Do(args...)
		if args[0] == "XTRIM" {
			l.s.r.log.redis.trimmed(l.m)
		}
	}
	l.s.flush()
}

// advance tells the model the time.
func (s *redisServer) advance() {
	s.server.Advance(time.Duration(epoch.UnixNano()) + s.r.now)
}

// flush sends everybody what the server has written.
func (s *redisServer) flush() {
	for _, l := range s.links {
		if len(l.conn.Out) == 0 {
			continue
		}
		p := s.parcel()
		p.link, p.replies = l, l.conn.Out
		l.conn.Out = s.spare()
		l.back.send(p.arrives)
	}
}

// parcel returns one that is not used.
func (s *redisServer) parcel() *parcel {
	if n := len(s.parcels); n > 0 {
		p := s.parcels[n-1]
		s.parcels = s.parcels[:n-1]
		return p
	}
	p := &parcel{}
	p.arrives = func() {
		l, replies := p.link, p.replies
		p.link, p.replies = nil, nil
		s.parcels = append(s.parcels, p)
		if l.m.paused > l.m.r.now {
			l.m.execute(func() { l.take(replies) })
		} else {
			l.take(replies)
		}
	}
	return p
}

// batch returns one that is not used.
func (s *redisServer) batch() *redisBatch {
	if n := len(s.batches); n > 0 {
		b := s.batches[n-1]
		s.batches = s.batches[:n-1]
		return b
	}
	b := &redisBatch{}
	b.arrives = func() { b.link.execute(b.commands...) }
	return b
}

// take is the node's side: replies in order, and pushes between them.
func (l *redisLink) take(list []redismodel.Reply) {
	for _, r := range list {
		if !l.line.open {
			return
		}
		if r.Kind == redismodel.Push {
			l.push(r)
			continue
		}
		b := l.expected[0]
		if b.replies == nil {
			b.replies = l.s.spare()
		}
		if b.replies = append(b.replies, r); len(b.replies) == b.want {
			l.expected = l.expected[1:]
			b.done(b.replies, nil)
			l.s.giveBack(b.replies)
			*b = redisBatch{arrives: b.arrives}
			l.s.batches = append(l.s.batches, b)
		}
	}
	l.s.giveBack(list)
}

// giveBack takes a list that is not used any more.
func (s *redisServer) giveBack(list []redismodel.Reply) {
	clear(list)
	s.spares = append(s.spares, list[:0])
}

// spare returns a list that was used before.
func (s *redisServer) spare() (list []redismodel.Reply) {
	if n := len(s.spares); n > 0 {
		list, s.spares = s.spares[n-1], s.spares[:n-1]
	}
	return list
}

// lose ends the connection. The server notices at once. The node notices after
// the delay of the network if told is true, and otherwise after a timeout.
func (l *redisLink) lose(told bool) {
	if !l.line.open || l.line.silent {
		return
	}
	l.line.silent = true
	l.s.forget(l)
	d := l.s.r.between(0, noticeMost)
	if !told {
		d = answerTime
	}
	l.m.after(d, l.end)
}

// end is the node's side of an end.
func (l *redisLink) end() {
	if !l.line.open {
		return
	}
	l.line.open = false
	l.s.forget(l)
	expected := l.expected
	l.expected = nil
	for _, b := range expected {
		b.done(nil, errLost)
	}
	l.ended()
}

func (s *redisServer) forget(l *redisLink) {
	if i := slices.Index(s.links, l); i >= 0 {
		s.links = slices.Delete(s.links, i, i+1)
		l.conn.Close()
	}
}

// loseAll ends all connections, of one node or of all.
func (s *redisServer) loseAll(m *machine, told bool) {
	for _, l := range slices.Clone(s.links) {
		if m == nil || l.m == m {
			l.lose(told)
		}
	}
}

// sessionsOf returns the sessions that Redis has in a room.
func (s *redisServer) sessionsOf(room string) (list []int64) {
	c := s.server.Connect()
	c.Do("SMEMBERS", names.Room(room))
	for _, text := range c.Out[0].Strings() {
		n, _ := strconv.ParseInt(text, 10, 64)
		list = append(list, n)
	}
	c.Close()
	return list
}

// roomsKept returns the rooms that Redis has.
func (s *redisServer) roomsKept() (list []string) {
	for _, key := range s.server.Keys() {
		if room, is := names.RoomOf(key); is {
			list = append(list, room)
		}
	}
	return list
}
