package simulation

import (
	"time"

	"github.com/hometrip/gateway/rooms"
)

const (
	expireTime = 250 * time.Millisecond // between two calls of Shard.Expire
	drainPoll  = 20 * time.Millisecond  // between two looks at what a node that ends still has
	drainMost  = 4 * time.Second        // that it waits for
	moreFaults = 6
)

// A recovery is how clients of a run come back to what they missed. Owned by
// the run.
type recovery struct {
	window, grace time.Duration
	events        int           // that one return brings
	tail          int           // bytes of the log in a node's memory; 0: nobody comes back
	every         time.Duration // between two cuts of a client, on average

	trouble   time.Duration // when the last fault ends
	deleted   time.Duration // when the stream was deleted last
	truncated time.Duration // when entries of it were removed last
	returns   int
}

// Sizes of a tail: small ones have the log read again.
const (
	smallTail = 3000
	largeTail = 1 << 20
)

func drawRecovery(c Config) (v recovery) {
	if c.Recovery == 0 {
		return v
	}
	draw := stream(c.Seed, 6)
	v.window = time.Duration(pick(draw, 5, 20, 60)) * time.Second
	v.grace = time.Duration(pick(draw, 0, 1, 5)) * time.Second
	v.events = pick(draw, 5, 1000, 1000)
	v.tail = pick(draw, smallTail, largeTail, largeTail)
	v.every = time.Duration(pick(draw, 1, 2, 10)) * time.Second
	return v
}

// recoveryConfig makes the node's part in recovery.
func (m *machine) recoveryConfig() rooms.Recovery {
	v := &m.r.recovery
	if v.tail == 0 {
		m.recovery = nil
		return rooms.Recovery{}
	}
	m.recovery = newSessionsDriver(m)
	return rooms.Recovery{
		Mode: rooms.RecoveryAsked, Window: v.window, Grace: v.grace, MaxEvents: v.events, MaxBytes: m.r.limits.pending,
		History: m.reader.history, Remote: m.recovery, Report: m.returned,
	}
}

// expire has the shards do what is due, a few times a second.
func (m *machine) expire() {
	if m.recovery == nil {
		return
	}
	m.after(expireTime, func() {
		for i := range m.hub.Shards() {
			if m.frozen {
				break
			}
			m.hub.Shard(i).Expire(m.now())
		}
		m.expire()
	})
}

// drain ends a node as cmd/gateway does: it waits for clients that are expected
// back, saves their sessions, and leaves the directory.
func (m *machine) drain(until time.Duration) {
	r := m.r
	switch {
	case r.now > until+drainMost || m.node.Left():
		m.die()
		return
	case m.hub.Stats().Absent > 0:
		if r.now >= until {
			m.hub.DismissAbsent()
		}
	case m.recovery.idle() && m.node.Stats().Queued == 0 && m.presence.leave():
		m.node.Leave()
		m.cluster.wake()
	}
	m.after(drainPoll, func() { m.drain(until) })
}

// returned is told by the node what became of a client that has come back.
func (m *machine) returned(x rooms.Return) {
	r := m.r
	r.count("return: " + x.Result.String())
	r.recovery.returns++
	m.sprung(&m.snare)
	r.note('R', uint64(x.Result), uint64(x.Events), 0)
	c := r.clients[userNumber(x.User)]
	if r.tracing() {
		r.trace(m.name, "return of %s: %v, %d events behind %q", c.name, x.Result, x.Events, x.Offset)
	}
	if x.Result != rooms.RecoveryDone && x.Socket != "" {
		c.spent = c.pid
	}
	if x.Result == rooms.RecoveryDone {
		r.judge.obeyed(m, c)
		c.issued = epoch.Add(r.now) // at the latest
	}
	if l := c.link; l != nil && l.m == m && !l.connected {
		l.verdict = x.Result
		l.verdicts |= 1 << x.Result
		own := r.config.Rooms + c.index
		l.bases[own] = len(r.judge.rooms[own]) // a new session begins now
	}
}

// moreKinds are faults that hit clients which come back.
var moreKinds = []kind{
	{"a node dies right behind a join or leave", func(r *run, f *fault) { r.nodes[f.node].trap = 1 + int(f.draw%4) }},
	{"a node dies right behind a return", func(r *run, f *fault) { r.nodes[f.node].snare = 1 + int(f.draw%4) }},
	{"a node dies", func(r *run, f *fault) { r.killNode(f) }},
	{"a node is shut down", func(r *run, f *fault) { r.shutDown(f) }},
	{"a node hears nothing from Redis", func(r *run, f *fault) {
		m := r.nodes[f.node]
		m.deaf = r.now + f.last
		if l := m.cluster.messages; l != nil {
			l.lose(f.yes)
		}
	}},
	{"retention removes all but the newest segment, and a node dies", func(r *run, f *fault) {
		r.log.truncate()
		r.after(time.Duration(f.draw%uint64(time.Second)), func() { r.killNode(f) })
	}},
	{"many clients go away at once", func(r *run, f *fault) {
		for i, c := range r.clients {
			if (uint64(i)+f.draw)%3 == 0 {
				c.leave(f.yes)
			}
		}
	}},
	{"many clients go away and a node dies", func(r *run, f *fault) {
		for i, c := range r.clients {
			if (uint64(i)+f.draw)%3 == 0 {
				c.leave(f.yes)
			}
		}
		r.after(time.Duration(f.draw%uint64(4*time.Second)), func() { r.killNode(f) })
	}},
}

// sprung kills a node that was to die at a number of things.
func (m *machine) sprung(count *int) {
	if *count == 0 {
		return
	}
	if *count--; *count == 0 {
		f := &fault{node: m.index, last: m.r.between(0, 4*time.Second)}
		m.r.after(m.r.between(0, 3*time.Millisecond), func() { m.r.killNode(f) })
	}
}
