package simulation

import (
	"time"

	"github.com/hometrip/gateway/internal/handover"
	"github.com/hometrip/gateway/rooms/cluster/core"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// Durations and limits of the steps of a hand-over.
const (
	localMost    = 300 * time.Microsecond // longest delay between two processes of a host
	settleWithin = 200 * time.Millisecond // within which requests under way must end
	settlePoll   = time.Millisecond
	freezeTries  = 20
	freezePause  = 50 * time.Millisecond
	buildWithin  = 10 * time.Second
	stateWithin  = 3 * time.Second
	takerWithin  = 15 * time.Second
	finishWithin = 2 * time.Second
)

// A transfer is the hand-over of a node's clients from one process to the next. It
// does what cmd/gateway does, with the decisions and the encoding of
// internal/handover. It belongs to the run.
type transfer struct {
	r              *run
	old, successor *machine
	giver          handover.Giver
	taker          handover.Taker
	toTaker        channel
	toGiver        channel
	steps          int      // number of steps until one of the two dies; 0: none dies
	kills          *machine // the one that dies

	frozenAt  time.Duration
	connected bool // the old process was connected to Redis when the hand-over began
	tries     int  // attempts to freeze that are left
	mark      string
	marked    []bool // by channel: the mark has come
	released  bool   // the old process has given up its connections
	owned     bool   // the new process has taken over
	loops     [][]byte
	sessions  [][]*session // by loop: whose sockets those are; stands for the descriptors
	node      []byte
	identity  core.Identity
	orders    map[string]time.Time
	behind    eventlog.Position // position after which the new process reads
}

// handOver is the fault that begins a hand-over.
func (r *run) handOver(f *fault) {
	m := r.nodes[f.node]
	if !m.up || m.leaving || m.transfer != nil || m.paused > r.now || m.reader.reader.Identity() == "" {
		return
	}
	t := &transfer{r: r, old: m}
	t.successor = &machine{r: r, index: m.index, name: m.name, life: m.life, skew: m.skew}
	l := newLine(0, localMost, &noDelay)
	t.toTaker, t.toGiver = channel{s: &r.schedule, line: l}, channel{s: &r.schedule, line: l}
	if f.draw%3 != 0 {
		t.steps = 1 + int(f.draw/3%14)
		t.kills = []*machine{t.old, t.successor}[f.draw/100%2]
	}
	t.successor.build()
	m.transfer, t.successor.transfer = t, t
	r.count("hand-over")
	t.doTaker(t.taker.Start())
}

// step counts a step of self. At the drawn number of steps it kills one of the
// two. It reports whether self is alive.
func (t *transfer) step(self *machine) (alive bool) {
	if t.steps == 0 {
		return true
	}
	if t.steps--; t.steps > 0 {
		return true
	}
	if dead := t.kills; dead.up {
		t.r.count("hand-over: a process dies")
		t.r.trace(t.old.name, "hand-over: the new process dies: %v", dead == t.successor)
		dead.die()
		t.r.after(time.Second, t.restart)
		return self != dead
	}
	return true
}

// restart starts the node again, unless its clients may still be taken over.
func (t *transfer) restart() {
	if m := t.r.nodes[t.old.index]; !m.up && !m.stays && m.transfer == nil {
		m.start()
	}
}

// giverTold passes an event to the state machine of the old process.
func (t *transfer) giverTold(e handover.Event) {
	t.old.alive(func() {
		if t.giver.Ended() || !t.step(t.old) {
			return
		}
		t.doGiver(t.giver.Step(e))
		if e == handover.PeerGone && !t.giver.Ended() { // the state machine expects it again
			t.old.after(settlePoll, func() { t.giverTold(e) })
		}
	})()
}

func (t *transfer) takerTold(e handover.Event) {
	t.successor.alive(func() {
		if !t.taker.Ended() && t.step(t.successor) {
			t.doTaker(t.taker.Step(e))
		}
	})()
}

func (t *transfer) tellTaker(e handover.Event) { t.toTaker.send(func() { t.takerTold(e) }) }
func (t *transfer) tellGiver(e handover.Event) { t.toGiver.send(func() { t.giverTold(e) }) }

// giverWithin passes a timeout to the old process after d, unless its state has
// changed from before.
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
			t.tellTaker(handover.GotGo)
			t.giverWithin(takerWithin, t.giver)
		case handover.SayRefuse:
			t.tellTaker(handover.GotRefused)
		case handover.SayDrain:
			t.tellTaker(handover.GotDrain)
		case handover.SayAbort:
			t.tellTaker(handover.GotAbort)
		case handover.Freeze:
			t.tries = freezeTries
			t.freeze()
		case handover.SendState:
			t.sendState()
		case handover.SayReleased:
			t.released = true
			t.tellTaker(handover.GotReleased)
			t.giverWithin(finishWithin, t.giver)
		case handover.Thaw:
			t.thaw()
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
			t.takeOver()
		case handover.ServeAlone, handover.GiveUp:
			t.successor.transfer = nil
			if t.successor.up {
				t.successor.up = false
				t.successor.end()
			}
			t.toGiver.send(func() { t.giverTold(handover.PeerGone) })
			t.lose()
		}
	}
}

// died handles the death of one of the two. It reports whether the clients'
// connections stay open: they do while the other process has the descriptors and
// may take over.
func (t *transfer) died(m *machine) (live bool) {
	if m == t.successor {
		if t.owned {
			return false
		}
		t.toGiver.send(func() { t.giverTold(handover.PeerGone) })
		return true // the new process had no connections
	}
	if t.owned {
		return true
	}
	t.toTaker.send(func() { t.takerTold(handover.PeerGone) })
	if len(t.loops) == 0 || !t.successor.up {
		t.old.transfer = nil
		return false
	}
	t.r.after(takerWithin, t.lose) // in case the new process dies as well
	return true
}

// lose closes the connections of an old process that has died, if the new one has
// not taken over.
func (t *transfer) lose() {
	if t.owned || t.old.up || t.old.transfer == nil {
		return
	}
	t.old.transfer = nil
	t.old.hangUp()
	t.restart()
}

// build lets the new process connect and read, without acting as the node.
func (t *transfer) build() {
	m, old := t.successor, t.old
	m.node.Silence()
	m.cluster.cut.StandBy()
	if m.recovery != nil {
		m.recovery.cut.StandBy()
	}
	m.cluster.begin()
	m.presence.begin()
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

// awaitBuilt waits until the new process has subscribed in Redis and reads the log.
func (t *transfer) awaitBuilt(until time.Duration) {
	m := t.successor
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
