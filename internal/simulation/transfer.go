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
	"github.com/hometrip/gateway/rooms/cluster/core"
	"github.com/hometrip/gateway/rooms/cluster/cut"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// How long the steps of a hand-over take, or may take.
const (
	localMost    = 300 * time.Microsecond // between two processes of a machine
	settleWithin = 200 * time.Millisecond // for what is under way to end
	settlePoll   = time.Millisecond
	freezeTries  = 20
	freezePause  = 50 * time.Millisecond
	buildWithin  = 10 * time.Second
	stateWithin  = 3 * time.Second
	takerWithin  = 15 * time.Second
	finishWithin = 2 * time.Second
)

// A transfer is the hand-over of a node's clients to a process that takes its
// place: what internal/handover and cmd/gateway do. Who decides, and the form of
// what is handed over, are theirs. Owned by the run.
type transfer struct {
	r          *run
	old, young *machine
	giver      handover.Giver
	taker      handover.Taker
	toTaker    channel
	toGiver    channel
	steps      int      // until one of the two dies; 0: none does
	kills      *machine // which dies then

	frozenAt  time.Duration
	connected bool // to Redis, when they greeted each other
	tries     int
	mark      string
	marked    []bool // the mark has come, by channel
	released  bool   // the old process gives up what it has
	owned     bool   // the young process has it
	loops     [][]byte
	sessions  [][]*session // whose sockets those are, as descriptors are
	node      []byte
	identity  core.Identity
	orders    map[string]time.Time
	behind    eventlog.Position // from where the young process reads
}

// handOver begins a hand-over.
func (r *run) handOver(f *fault) {
	m := r.nodes[f.node]
	if !m.up || m.leaving || m.transfer != nil || m.paused > r.now || m.reader.reader.Identity() == "" {
		return
	}
	if r.recovery.trouble > r.now || r.redis.illDuring(r.now, r.now+1) {
		return // not while another fault lasts: see docs/simulation.md
	}
	t := &transfer{r: r, old: m}
	t.young = &machine{r: r, index: m.index, name: m.name, life: m.life, skew: m.skew}
	l := newLine(0, localMost, &noDelay)
	t.toTaker, t.toGiver = channel{s: &r.schedule, line: l}, channel{s: &r.schedule, line: l}
	if f.draw%3 != 0 {
		t.steps = 1 + int(f.draw/3%14)
		t.kills = []*machine{t.old, t.young}[f.draw/100%2]
	}
	t.young.build()
	m.transfer, t.young.transfer = t, t
	r.count("hand-over")
	t.doTaker(t.taker.Start())
}

// step counts the steps of both, and has one of the two die at one of them.
// It reports whether self still lives.
func (t *transfer) step(self *machine) (alive bool) {
	if t.steps == 0 {
		return true
	}
	if t.steps--; t.steps > 0 {
		return true
	}
	if dead := t.kills; dead.up {
		t.r.count("hand-over: a process dies")
		t.r.trace(t.old.name, "hand-over: the new process dies: %v", dead == t.young)
		dead.die()
		t.r.after(time.Second, t.restart)
		return self != dead
	}
	return true
}

// restart begins the node again, unless its clients may still be taken over.
func (t *transfer) restart() {
	if m := t.r.nodes[t.old.index]; !m.up && !m.stays && m.transfer == nil {
		m.start()
	}
}

// giverTold has the giver take an event.
func (t *transfer) giverTold(e handover.Event) {
	t.old.alive(func() {
		if t.giver.Ended() || !t.step(t.old) {
			return
		}
		t.doGiver(t.giver.Step(e))
		if e == handover.PeerGone && !t.giver.Ended() { // it is met again
			t.old.after(settlePoll, func() { t.giverTold(e) })
		}
	})()
}

func (t *transfer) takerTold(e handover.Event) {
	t.young.alive(func() {
		if !t.taker.Ended() && t.step(t.young) {
			t.doTaker(t.taker.Step(e))
		}
	})()
}

func (t *transfer) tellTaker(e handover.Event) { t.toTaker.send(func() { t.takerTold(e) }) }
func (t *transfer) tellGiver(e handover.Event) { t.toGiver.send(func() { t.giverTold(e) }) }

// giverWithin has the old process's wait end unless it has gone on until then.
func (t *transfer) giverWithin(d time.Duration, before handover.Giver) {
	t.old.after(d, func() {
		if t.giver == before {
			t.giverTold(handover.Timeout)
		}
	})
}

func (t *transfer) doGiver(actions []handover.Action) {
	for _, a := range actions {
		t.r.trace(t.old.name, "hand-over: the old process does %d", a)
		switch a {
		case handover.SayGo:
			t.connected = t.old.node.IsConnected()
			t.tellTaker(handover.ToldGo)
			t.giverWithin(takerWithin, t.giver)
		case handover.SayRefuse:
			t.tellTaker(handover.ToldRefused)
		case handover.SayDrain:
			t.tellTaker(handover.ToldDrain)
		case handover.SayAbort:
			t.tellTaker(handover.ToldAbort)
		case handover.Freeze:
			t.tries = freezeTries
			t.freeze()
		case handover.SendState:
			t.sendState()
		case handover.SayReleased:
			t.released = true
			t.tellTaker(handover.ToldReleased)
			t.giverWithin(finishWithin, t.giver)
		case handover.Thaw:
			t.goOn()
		case handover.LetGo:
			t.letGo()
		case handover.Resume:
			t.r.count("hand-over: came to nothing")
			t.old.transfer = nil
		}
	}
}

func (t *transfer) doTaker(actions []handover.Action) {
	for _, a := range actions {
		t.r.trace(t.old.name, "hand-over: the new process does %d", a)
		switch a {
		case handover.SayHello:
			t.tellGiver(handover.HelloFits)
		case handover.Build:
			t.build()
		case handover.SayReady:
			t.tellGiver(handover.PeerReady)
		case handover.SayReceived:
			t.tellGiver(handover.PeerReceived)
		case handover.SayFailed:
			t.tellGiver(handover.PeerFailed)
		case handover.SayOwned:
			t.tellGiver(handover.PeerOwns)
		case handover.Own:
			t.own()
		case handover.ServeAlone, handover.GiveUp:
			t.young.transfer = nil
			if t.young.up {
				t.young.up = false
				t.young.end()
			}
			t.toGiver.send(func() { t.giverTold(handover.PeerGone) })
			t.lose()
		}
	}
}

// died is told that one of the two has died. The clients' connections live on
// while the other one has their descriptors and may take them.
func (t *transfer) died(m *machine) (live bool) {
	if m == t.young {
		if t.owned {
			return false
		}
		t.toGiver.send(func() { t.giverTold(handover.PeerGone) })
		return true // nothing was its own
	}
	if t.owned {
		return true
	}
	t.toTaker.send(func() { t.takerTold(handover.PeerGone) })
	if len(t.loops) == 0 || !t.young.up {
		t.old.transfer = nil
		return false
	}
	t.r.after(takerWithin, t.lose) // the new one may have died meanwhile
	return true
}

// lose ends the connections of an old process that is dead, and that nobody has
// taken over.
func (t *transfer) lose() {
	if t.owned || t.old.up || t.old.transfer == nil {
		return
	}
	t.old.transfer = nil
	t.old.hangUp()
	t.restart()
}

// build has the new process connect and read, without being anybody.
func (t *transfer) build() {
	m, old := t.young, t.old
	m.node.Silence()
	m.cluster.cut.StandBy()
	if m.recovery != nil {
		m.recovery.cut.StandBy()
	}
	m.cluster.begin()
	d := m.reader
	d.held = true
	t.behind = old.reader.place
	identity := old.reader.log
	if identity != "" {
		d.fresh = false
		d.reader.Expect(identity)
		d.log, d.place = identity, t.behind
		m.Anew(identity, uint64(t.behind))
		d.intake.Begun(identity, t.behind, true)
		d.input(eventlog.Input{Kind: eventlog.Begin, Start: eventlog.Start{From: eventlog.FromPosition, Position: t.behind + 1}})
	} else {
		d.begin()
	}
	m.expire()
	t.awaitBuilt(t.r.now + buildWithin)
}

// awaitBuilt waits until the new process listens to Redis and reads the log.
func (t *transfer) awaitBuilt(until time.Duration) {
	m := t.young
	subscribed := !t.old.node.Stats().Connected || m.node.IsSubscribed() && (m.recovery == nil || m.recovery.subscribed)
	switch phase := m.reader.reader.Phase(); {
	case subscribed && (phase == eventlog.PhaseReading || phase == eventlog.PhaseVerifying):
		t.takerTold(handover.BuildDone)
		m.after(takerWithin, func() { t.takerTold(handover.Timeout) })
	case t.r.now >= until:
		t.takerTold(handover.BuildFailed)
	default:
		m.after(settlePoll, func() { t.awaitBuilt(until) })
	}
}

// freeze has the event loops stand still, and waits until nothing is under way.
func (t *transfer) freeze() {
	m := t.old
	m.frozen = true
	t.frozenAt = t.r.now
	t.settle(t.r.now+settleWithin, t.asked, func() {
		m.reader.held = true
		if t.connected && !m.node.IsConnected() {
			t.again()
			return
		}
		t.hold()
		t.settle(t.frozenAt+settleWithin, t.underWay, func() { t.giverTold(handover.FreezeDone) })
	})
}

func (t *transfer) settle(until time.Duration, busy func() bool, done func()) {
	m := t.old
	switch {
	case !busy():
		done()
	case t.r.now >= until:
		t.again()
	default:
		m.after(settlePoll, func() { t.settle(until, busy, done) })
	}
}

// again ends an attempt, and begins the next one.
func (t *transfer) again() {
	t.goOn()
	if t.tries--; t.tries > 0 {
		t.old.after(freezePause, t.freeze)
		return
	}
	t.giverTold(handover.FreezeFailed)
}

// asked reports whether something of the clients' is being decided.
func (t *transfer) asked() bool {
	m := t.old
	busy := m.hub.Consulting() > 0
	for i := range m.hub.Shards() {
		sh := m.hub.Shard(i)
		busy = busy || !sh.Settled() || sh.Pending() > 0 || m.rung[i]
	}
	return busy
}

func (t *transfer) underWay() bool {
	m := t.old
	return t.asked() || slices.Contains(t.marked, false) || m.node.Rest() != "" ||
		m.node.IsConnected() && m.recovery != nil && !m.recovery.idle()
}

// hold divides what comes from other nodes.
func (t *transfer) hold() {
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
		if t.mark != "" && m.cluster.directory != nil { // else it does not come
			m.cluster.directory.send([][]string{{"PUBLISH", channels[i], t.mark}}, 1, func([]redismodel.Reply, error) {})
		}
	}
}

// await notes that a mark has come.
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

// goOn has the event loops go on.
func (t *transfer) goOn() {
	m := t.old
	if t.owned {
		t.r.fail("two processes have the same connections", "%v goes on, and its successor has them", m)
	}
	m.frozen, m.reader.held = false, false
	m.node.Work()
	m.cluster.wake()
	m.cluster.cut.GoOn()
	if m.recovery != nil {
		m.recovery.cut.GoOn()
		m.recovery.wake()
	}
	kernel := m.kernel
	m.kernel = nil
	for _, do := range kernel {
		do()
	}
	m.reader.resume()
}

// sendState describes everything, and sends it.
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

// fits looks whether both processes read the same log.
func (t *transfer) fits(log string) handover.Event {
	if t.young.reader.log != log {
		return handover.StateUnfit
	}
	return handover.StateFits
}

// own makes the new process the node.
func (t *transfer) own() {
	m, old, now := t.young, t.old, t.young.now()
	if t.owned || old.up && !old.frozen {
		t.r.fail("two processes have the same connections", "%v is taken over, and goes on", old)
	}
	t.owned = true
	t.r.count("hand-over: done")
	t.r.nodes[m.index] = m
	node, err := form.ReadNode(t.node)
	if err != nil {
		t.r.fail("what is handed over cannot be read", "%v", err)
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
	m.reader.held = false
	kernel := old.kernel
	old.kernel = nil
	for _, do := range kernel {
		do()
	}
	m.reader.resume()
	t.tellGiver(handover.PeerServes)
	t.tellGiver(handover.PeerDone)
	m.transfer, old.transfer = nil, nil
	t.r.note('T', uint64(m.index), uint64(len(m.sessions)), 0)
}

// adopt makes the sockets anew.
func (t *transfer) adopt() {
	m, old, now := t.young, t.old, t.young.now()
	for i, body := range t.loops {
		loop, err := form.ReadLoop(body)
		if err != nil {
			t.r.fail("what is handed over cannot be read", "%v", err)
		}
		sh := m.hub.Shard(i)
		sh.Tasks(now)
		sh.Drain(math.MaxInt) // which log it is that positions belong to
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
	for _, c := range t.r.clients { // also those that have not said anything
		if c.machine == old {
			c.machine = m
			c.link.m, c.link.life = m, m.life
		}
	}
}

// letGo ends the old process: everything is the other one's.
func (t *transfer) letGo() {
	m := t.old
	if !t.owned {
		t.r.fail("connections that no process has", "%v gives up what its successor does not have", m)
	}
	m.node.Silence()
	m.up = false
	m.held, m.paused = nil, 0
	m.end()
}
