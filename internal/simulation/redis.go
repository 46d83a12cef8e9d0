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
	noticeMost = 300 * time.Millisecond // until a lost connection is noticed on writing
)

var errLost = errors.New("the connection was lost")

// A redisServer is the model of Redis with its connections and faults. It belongs
// to its run.
type redisServer struct {
	r      *run
	server *redismodel.Server
	links  []*redisLink
	down   bool          // it accepts no connections
	hangs  time.Duration // until then it executes nothing
	polls  bool          // the next endBlockedReads is scheduled

	spares     [][]redismodel.Reply // unused lists
	answers    []wire.Reply         // scratch space of plain
	deliveries []*delivery          // unused ones
	batches    []*redisBatch        // unused ones
	texts      chunks[string]       // for commands
	lists      chunks[[]string]

	faulty   []span        // times with faults of Redis or of the network to it
	lostData int           // how often it may have lost data
	lostAt   time.Duration // the last time of losses
	losses   []time.Duration
}

// A span is a range of simulated time. With to 0 it has no end yet.
type span struct{ from, to time.Duration }

// faultyDuring reports whether Redis may have failed to execute a command.
func (s *redisServer) faultyDuring(from, to time.Duration) bool { return anyDuring(s.faulty, from, to) }

func anyDuring(list []span, from, to time.Duration) bool {
	return slices.ContainsFunc(list, func(x span) bool { return x.from < to && from < x.to })
}

// loses records that Redis may have lost data.
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
	expected []*redisBatch // batches without all their replies, the oldest first
	push     func(redismodel.Reply)
	ended    func() // called when the node notices the end
}

// A redisBatch is a list of commands whose replies are returned together. It is
// reused afterwards.
type redisBatch struct {
	commands [][]string
	arrives  func() // executes the commands on the server
	link     *redisLink
	want     int // number of replies
	replies  []redismodel.Reply
	done     func(replies []redismodel.Reply, err error)
}

// A delivery is a list of replies on the way to a node. It is reused when it has
// arrived.
type delivery struct {
	link    *redisLink
	replies []redismodel.Reply
	arrives func()
}

// reachable reports whether a node can connect to Redis.
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

// send sends a batch. done is called once, with the replies or an error.
func (l *redisLink) send(commands [][]string, want int, done func([]redismodel.Reply, error)) {
	b := l.s.batch()
	b.link, b.commands, b.want, b.done = l, commands, want, done
	l.expected = append(l.expected, b)
	if !l.line.open || l.line.silent {
		return // done is called when the node notices the end
	}
	apart := l.s.r.rng.IntN(8) == 0
	if !apart {
		l.up.send(b.arrives)
		return
	}
	for _, c := range commands { // commands of others may come in between
		l.up.send(func() { l.execute(c) })
	}
}

// execute executes commands on the server, or keeps them while it hangs.
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

// advance passes the time to the model.
func (s *redisServer) advance() {
	s.server.Advance(time.Duration(epoch.UnixNano()) + s.r.now)
}

// flush sends each connection what the server has written to it.
func (s *redisServer) flush() {
	for _, l := range s.links {
		if len(l.conn.Out) == 0 {
			continue
		}
		p := s.delivery()
		p.link, p.replies = l, l.conn.Out
		l.conn.Out = s.spare()
		l.back.send(p.arrives)
	}
}

// delivery returns an unused delivery.
func (s *redisServer) delivery() *delivery {
	if n := len(s.deliveries); n > 0 {
		p := s.deliveries[n-1]
		s.deliveries = s.deliveries[:n-1]
		return p
	}
	p := &delivery{}
	p.arrives = func() {
		l, replies := p.link, p.replies
		p.link, p.replies = nil, nil
		s.deliveries = append(s.deliveries, p)
		if l.m.paused > l.m.r.now {
			l.m.execute(func() { l.take(replies) })
		} else {
			l.take(replies)
		}
	}
	return p
}

// batch returns an unused batch.
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

// take handles replies and pushes that arrive at the node.
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

// giveBack makes a list available to spare.
func (s *redisServer) giveBack(list []redismodel.Reply) {
	clear(list)
	s.spares = append(s.spares, list[:0])
}

// spare returns an unused list, or nil.
func (s *redisServer) spare() (list []redismodel.Reply) {
	if n := len(s.spares); n > 0 {
		list, s.spares = s.spares[n-1], s.spares[:n-1]
	}
	return list
}

// lose ends the connection. The server notices at once. The node notices after a
// short delay if told is true, and otherwise after a timeout.
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

// end closes the connection on the node's side.
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

// loseAll ends all connections of one node, or of all nodes if m is nil.
func (s *redisServer) loseAll(m *machine, told bool) {
	for _, l := range slices.Clone(s.links) {
		if m == nil || l.m == m {
			l.lose(told)
		}
	}
}

// sessionsOf returns the sessions that Redis has for a room.
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

// roomsKept returns the names of the rooms that Redis has.
func (s *redisServer) roomsKept() (list []string) {
	for _, key := range s.server.Keys() {
		if room, is := names.RoomOf(key); is {
			list = append(list, room)
		}
	}
	return list
}
