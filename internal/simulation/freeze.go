package simulation

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/handover"
	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/rooms/cluster/cut"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// freeze stops the event loops, and waits until nothing is under way.
func (t *transfer) freeze() {
	m := t.old
	m.frozen = true
	t.frozenAt = t.r.now
	t.settle(t.r.now+settleWithin, t.deciding, func() {
		m.reader.held = true
		if t.connected && !m.node.IsConnected() {
			t.retryFreeze()
			return
		}
		t.sendMarks()
		t.settle(t.frozenAt+settleWithin, t.underWay, func() { t.giverTold(handover.FreezeDone) })
	})
}

func (t *transfer) settle(until time.Duration, busy func() bool, done func()) {
	m := t.old
	switch {
	case !busy():
		done()
	case t.r.now >= until:
		t.retryFreeze()
	default:
		m.after(settlePoll, func() { t.settle(until, busy, done) })
	}
}

// retryFreeze ends an attempt to freeze. It begins the next one, or gives up.
func (t *transfer) retryFreeze() {
	t.thaw()
	if t.tries--; t.tries > 0 {
		t.old.after(freezePause, t.freeze)
		return
	}
	t.giverTold(handover.FreezeFailed)
}

// deciding reports whether the node is still deciding on a request of a client.
func (t *transfer) deciding() bool {
	m := t.old
	busy := m.hub.Consulting() > 0
	for i := range m.hub.Shards() {
		sh := m.hub.Shard(i)
		busy = busy || !sh.Settled() || sh.Pending() > 0 || m.turnDue[i]
	}
	return busy
}

func (t *transfer) underWay() bool {
	m := t.old
	return t.deciding() || slices.Contains(t.marked, false) || m.node.Rest() != "" ||
		m.node.IsConnected() && m.recovery != nil && !m.recovery.idle()
}

// sendMarks divides the messages of other nodes between the two processes: it publishes
// a mark on each channel. The old process handles the messages before the mark,
// the new one those after it.
func (t *transfer) sendMarks() {
	m := t.old
	t.mark, t.marked = "", nil
	channels := []string{names.Channel(m.cluster.number)}
	cuts := []*cut.Cut{&m.cluster.cut}
	if m.recovery != nil {
		channels, cuts = append(channels, m.recovery.channel()), append(cuts, &m.recovery.cut)
	}
	if m.node.IsConnected() {
		t.mark = cut.MarkPrefix + strconv.FormatUint(t.r.rng.Uint64(), 36)
	}
	t.marked = make([]bool, len(cuts))
	for i, c := range cuts {
		t.await(i, c.End(t.mark))
		if t.mark != "" && m.cluster.directory != nil { // otherwise the mark does not come
			m.cluster.directory.send([][]string{{"PUBLISH", channels[i], t.mark}}, 1, func([]redismodel.Reply, error) {})
		}
	}
}

// await waits for the mark on a channel.
func (t *transfer) await(i int, reached <-chan struct{}) {
	select {
	case <-reached:
		t.marked[i] = true
	default:
		marked := t.marked
		t.old.after(settlePoll, func() {
			if t.old.frozen && &marked[0] == &t.marked[0] {
				t.await(i, reached)
			}
		})
	}
}

// thaw lets the old process continue, after a hand-over that has failed.
func (t *transfer) thaw() {
	m := t.old
	if t.owned {
		t.r.fail("two processes have the same connections", "%v continues, although its successor has them", m)
	}
	m.frozen, m.reader.held = false, false
	m.node.Work()
	m.cluster.wake()
	m.cluster.cut.GoOn()
	if m.recovery != nil {
		m.recovery.cut.GoOn()
		m.recovery.wake()
	}
	unread := m.unread
	m.unread = nil
	for _, do := range unread {
		do()
	}
	m.reader.resume()
}

// sendState encodes the state of the node, and sends it to the new process.
func (t *transfer) sendState() {
	m, now := t.old, t.old.now()
	t.loops, t.sessions = nil, nil
	for i := range m.hub.Shards() {
		sh := m.hub.Shard(i)
		loop, sessions := form.Loop{Log: sh.Log()}, []*session(nil)
		var err error
		for _, l := range m.sessions {
			if l.shard != sh {
				continue
			}
			socket, failed := l.socket.State(now)
			if failed != nil {
				err = failed
			}
			loop.Sessions = append(loop.Sessions, form.Session{Socket: socket})
			sessions = append(sessions, l)
		}
		if err == nil {
			loop.Absent, err = sh.Absent(now)
		}
		if err != nil {
			t.r.trace(m.name, "hand-over: %v", err)
			t.loops = nil
			t.giverTold(handover.StateFailed)
			return
		}
		t.loops, t.sessions = append(t.loops, form.AppendLoop(nil, &loop)), append(t.sessions, sessions)
	}
	n := form.Node{Vacant: m.hub.Vacant(now), Ended: m.hub.Ended(now)}
	if m.reader.log != "" {
		past := m.reader.intake.Past(m.reader.place)
		n.Log = form.Log{Identity: m.reader.log, Position: uint64(past.Position), Began: uint64(past.Began)}
		for _, s := range past.Seen {
			n.Log.Recent = append(n.Log.Recent, form.Event{Hash: s.Hash, Position: uint64(s.Position)})
		}
	}
	t.node = form.AppendNode(nil, &n)
	t.identity = m.node.Identity(now)
	t.orders = maps.Clone(m.revoked)
	t.toTaker.send(func() { t.takerTold(t.fits(n.Log.Identity)) })
	t.giverTold(handover.StateSent)
	t.giverWithin(stateWithin, t.giver)
}

// fits reports whether both processes read the same log.
func (t *transfer) fits(log string) handover.Event {
	if t.successor.reader.log != log {
		return handover.StateUnfit
	}
	return handover.StateFits
}

// takeOver makes the new process the node: it takes over the state and the
// connections.
func (t *transfer) takeOver() {
	m, old, now := t.successor, t.old, t.successor.now()
	if t.owned || old.up && !old.frozen {
		t.r.fail("two processes have the same connections", "%v continues, although it is taken over", old)
	}
	t.owned = true
	t.r.count("hand-over: done")
	t.r.nodes[m.index] = m
	node, err := form.ReadNode(t.node)
	if err != nil {
		t.r.fail("handed-over state cannot be read", "%v", err)
	}
	maps.Copy(m.revoked, t.orders)
	maps.Copy(m.obeyed, old.obeyed)
	m.hub.AdoptVacant(node.Vacant, now)
	m.hub.AdoptEnded(node.Ended, now)
	m.node.Assume(&t.identity, now)
	if node.Log.Identity != "" && node.Log.Identity == m.reader.log {
		past := upstream.Past{Position: eventlog.Position(node.Log.Position), Began: eventlog.Position(node.Log.Began)}
		for _, e := range node.Log.Recent {
			past.Seen = append(past.Seen, eventlog.Seen{Hash: e.Hash, Position: eventlog.Position(e.Position)})
		}
		m.reader.intake.Inherit(past, t.behind)
	}
	t.adopt()
	m.node.Inherit(&t.identity, now)
	m.cluster.cut.Begin(t.mark, now)
	if m.recovery != nil {
		m.recovery.cut.Begin(t.mark, now)
	}
	m.cluster.wake()
	m.beginLetters()
	m.appender.begin()
	m.reader.held = false
	unread := old.unread
	old.unread = nil
	for _, do := range unread {
		do()
	}
	m.reader.resume()
	t.tellGiver(handover.PeerServes)
	t.tellGiver(handover.PeerDone)
	m.transfer, old.transfer = nil, nil
	t.r.note('T', uint64(m.index), uint64(len(m.sessions)), 0)
}

// adopt creates the sockets in the new process.
func (t *transfer) adopt() {
	m, old, now := t.successor, t.old, t.successor.now()
	for i, body := range t.loops {
		loop, err := form.ReadLoop(body)
		if err != nil {
			t.r.fail("handed-over state cannot be read", "%v", err)
		}
		sh := m.hub.Shard(i)
		sh.Tasks(now)
		sh.Drain(math.MaxInt) // tells the shard which log its positions belong to
		for k, l := range t.sessions[i] {
			l.shard, l.m, l.life = sh, m, m.life
			if l.socket, err = sh.Adopt(l, &loop.Sessions[k].Socket, loop.Log, now); err != nil {
				t.r.fail("a socket is not taken over", "%s: %v", l.c.name, err)
			}
			m.sessions = append(m.sessions, l)
		}
		for k := range loop.Absent {
			if err := sh.AdoptAbsent(&loop.Absent[k], loop.Log, now); err != nil {
				t.r.fail("a socket is not taken over", "absent: %v", err)
			}
		}
	}
	for _, c := range t.r.clients { // also those that have not sent anything yet
		if c.machine == old {
			c.machine = m
			c.link.m, c.link.life = m, m.life
		}
	}
}

// letGo ends the old process after the new one has taken over.
func (t *transfer) letGo() {
	m := t.old
	if !t.owned {
		t.r.fail("no process has the connections", "%v gives up connections that its successor does not have", m)
	}
	m.node.Silence()
	m.up = false
	m.held, m.paused = nil, 0
	m.end()
}
