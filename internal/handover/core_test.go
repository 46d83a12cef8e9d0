package handover

import (
	"fmt"
	"testing"
)

// world runs the state machines of giver and taker against each other. Messages of one
// reach the other in order. A side that dies sends nothing more, and the other side
// sees the end of the connection after the messages sent before.
type world struct {
	t     *testing.T
	giver Giver
	taker Taker

	toGiver, toTaker []Event // messages under way; PeerGone is the last
	steps            int     // counted over both sides
	giverDies        int     // at this step; 0: never
	takerDies        int
	giverStops       int // from this step on it neither sends nor receives, until released
	takerStops       int

	giverDead, takerDead bool
	frozen               bool // the giver's event loops are stopped
	thawed               bool // they were restarted: the taker's state is outdated
	received             bool // the taker has the whole state
	yielded              bool // the giver has given up its connections
	owns                 bool // the taker serves the giver's connections
	alone                bool // the taker serves new connections only
	gaveUp               bool
	drains               bool
	freezeFails          bool
	stateFails           bool
	unfit                bool
	buildFails           bool
	hello                Event
	log                  []string
}

func (w *world) check() {
	w.t.Helper()
	givers := !w.giverDead && !w.yielded && !w.frozen
	if givers && w.owns && !w.takerDead {
		w.t.Fatalf("both sides serve the same connections: %v", w.log)
	}
	if w.owns && w.thawed {
		w.t.Fatalf("the taker serves with an outdated state: %v", w.log)
	}
}

// step counts one step of a side and reports whether it dies before it.
func (w *world) step(giver bool) (dead bool) {
	w.steps++
	switch {
	case giver && w.steps == w.giverDies:
		w.giverDead = true
		w.toTaker = append(w.toTaker, PeerGone)
		w.log = append(w.log, "giver dies")
		return true
	case !giver && w.steps == w.takerDies:
		w.takerDead = true
		w.toGiver = append(w.toGiver, PeerGone)
		w.log = append(w.log, "taker dies")
		return true
	}
	return false
}

func (w *world) tellGiver(e Event) {
	if !w.takerDead {
		w.toGiver = append(w.toGiver, e)
	}
}

func (w *world) tellTaker(e Event) {
	if !w.giverDead {
		w.toTaker = append(w.toTaker, e)
	}
}

func (w *world) giverDoes(e Event) {
	w.log = append(w.log, fmt.Sprintf("giver %d", e))
	for _, a := range w.giver.Step(e) {
		if w.step(true) {
			return
		}
		var answer Event
		answered := false
		say := func(e Event) { w.tellTaker(e) }
		reply := func(e Event) { answer, answered = e, true }
		switch a {
		case SayGo:
			say(GotGo)
		case SayRefuse:
			say(GotRefused)
		case SayDrain:
			say(GotDrain)
		case SayAbort:
			say(GotAbort)
		case SayReleased:
			if w.takerDead {
				reply(WriteFailed)
			} else {
				say(GotReleased)
			}
		case Freeze:
			if w.freezeFails {
				reply(FreezeFailed)
			} else {
				w.frozen = true
				reply(FreezeDone)
			}
		case SendState:
			switch {
			case w.stateFails:
				reply(StateFailed)
			case w.takerDead:
				reply(WriteFailed)
			case w.unfit:
				say(StateUnfit)
				reply(StateSent)
			default:
				say(StateFits)
				reply(StateSent)
			}
		case Thaw:
			w.frozen, w.thawed = false, true
		case Yield:
			w.yielded = true
		case LetGo:
			w.frozen = false
		case Drain:
			w.drains = true
		}
		w.check()
		if answered {
			w.giverDoes(answer)
			if w.giverDead {
				return
			}
		}
	}
	if w.giver.Ended() && !w.takerDead {
		w.toTaker = append(w.toTaker, Timeout) // it closes the connection, but is not dead
	}
}

func (w *world) takerDoes(e Event) { w.takerActs(w.taker.Step(e), e) }

func (w *world) takerActs(actions []Action, e Event) {
	w.log = append(w.log, fmt.Sprintf("taker %d", e))
	for _, a := range actions {
		if w.step(false) {
			return
		}
		switch a {
		case SayHello:
			w.tellGiver(w.hello)
		case Build:
			if w.buildFails {
				w.takerDoes(BuildFailed)
			} else {
				w.takerDoes(BuildDone)
			}
		case SayReady:
			w.tellGiver(PeerReady)
		case SayReceived:
			w.received = true
			w.tellGiver(PeerReceived)
		case SayFailed:
			w.tellGiver(PeerFailed)
		case SayOwned:
			w.tellGiver(PeerOwns)
		case Own:
			w.owns = true
			w.tellGiver(PeerServes)
			w.tellGiver(PeerDone)
		case ServeAlone:
			w.alone = true
		case GiveUp:
			w.gaveUp = true
			w.toGiver = append(w.toGiver, PeerGone)
		}
		w.check()
		if w.takerDead {
			return
		}
	}
}

// run delivers messages until there are none left. A stopped side goes on when the
// other one has timed out.
func (w *world) run() {
	w.takerActs(w.taker.Start(), 0)
	giverLate, takerLate := false, false // the other side has timed out
	for range 1000 {
		giverMoves := !w.giverDead && !w.giver.Ended() && len(w.toGiver) > 0
		takerMoves := !w.takerDead && !w.taker.Ended() && len(w.toTaker) > 0
		giverStopped := w.giverStops > 0 && w.steps >= w.giverStops && !takerLate
		takerStopped := w.takerStops > 0 && w.steps >= w.takerStops && !giverLate
		switch {
		case giverMoves && !giverStopped:
			e := w.toGiver[0]
			w.toGiver = w.toGiver[1:]
			w.giverDoes(e)
		case takerMoves && !takerStopped:
			e := w.toTaker[0]
			w.toTaker = w.toTaker[1:]
			w.takerDoes(e)
		case giverStopped && !w.giverDead: // the taker times out
			takerLate = true
			if !w.takerDead && !w.taker.Ended() {
				w.takerDoes(Timeout)
			}
		case takerStopped && !w.takerDead:
			giverLate = true
			if !w.giverDead && !w.giver.Ended() {
				w.giverDoes(Timeout)
			}
		default:
			return
		}
	}
	w.t.Fatalf("the hand-over has not ended after 1,000 messages: %v", w.log)
}

// end checks that a living process serves.
func (w *world) end() {
	w.t.Helper()
	giver := !w.giverDead && !w.yielded && !w.frozen
	taker := !w.takerDead && (w.owns || w.alone)
	switch {
	case w.giverDead && w.takerDead:
	case w.giverDead && w.received && w.alone:
		w.t.Errorf("the taker has the whole state and drops the connections: %v", w.log)
	case w.giverDead && !taker && !w.gaveUp:
		w.t.Errorf("the giver is dead and the taker does not serve: %v", w.log)
	case !w.giverDead && !giver && w.takerDead && !w.yielded:
		w.t.Errorf("the taker is dead and the giver's event loops are stopped: %v", w.log)
	case !w.giverDead && !w.takerDead && !giver && !taker:
		w.t.Errorf("no side serves: %v", w.log)
	case giver && taker && !w.drains:
		w.t.Errorf("both sides serve: %v", w.log)
	}
}

func eachWorld(t *testing.T, f func(t *testing.T, change func(*world))) {
	for name, change := range map[string]func(*world){
		"no failure":         func(*world) {},
		"drains":             func(w *world) { w.hello = HelloDrains },
		"refused":            func(w *world) { w.hello = HelloRefused },
		"freeze fails":       func(w *world) { w.freezeFails = true },
		"state fails":        func(w *world) { w.stateFails = true },
		"state does not fit": func(w *world) { w.unfit = true },
		"build fails":        func(w *world) { w.buildFails = true },
	} {
		t.Run(name, func(t *testing.T) { f(t, change) })
	}
}

func newWorld(t *testing.T, change func(*world)) *world {
	w := &world{t: t, hello: HelloFits}
	change(w)
	return w
}

func TestASuccessfulHandOverGivesEverythingToTheTaker(t *testing.T) {
	w := newWorld(t, func(*world) {})
	w.run()
	if !w.yielded || w.frozen || !w.owns || w.gaveUp || !w.giver.Ended() || !w.taker.Ended() {
		t.Errorf("yielded %v, owned %v, %v", w.yielded, w.owns, w.log)
	}
}

// Any step fails, or either side dies at any step. At no time may both sides serve the
// same connections, and in the end a living process must serve.
func TestOneProcessServesWhenEitherDies(t *testing.T) {
	eachWorld(t, func(t *testing.T, change func(*world)) {
		well := newWorld(t, change)
		well.run()
		well.end()
		for at := 1; at <= well.steps; at++ {
			for side, kill := range map[string]func(*world){
				"giver": func(w *world) { w.giverDies = at },
				"taker": func(w *world) { w.takerDies = at },
			} {
				t.Run(fmt.Sprint(side, " dies at step ", at), func(t *testing.T) {
					w := newWorld(t, change)
					kill(w)
					w.run()
					w.end()
				})
			}
		}
	})
}

// Either side stops at any step for longer than the other one waits, and then goes on.
// The same must hold.
func TestOneProcessServesWhenEitherPauses(t *testing.T) {
	eachWorld(t, func(t *testing.T, change func(*world)) {
		well := newWorld(t, change)
		well.run()
		for at := 1; at <= well.steps; at++ {
			for side, stop := range map[string]func(*world){
				"giver": func(w *world) { w.giverStops = at },
				"taker": func(w *world) { w.takerStops = at },
			} {
				t.Run(fmt.Sprint(side, " pauses at step ", at), func(t *testing.T) {
					w := newWorld(t, change)
					stop(w)
					w.run()
					w.end()
				})
			}
		}
	})
}

// One side stops for longer than the other one waits, and then the other one dies. The
// same must hold.
func TestOneProcessServesWhenOnePausesAndTheOtherDies(t *testing.T) {
	well := newWorld(t, func(*world) {})
	well.run()
	for stop := 1; stop <= well.steps; stop++ {
		for die := stop; die <= well.steps+4; die++ {
			for side, fault := range map[string]func(*world){
				"giver pauses": func(w *world) { w.giverStops, w.takerDies = stop, die },
				"taker pauses": func(w *world) { w.takerStops, w.giverDies = stop, die },
			} {
				t.Run(fmt.Sprint(side, " at step ", stop, ", the other dies at ", die), func(t *testing.T) {
					w := newWorld(t, fault)
					w.run()
					w.end()
				})
			}
		}
	}
}
