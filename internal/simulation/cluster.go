package simulation

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/rooms/cluster/core"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Delays of the network between nodes and servers.
const (
	netLeast   = 100 * time.Microsecond
	netMost    = 2 * time.Millisecond
	dialMost   = 5 * time.Millisecond
	redialMin  = 50 * time.Millisecond
	redialMax  = time.Second
	noticeMost = 300 * time.Millisecond // until an end that was not told is noticed on writing
	flushesMax = 2                      // batches of messages under way
	vainMost   = 150                    // batches a second that a node may send in vain
)

var errLost = errors.New("the connection was lost")

// A redisServer is Redis, the connections to it, and what ails it. Owned by its
// run.
type redisServer struct {
	r      *run
	server *redismodel.Server
	links  []*redisLink
	down   bool          // takes no connections
	hangs  time.Duration // executes nothing until then

	lostData int // times that what it kept may be gone
}

// A redisLink is a connection of a node to Redis.
type redisLink struct {
	s        *redisServer
	m        *machine
	line     *line
	up, back channel
	conn     *redismodel.Conn
	expected []*redisBatch // whose replies are to come, the oldest first
	push     func(redismodel.Reply)
	ended    func() // the node notices that the connection is gone
}

// A redisBatch is commands of which the replies are given back together.
type redisBatch struct {
	want    int
	replies []redismodel.Reply
	done    func(replies []redismodel.Reply, err error)
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
	b := &redisBatch{want: want, done: done}
	l.expected = append(l.expected, b)
	if !l.line.open || l.line.silent {
		return // answered when the end is noticed
	}
	apart := l.s.r.rng.IntN(8) == 0
	if !apart {
		l.up.send(func() { l.execute(commands...) })
		return
	}
	for _, c := range commands { // others' come between
		l.up.send(func() { l.execute(c) })
	}
}

// execute is the server's side.
func (l *redisLink) execute(commands ...[]string) {
	if now := l.s.r.now; l.s.hangs > now {
		l.s.r.at(l.s.hangs, func() {
			if l.line.open && !l.line.silent {
				l.execute(commands...)
			}
		})
		return
	}
	if l.conn.Closed {
		return
	}
	l.s.advance()
	for _, args := range commands {
		l.conn.Do(args...)
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
		out := l.conn.Out
		l.conn.Out = nil
		l.back.send(func() { l.m.execute(func() { l.take(out) }) })
	}
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
		if b.replies = append(b.replies, r); len(b.replies) == b.want {
			l.expected = l.expected[1:]
			b.done(b.replies, nil)
		}
	}
}

// lose ends the connection. The server knows at once, the node in a while:
// with told as soon as the news travel, otherwise when its patience is over.
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

// A clusterDriver does for a core.Node what package cluster does with a real
// Redis. Owned by its machine.
type clusterDriver struct {
	m      *machine
	number uint32

	connected bool // the node was told so
	directory *redisLink
	renewals  *redisLink
	messages  *redisLink
	cache     map[string]*cached // rooms read with tracking
	flushes   int                // batches of messages under way
	waking    bool
	flushing  bool
	next      time.Duration // when the node is called again, if nothing happens before
	pause     time.Duration // before the next attempt to connect
	list      []core.Delivery
	second    time.Duration // in which vain were sent
	vain      int           // batches, without a connection
}

// cached is a room's sessions as they were read, as rueidis keeps them.
type cached struct {
	list []string
	have bool
}

func (d *clusterDriver) begin() {
	d.pause = redialMin
	d.m.after(0, d.connect)
	d.tick()
}

// tick has the node called now and then.
func (d *clusterDriver) tick() {
	d.m.after(tickTime, func() { d.step(); d.tick() })
}

// end is the death of the node.
func (d *clusterDriver) end() {
	for _, l := range []*redisLink{d.directory, d.renewals, d.messages} {
		if l != nil {
			l.line.open = false
			d.m.r.redis.forget(l)
		}
	}
}

// connect makes both connections.
func (d *clusterDriver) connect() {
	m := d.m
	if !m.r.redis.reachable(m) {
		m.node.Disconnected(errLost, m.now())
		d.wake()
		m.after(d.pause, d.connect)
		d.pause = min(2*d.pause, redialMax)
		return
	}
	m.after(m.r.between(netLeast, dialMost), func() {
		d.pause = redialMin
		d.openDirectory()
		d.connected = true
		m.node.Connected(false, m.now())
		d.wake()
		d.subscribe()
	})
}

// openDirectory makes the connection for all but what is received.
func (d *clusterDriver) openDirectory() {
	if !d.m.r.redis.reachable(d.m) {
		return
	}
	l := d.m.r.redis.dial(d.m)
	d.directory, d.cache = l, make(map[string]*cached)
	l.push = d.invalidated
	l.ended = func() {
		if d.directory != l {
			return
		}
		d.directory, d.cache = nil, nil
		d.m.node.Lost("the connection was lost", d.m.now())
		d.wake()
	}
	l.send([][]string{{"CLIENT", "TRACKING", "ON", "OPTIN"}}, 1, func([]redismodel.Reply, error) {})
}

// subscribe makes the connection on which this node receives.
func (d *clusterDriver) subscribe() {
	m := d.m
	again := func() {
		life := d
		m.after(redialMin, func() {
			if life == m.cluster && d.connected && d.messages == nil {
				d.subscribe()
			}
		})
	}
	if !m.r.redis.reachable(m) {
		m.node.Trouble(errLost)
		again()
		return
	}
	l := m.r.redis.dial(m)
	d.messages = l
	l.push = func(r redismodel.Reply) { d.received(l, r) }
	l.ended = func() {
		if d.messages != l {
			return
		}
		d.messages = nil
		m.node.Subscribed(false, m.now())
		m.node.Trouble(errLost)
		d.wake()
		again()
	}
	l.up.send(func() { l.execute([]string{"SUBSCRIBE", names.Channel(d.number)}) })
}

// received takes what comes on the subscriber's connection.
func (d *clusterDriver) received(l *redisLink, r redismodel.Reply) {
	m := d.m
	switch r.Elems[0].Text {
	case "subscribe":
		if d.messages == l {
			m.node.Subscribed(true, m.now())
		}
	case "message":
		d.list = m.node.Message([]byte(r.Elems[2].Text), d.list[:0], m.now())
		for _, x := range d.list {
			m.receive(x)
		}
	}
	d.wake()
}

// invalidated takes an invalidation.
func (d *clusterDriver) invalidated(r redismodel.Reply) {
	if r.Elems[0].Text != "invalidate" {
		return
	}
	if r.Elems[1].Kind == redismodel.Null {
		clear(d.cache)
		d.m.node.Lost("the database was flushed", d.m.now())
	}
	for _, key := range r.Elems[1].Elems {
		delete(d.cache, key.Text)
		d.m.node.Changed(key.Text)
	}
	d.wake()
}

// wake has the node called soon.
func (d *clusterDriver) wake() {
	if d.waking {
		return
	}
	d.waking = true
	d.m.after(d.m.r.between(0, turnDelay), func() {
		d.waking = false
		d.step()
	})
}

// step does what is due.
func (d *clusterDriver) step() {
	m := d.m
	m.node.Tell(int64(len(m.sessions)))
	m.node.Tick(m.now())
	for {
		b, ok := m.node.Take(m.now())
		if !ok {
			break
		}
		d.execute(b)
	}
	for _, o := range m.node.Obey() {
		_ = m.hub.Obey(o)
	}
	for _, line := range m.node.Lines() {
		if m.r.tracing() {
			m.r.trace(m.name, "log: %s %v", line.Text, line.Error)
		}
	}
	if m.node.Redial() {
		d.redial()
	}
	if m.node.HasMessages() {
		d.flush()
	}
	if at := m.node.Next(); !at.IsZero() {
		when := at.Sub(epoch) - m.skew
		if when < d.next || d.next <= m.r.now {
			d.next = max(when, m.r.now+time.Millisecond)
			m.r.at(d.next, m.alive(d.step))
		}
	}
}

// redial makes the connections anew.
func (d *clusterDriver) redial() {
	m := d.m
	if !d.connected {
		return
	}
	d.connected = false
	links := []*redisLink{d.directory, d.renewals, d.messages}
	d.directory, d.renewals, d.messages = nil, nil, nil
	m.node.Disconnected(nil, m.now())
	for _, l := range links {
		if l != nil {
			l.end()
		}
	}
	m.node.Subscribed(false, m.now())
	d.connect()
}

// flush sends messages, a few batches at a time.
func (d *clusterDriver) flush() {
	if d.flushing || d.flushes >= flushesMax {
		return
	}
	d.flushing = true
	d.m.after(d.m.r.between(0, turnDelay), func() {
		d.flushing = false
		for d.flushes < flushesMax {
			b, ok := d.m.node.TakeMessages()
			if !ok {
				break
			}
			d.flushes++
			d.execute(b)
		}
		if d.m.node.HasWork() {
			d.wake()
		}
	})
}

// execute sends a batch and gives the node the answer.
func (d *clusterDriver) execute(b wire.Batch) {
	m := d.m
	if m.r.tracing() {
		m.r.trace(m.name, "redis %d: %v", b.ID, b.Commands)
	}
	answer := func(replies []wire.Reply) {
		if m.r.tracing() {
			m.r.trace(m.name, "redis %d answers: %+v", b.ID, replies)
		}
		if b.Kind == wire.Publish {
			d.flushes--
		}
		m.node.Reply(b.ID, replies, m.now())
		d.wake()
		d.flush()
	}
	link := d.link(b.Kind)
	switch {
	case link == nil: // cannot be reached: an attempt takes a moment
		d.inVain()
		m.after(m.r.between(netLeast, dialMost), func() { answer(failed(b, errLost)) })
	case b.Kind == wire.Tracked:
		d.read(b, answer)
	case b.Kind == wire.Scan && b.Shard > 0: // there is one server
		m.after(0, func() { answer([]wire.Reply{{Nil: true}}) })
	default:
		link.plain(b, answer)
	}
}

// link returns the connection for a batch, which is made when there is none;
// nil: Redis cannot be reached.
func (d *clusterDriver) link(k wire.Kind) *redisLink {
	switch {
	case k != wire.Renewal:
		if d.directory == nil {
			d.openDirectory()
		}
		return d.directory
	case d.renewals == nil && d.m.r.redis.reachable(d.m):
		l := d.m.r.redis.dial(d.m)
		d.renewals = l
		l.ended = func() {
			if d.renewals == l {
				d.renewals = nil
			}
		}
	}
	return d.renewals
}

// inVain checks that a node waits between its attempts to reach Redis.
func (d *clusterDriver) inVain() {
	r := d.m.r
	if second := r.now.Truncate(time.Second); second != d.second {
		d.second, d.vain = second, 0
	}
	if d.vain++; d.vain > vainMost {
		r.fail("a node does not wait before it tries again", "%v has sent %d batches in a second without a connection to Redis", d.m, d.vain)
	}
}

func failed(b wire.Batch, err error) []wire.Reply {
	list := make([]wire.Reply, len(b.Commands))
	for i := range list {
		list[i].Err = err
	}
	return list
}

func words(c wire.Command) []string {
	return append(append([]string{c.Name}, c.Keys...), c.Args...)
}

func (l *redisLink) plain(b wire.Batch, answer func([]wire.Reply)) {
	commands := make([][]string, len(b.Commands))
	for i, c := range b.Commands {
		commands[i] = words(c)
	}
	l.send(commands, len(commands), func(replies []redismodel.Reply, err error) {
		if err != nil {
			answer(failed(b, err))
			return
		}
		list := make([]wire.Reply, len(replies))
		for i, r := range replies {
			list[i] = replyOf(b.Commands[i].Name, r)
		}
		answer(list)
	})
}

// read reads sets the way rueidis does with client-side caching: what is in
// its memory is not asked for, the others with CLIENT CACHING YES.
func (d *clusterDriver) read(b wire.Batch, answer func([]wire.Reply)) {
	const each = 5 // commands for one key
	list := make([]wire.Reply, len(b.Commands))
	var commands [][]string
	var missing []int
	cache := d.cache
	entries := make([]*cached, len(b.Commands))
	for i, c := range b.Commands {
		key := c.Keys[0]
		if e := cache[key]; e != nil && e.have {
			list[i].List = e.list
			continue
		}
		entries[i] = &cached{}
		cache[key] = entries[i]
		missing = append(missing, i)
		commands = append(commands, []string{"CLIENT", "CACHING", "YES"}, []string{"MULTI"},
			[]string{"PTTL", key}, []string{"SMEMBERS", key}, []string{"EXEC"})
	}
	if len(missing) == 0 {
		d.m.after(0, func() { answer(list) })
		return
	}
	d.directory.send(commands, len(commands), func(replies []redismodel.Reply, err error) {
		for n, i := range missing {
			if err != nil {
				list[i].Err = err
				continue
			}
			r := replies[n*each+4]
			if r.Kind != redismodel.Array {
				list[i].Err = r.Err()
				if cache[b.Commands[i].Keys[0]] == entries[i] {
					delete(cache, b.Commands[i].Keys[0])
				}
				continue
			}
			list[i] = replyOf("SMEMBERS", r.Elems[1])
			if e := entries[i]; cache[b.Commands[i].Keys[0]] == e && list[i].Err == nil {
				e.list, e.have = list[i].List, true
			}
		}
		answer(list)
	})
}

// replyOf is what the driver makes of a reply.
func replyOf(command string, r redismodel.Reply) wire.Reply {
	switch r.Kind {
	case redismodel.Fault:
		return wire.Reply{Err: r.Err()}
	case redismodel.Null:
		return wire.Reply{Nil: true}
	case redismodel.Int:
		return wire.Reply{Int: r.Int}
	case redismodel.Simple, redismodel.Bulk, redismodel.Double:
		return wire.Reply{Text: r.Text}
	}
	if command == "SCAN" || command == "ZSCAN" {
		return wire.Reply{List: r.Elems[1].Strings(), Next: r.Elems[0].Text}
	}
	var list []string
	for _, e := range r.Elems { // scores stand behind their members
		if e.Kind == redismodel.Array {
			list = append(list, e.Strings()...)
		} else {
			list = append(list, e.Text)
		}
	}
	return wire.Reply{List: list}
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
