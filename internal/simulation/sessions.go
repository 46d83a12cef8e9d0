package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/cut"
	"github.com/hometrip/gateway/rooms/cluster/sessions"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const retrySessions = 100 * time.Millisecond // pause after a failed write of records

// A sessionsDriver drives a sessions.Core with the model of Redis, and implements
// rooms.Sessions, as cluster.Sessions does. It belongs to its machine.
type sessionsDriver struct {
	waker
	m         *machine
	core      *sessions.Core
	node      string
	callbacks map[uint64]func(sessions.Result) // by the number of a request to core
	batch     uint64                           // number of the last batch
	next      time.Duration                    // time of the next scheduled act

	saves []save // not passed to core yet
	cut   cut.Cut

	subscribed bool // to the channel for requests of other nodes
}

// A save is a record to be written or, without a record, to be removed. With
// check it is a call of Elsewhere.
type save struct {
	number int // of the pid, see pids
	pid    string
	record []byte
	keep   time.Duration
	done   func(bool)
	moves  uint32
	check  func(moves uint32, elsewhere bool) // of Elsewhere; else nil
}

func newSessionsDriver(m *machine) *sessionsDriver {
	node := m.String()
	d := &sessionsDriver{
		m: m, node: node, core: sessions.New(names, node),
		callbacks: make(map[uint64]func(sessions.Result)),
	}
	d.waker = waker{of: m, act: d.act}
	d.cut.Take = d.message
	return d
}

// Node implements rooms.Sessions.
func (d *sessionsDriver) Node() string { return d.node }

// Save implements rooms.Sessions.
func (d *sessionsDriver) Save(pid string, record []byte, keep time.Duration, done func(bool)) {
	d.save(save{pid: pid, record: record, keep: keep, done: done})
}

// Forget implements rooms.Sessions.
func (d *sessionsDriver) Forget(pid string, moves uint32) { d.save(save{pid: pid, moves: moves}) }

func (d *sessionsDriver) save(s save) {
	s.number = d.m.r.pids.number(s.pid)
	d.saves = append(d.saves, s)
	d.wake()
}

// tell passes the saves to core, sorted by the number of the pid. The rooms iterate
// over maps, so without sorting the order would differ from run to run.
func (d *sessionsDriver) tell() {
	slices.SortStableFunc(d.saves, func(a, b save) int { return a.number - b.number })
	for _, s := range d.saves {
		switch {
		case s.check != nil:
			d.callbacks[d.core.Elsewhere(s.pid, d.m.now())] = func(r sessions.Result) { s.check(r.Moves, r.Elsewhere) }
		case s.record == nil:
			d.core.Forget(s.pid, s.moves)
		case s.done == nil:
			d.core.Save(s.pid, s.record, s.keep)
		default:
			d.callbacks[d.core.SaveAndTell(s.pid, s.record, s.keep, d.m.now())] = func(r sessions.Result) { s.done(r.Saved) }
		}
	}
	d.saves = d.saves[:0]
}

// idle reports whether everything has been written.
func (d *sessionsDriver) idle() bool { return len(d.saves) == 0 && d.core.Idle() }

// Take implements rooms.Sessions.
func (d *sessionsDriver) Take(pid, user string, done func(*rooms.Record, rooms.RecoveryResult)) {
	d.callbacks[d.core.Take(pid, user, d.m.now())] = func(r sessions.Result) { done(r.Record, r.Why) }
	d.wake()
}

// Elsewhere implements rooms.Sessions.
func (d *sessionsDriver) Elsewhere(pid string, done func(moves uint32, elsewhere bool)) {
	d.save(save{pid: pid, check: done})
}

// Dissolve implements rooms.Sessions.
func (d *sessionsDriver) Dissolve(pid, node string) {
	d.core.Dissolve(pid, node)
	d.wake()
}

// act sends all batches that are due, and passes results to the rooms.
func (d *sessionsDriver) act() {
	m := d.m
	d.tell()
	d.core.Tick(m.now())
	for {
		b, ok := d.core.Commands(d.batch + 1)
		if !ok {
			break
		}
		d.batch++
		m.after(m.r.between(0, turnDelay), func() { d.execute(b) }) // the real driver uses one goroutine for each
	}
	for _, r := range d.core.Results() {
		done := d.callbacks[r.Ask]
		delete(d.callbacks, r.Ask)
		if m.r.tracing() {
			m.r.trace(m.name, "session %d: %v, record %v", r.Ask, r.Why, r.Record)
		}
		done(r)
	}
	for _, x := range d.core.Displaced() {
		m.r.count("session displaced")
		m.hub.Displace(x.PID, x.Moves)
	}
	if at := d.core.Next(m.now()); !at.IsZero() {
		when := max(m.when(at), m.r.now+time.Millisecond)
		if when < d.next || d.next <= m.r.now {
			d.next = when
			m.at(when, d.waker.act)
		}
	}
}

func (d *sessionsDriver) execute(b wire.Batch) {
	m, c := d.m, d.m.cluster
	b.Commands = m.r.pids.named(b.Commands)
	if m.r.tracing() {
		m.r.trace(m.name, "redis session %d: %q", b.ID, b.Commands)
	}
	answer := func(replies []wire.Reply) { d.answered(b, replies) }
	if c.connected && c.directory == nil {
		c.openDirectory()
	}
	if !c.connected || c.directory == nil {
		c.attemptFailed()
		m.after(m.r.between(netLeast, dialMost), func() { answer(failed(b, errLost)) })
		return
	}
	c.directory.plain(b, answer)
}

func (d *sessionsDriver) answered(b wire.Batch, replies []wire.Reply) {
	m := d.m
	if m.r.tracing() {
		m.r.trace(m.name, "redis session %d answers: %+v", b.ID, replies)
	}
	reply := func() {
		d.core.Reply(b.ID, replies, m.now())
		d.wake()
	}
	if name := b.Commands[0].Name; name == "EVAL" && wire.FirstError(replies) != nil {
		replies = slices.Clone(replies)
		m.after(retrySessions, reply)
		return
	}
	reply()
}

// channel returns the channel for requests of other nodes.
func (d *sessionsDriver) channel() string { return names.SessionChannel(d.node) }

// received handles a push for that channel.
func (d *sessionsDriver) received(r redismodel.Reply) {
	m := d.m
	if r.Elems[0].Text == "subscribe" {
		d.subscribed = true
		m.hub.Reachable(true, m.now())
		return
	}
	d.cut.Receive([]byte(r.Elems[2].Text), m.now())
}

// message handles a request of another node for a session.
func (d *sessionsDriver) message(body []byte) {
	m := d.m
	request, asks := d.core.Receive(body)
	d.wake()
	switch {
	case !asks:
	case request.Dissolve:
		m.hub.Dissolve(request.PID)
	default:
		m.hub.Surrender(request.PID, request.User, m.now(), func(record *rooms.Record, why rooms.RecoveryResult) {
			if m.r.tracing() {
				m.r.trace(m.name, "gives %s to %s: %v, %v", request.User, request.Node, why, record)
			}
			d.tell()
			d.core.Answer(request, record, why)
			d.wake()
		})
	}
}

// pids numbers the sessions in the order in which they are first saved. The
// numbers replace the pids in Redis, because pids are random.
type pids map[string]int

func (p pids) number(pid string) int {
	n, known := p[pid]
	if !known {
		n = len(p)
		p[pid] = n
	}
	return n
}

// named returns the commands with numbers instead of pids in the keys of records.
func (p pids) named(commands []wire.Command) []wire.Command {
	prefix := names.SessionRecord("")
	list := make([]wire.Command, len(commands))
	for i, c := range commands {
		if pid, is := strings.CutPrefix(c.Keys[0], prefix); is {
			c.Keys = []string{fmt.Sprintf("%s%06d", prefix, p.number(pid))}
		}
		list[i] = c
	}
	return list
}
