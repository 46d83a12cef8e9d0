package simulation

import (
	"time"

	"github.com/hometrip/gateway/internal/backoff"
	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/rooms/cluster/core"
	"github.com/hometrip/gateway/rooms/cluster/cut"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	redialMin         = 50 * time.Millisecond
	redialMax         = time.Second
	flushesMax        = 2   // batches of messages that may be under way
	maxFailedAttempts = 300 // batches that a node may send in a second without a connection
)

// A clusterDriver drives a core.Node with the model of Redis, as package cluster
// does with a real Redis. It belongs to its machine.
type clusterDriver struct {
	waker
	m      *machine
	number uint32

	connected      bool // the node was told that it is connected
	directory      *redisLink
	renewals       *redisLink
	messages       *redisLink
	cache          map[string]*cached // client-side cache of rooms
	flushes        int                // batches of messages under way
	flushing       bool
	flushSoon      func()          // flushNow
	next           time.Duration   // time of the next scheduled act
	retries        backoff.Backoff // of connect
	list           []core.Delivery
	cut            cut.Cut
	second         time.Duration // the second in which failedAttempts was counted
	failedAttempts int           // batches sent without a connection in that second
}

// cached is an entry of the client-side cache, as rueidis keeps them.
type cached struct {
	list []string
	have bool
}

func (d *clusterDriver) begin() {
	d.retries = backoff.Backoff{Min: redialMin, Max: redialMax}
	d.m.after(0, d.connect)
	d.tick()
}

// tick calls act at regular times.
func (d *clusterDriver) tick() {
	d.m.after(tickTime, func() { d.act(); d.tick() })
}

// end closes the connections when the node dies.
func (d *clusterDriver) end() {
	for _, l := range []*redisLink{d.directory, d.renewals, d.messages} {
		if l != nil {
			l.line.open = false
			d.m.r.redis.forget(l)
		}
	}
}

// connect opens the connections, and tries again until Redis is reachable.
func (d *clusterDriver) connect() {
	m := d.m
	if !m.r.redis.reachable(m) {
		m.node.Disconnected(errLost, m.now())
		d.wake()
		m.after(d.retries.Next(), d.connect)
		return
	}
	m.after(m.r.between(netLeast, dialMost), func() {
		d.retries.Reset()
		d.openDirectory()
		d.connected = true
		m.node.Connected(false, m.now())
		d.wake()
		d.subscribe()
	})
}

// openDirectory opens the connection for commands.
func (d *clusterDriver) openDirectory() {
	if !d.m.r.redis.reachable(d.m) {
		return
	}
	l := d.m.r.redis.dial(d.m)
	d.directory, d.cache = l, make(map[string]*cached)
	l.push = d.invalidated
	l.ended = func() {
		d.m.presence.lost()
		if d.directory != l {
			return
		}
		d.directory, d.cache = nil, nil
		d.m.node.Lost("the connection was lost", d.m.now())
		d.wake()
	}
	l.send([][]string{{"CLIENT", "TRACKING", "ON", "OPTIN"}}, 1, func([]redismodel.Reply, error) {})
}

// subscribe opens the connection on which this node receives messages.
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
	if !m.r.redis.reachable(m) || m.deaf > m.r.now {
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
		d.unreachable()
		d.wake()
		again()
	}
	l.up.send(func() { l.execute([]string{"SUBSCRIBE", names.Channel(d.number)}) })
	if m.recovery != nil {
		l.up.send(func() { l.execute([]string{"SUBSCRIBE", m.recovery.channel()}) })
	}
}

// received handles a push on the subscriber's connection.
func (d *clusterDriver) received(l *redisLink, r redismodel.Reply) {
	m := d.m
	if m.recovery != nil && r.Elems[1].Text == m.recovery.channel() {
		m.recovery.received(r)
		return
	}
	switch r.Elems[0].Text {
	case "subscribe":
		if d.messages == l {
			m.node.Subscribed(true, m.now())
		}
	case "message":
		d.cut.Receive([]byte(r.Elems[2].Text), m.now())
	}
	d.wake()
}

// message handles a message that another node has published to this one.
func (d *clusterDriver) message(body []byte) {
	d.list = d.m.node.Message(body, d.list[:0], d.m.now())
	for _, x := range d.list {
		d.m.receive(x)
	}
}

// unreachable tells the hub that other nodes cannot ask this one for sessions.
func (d *clusterDriver) unreachable() {
	if d.m.recovery != nil {
		d.m.hub.Reachable(false, d.m.now())
	}
}

// invalidated handles an invalidation of the client-side cache.
func (d *clusterDriver) invalidated(r redismodel.Reply) {
	if r.Elems[0].Text != "invalidate" {
		return
	}
	if r.Elems[1].Kind == redismodel.Null {
		clear(d.cache)
		d.m.presence.lost()
		d.m.node.Lost("the database was flushed", d.m.now())
	}
	for _, key := range r.Elems[1].Elems {
		delete(d.cache, key.Text)
		d.m.node.Changed(key.Text)
	}
	d.wake()
}

// act lets the node do its due work, and executes the commands that it wants.
func (d *clusterDriver) act() {
	m := d.m
	if d.cut.Missed(m.now()) {
		m.node.Missed(m.now())
	}
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
		when := max(m.when(at), m.r.now+time.Millisecond)
		if when < d.next || d.next <= m.r.now {
			d.next = when
			m.at(d.next, d.waker.act)
		}
	}
}

// redial closes all connections and opens new ones.
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
	d.unreachable()
	d.connect()
}

// flush schedules flushNow, unless enough batches are under way.
func (d *clusterDriver) flush() {
	if d.flushing || d.flushes >= flushesMax {
		return
	}
	d.flushing = true
	if d.flushSoon == nil {
		d.flushSoon = d.flushNow
	}
	d.m.after(d.m.r.between(0, turnDelay), d.flushSoon)
}

func (d *clusterDriver) flushNow() {
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
}

// execute sends a batch of commands, and passes the replies to the node.
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
	case link == nil: // Redis is unreachable: the attempt fails after a moment
		d.attemptFailed()
		m.after(m.r.between(netLeast, dialMost), func() { answer(failed(b, errLost)) })
	case b.Kind == wire.Tracked:
		d.read(b, answer)
	case b.Kind == wire.Scan && b.Shard > 0: // there is one server
		m.after(0, func() { answer([]wire.Reply{{Nil: true}}) })
	default:
		link.plain(b, answer)
	}
}

// link returns the connection for a kind of batch, and opens it if there is none.
// It returns nil if Redis is unreachable.
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

// attemptFailed counts a batch that was sent without a connection. A node must not send
// too many in a second: it has to wait between its attempts.
func (d *clusterDriver) attemptFailed() {
	r := d.m.r
	if second := r.now.Truncate(time.Second); second != d.second {
		d.second, d.failedAttempts = second, 0
	}
	if d.failedAttempts++; d.failedAttempts > maxFailedAttempts {
		r.fail("a node does not wait before it tries again", "%v has sent %d batches in a second without a connection to Redis", d.m, d.failedAttempts)
	}
}

// A waker schedules a driver's act for soon. However often wake is called before
// that, act runs once.
type waker struct {
	of     *machine
	act    func()
	waking bool
	due    func() // calls act; made once to save allocations
}

func (w *waker) wake() {
	if w.waking {
		return
	}
	w.waking = true
	if w.due == nil {
		w.due = func() {
			w.waking = false
			w.act()
		}
	}
	w.of.after(w.of.r.between(0, turnDelay), w.due)
}
