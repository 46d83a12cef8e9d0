package simulation

import (
	"time"

	"github.com/hometrip/gateway/rooms"
)

const (
	expireTime = 250 * time.Millisecond // between two calls of Shard.Expire
	drainPoll  = 20 * time.Millisecond  // between two checks of a node that shuts down
	drainMost  = 4 * time.Second        // how long it takes at most after the grace
	moreFaults = 6
)

// A recovery has the settings of recovery in a run, and what the rules need of its
// faults. It belongs to the run.
type recovery struct {
	window, grace time.Duration
	events        int           // largest number of events that are replayed
	tail          int           // bytes of the log in a node's memory; 0: the run has no recovery
	every         time.Duration // average time between two cuts of a client's connection

	trouble   time.Duration // end of the last fault
	deleted   time.Duration // when the log was last deleted or lost entries
	truncated time.Duration // when entries were last removed by age or size
	returns   int
}

// Sizes of a tail. With a small one, nodes often read the log again.
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

// recoveryConfig returns the node's configuration of recovery.
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

// expire calls Shard.Expire at regular times.
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

// drain shuts a node down as cmd/gateway does: it waits for clients that may
// return, saves their sessions, and leaves the directory.
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

// returned implements rooms.Recovery.Report: the result of a client's return.
func (m *machine) returned(x rooms.Return) {
	r := m.r
	r.count("return: " + x.Result.String())
	r.recovery.returns++
	m.countDown(&m.dieAtReturn)
	r.note('R', uint64(x.Result), uint64(x.Events), 0)
	c := r.clients[userNumber(x.User)]
	if r.tracing() {
		r.trace(m.name, "return of %s: %v, %d events behind %q", c.name, x.Result, x.Events, x.Offset)
	}
	if x.Result != rooms.RecoveryDone && x.Socket != "" {
		c.failedPID = c.pid
	}
	if x.Result == rooms.RecoveryDone {
		r.judge.obeyed(m, c)
		c.issued = epoch.Add(r.now) // an upper bound
	}
	if l := c.link; l != nil && l.m == m && !l.connected {
		l.verdict = x.Result
		l.verdicts |= 1 << x.Result
		own := r.config.Rooms + c.index
		l.bases[own] = len(r.judge.rooms[own]) // a new session begins now
	}
}

// moreKinds is the second list of faults: those that hit clients which return.
var moreKinds = []kind{
	{"a node dies right behind a join or leave", func(r *run, f *fault) { r.nodes[f.node].dieAtJoin = 1 + int(f.draw%4) }},
	{"a node dies right behind a return", func(r *run, f *fault) { r.nodes[f.node].dieAtReturn = 1 + int(f.draw%4) }},
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

// countDown counts down to the death of a node, see machine.dieAtJoin and dieAtReturn.
func (m *machine) countDown(count *int) {
	if *count == 0 {
		return
	}
	if *count--; *count == 0 {
		f := &fault{node: m.index, last: m.r.between(0, 4*time.Second)}
		m.r.after(m.r.between(0, 3*time.Millisecond), func() { m.r.killNode(f) })
	}
}
