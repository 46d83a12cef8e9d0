package handover

// An Event is an input of a state machine.
type Event uint8

// Events of both sides are followed by those of the giver and of the taker.
const (
	PeerGone    Event = iota // the connection has ended; everything sent before has been seen
	Timeout                  // the deadline of the phase has passed
	WriteFailed              // what an action was to send could not be sent

	HelloFits    // the taker's version and settings fit
	HelloDrains  // the versions differ: drain, as without a hand-over
	HelloRefused // the taker cannot serve in this process's place at all
	PeerReady    // the taker is built and listens
	FreezeDone   // the event loops are stopped
	FreezeFailed // the event loops could not be stopped, and continue
	StateSent    // the whole state has been sent
	StateFailed  // the state could not be described
	PeerReceived // the taker has the whole state
	PeerFailed   // the taker gives up
	PeerOwns     // the taker has read released
	PeerServes   // the taker's sessions are in their rooms
	PeerDone     // the taker has registered every connection

	GotGo       // the giver waits until this process is built
	GotRefused  // the giver continues to serve, and refuses this process
	GotDrain    // the giver drains; serve without taking over
	BuildDone   // this process listens
	BuildFailed // this process cannot serve
	StateFits   // the whole state has arrived and can be taken over
	StateUnfit  // the state cannot be taken over
	GotReleased // the connections belong to this process
	GotAbort    // the giver continues to serve
)

// An Action is an output of a state machine. The actions that one step returns
// are done in order.
type Action uint8

// Actions of the giver, and then of the taker.
const (
	Hold Action = iota // make the kernel give new connections to this process
	SayGo
	SayRefuse
	SayDrain
	Freeze      // answered by FreezeDone or FreezeFailed
	SendState   // answered by StateSent, StateFailed or WriteFailed
	SayReleased // may be answered by WriteFailed
	SayAbort
	Thaw   // the event loops continue
	Yield  // every connection is the taker's; the event loops stay stopped
	PassOn // new connections are the taker's from now on
	LetGo  // close this process's half of the connections; the event loops continue
	Drain  // end as without a hand-over
	Finish // end: this process serves nothing any more
	Resume // the hand-over has failed; nothing has changed

	SayHello
	Build // answered by BuildDone or BuildFailed
	SayReady
	SayReceived
	SayFailed
	SayOwned
	Own        // take over the whole state
	ServeAlone // the giver is gone, or drains: serve new connections
	GiveUp     // end with an error
)

// A giverPhase is the phase of a giver.
type giverPhase uint8

const (
	giverGreeted  giverPhase = iota // a process has connected
	giverWaits                      // for the taker to be built
	giverFreezes                    // the loops are stopping
	giverSends                      // state and descriptors
	giverSent                       // and waits for the taker to have them
	giverReleased                   // and waits for the taker to know
	giverYielded                    // the connections are the taker's
	giverPassesOn                   // new connections too
	giverEnded
)

// A Giver decides for the process that has the connections. The zero Giver
// waits for the taker's hello.
type Giver struct{ phase giverPhase }

// Ended reports whether the hand-over is over, one way or the other.
func (g *Giver) Ended() bool { return g.phase == giverEnded }

// Serves reports whether this process serves its connections, or may again.
func (g *Giver) Serves() bool { return g.phase < giverFreezes }

// Step handles an event and returns what is to be done.
func (g *Giver) Step(e Event) []Action {
	switch g.phase {
	case giverGreeted:
		switch e {
		case HelloFits:
			return g.to(giverWaits, SayGo)
		case HelloDrains:
			return g.to(giverEnded, SayDrain, Drain)
		case HelloRefused:
			return g.to(giverEnded, SayRefuse, Resume)
		}
		return g.to(giverEnded, Resume)
	case giverWaits:
		if e == PeerReady {
			return g.to(giverFreezes, Freeze)
		}
		return g.to(giverEnded, SayAbort, Resume)
	case giverFreezes:
		switch e {
		case FreezeDone:
			return g.to(giverSends, SendState)
		case FreezeFailed:
			return g.to(giverEnded, SayAbort, Resume)
		}
		return nil // one of the two comes; the taker's end is met after it
	case giverSends:
		if e == StateSent {
			return g.to(giverSent)
		}
		return g.back()
	case giverSent:
		if e == PeerReceived {
			return g.to(giverReleased, SayReleased)
		}
		return g.back()
	case giverReleased:
		switch e {
		case PeerOwns:
			return g.to(giverYielded, Yield)
		case PeerGone, WriteFailed: // it has not said that it owns anything, and will not
			return g.back()
		}
		return nil // it may own everything by now: there is no way back by the clock
	case giverYielded:
		if e == PeerServes || e == PeerGone || e == Timeout {
			return g.to(giverPassesOn, PassOn)
		}
	case giverPassesOn: // closing takes processor time, which the taker needs first
		if e == PeerDone || e == PeerGone || e == Timeout {
			return g.to(giverEnded, LetGo, Finish)
		}
	}
	return nil
}

// back lets the loops continue. The taker is told before that.
func (g *Giver) back() []Action { return g.to(giverEnded, SayAbort, Thaw, Resume) }

func (g *Giver) to(p giverPhase, do ...Action) []Action {
	g.phase = p
	return do
}

// A takerPhase is the phase of a taker.
type takerPhase uint8

const (
	takerGreets takerPhase = iota // hello is sent
	takerBuilds                   // everything but the connections
	takerWaits                    // for the state
	takerHas                      // everything, and waits for the release
	takerOwns
	takerAlone
	takerGaveUp
)

// A Taker decides for the process that is to take over the connections.
type Taker struct{ phase takerPhase }

// Start returns what is to be done first.
func (t *Taker) Start() []Action { return []Action{SayHello} }

// Ended reports whether the hand-over is decided.
func (t *Taker) Ended() bool { return t.phase >= takerOwns }

// Step handles an event and returns what is to be done.
func (t *Taker) Step(e Event) []Action {
	if t.Ended() {
		return nil
	}
	switch e {
	case GotAbort, GotRefused, Timeout, WriteFailed:
		if e == WriteFailed && t.phase != takerGreets {
			return nil // the giver's end, or its abort, is met by reading
		}
		return t.to(takerGaveUp, GiveUp)
	case PeerGone:
		if t.phase == takerHas { // it died with its loops standing still
			return t.to(takerOwns, Own)
		}
		if t.phase == takerGreets {
			return t.to(takerGaveUp, GiveUp)
		}
		return t.to(takerAlone, ServeAlone)
	case BuildFailed, StateUnfit:
		return t.to(takerGaveUp, SayFailed, GiveUp)
	}
	switch {
	case t.phase == takerGreets && e == GotGo:
		return t.to(takerBuilds, Build)
	case t.phase == takerGreets && e == GotDrain:
		return t.to(takerAlone, ServeAlone)
	case t.phase == takerBuilds && e == BuildDone:
		return t.to(takerWaits, SayReady)
	case t.phase == takerWaits && e == StateFits:
		return t.to(takerHas, SayReceived)
	case t.phase == takerHas && e == GotReleased:
		return t.to(takerOwns, SayOwned, Own)
	}
	return t.to(takerGaveUp, SayFailed, GiveUp)
}

func (t *Taker) to(p takerPhase, do ...Action) []Action {
	t.phase = p
	return do
}
