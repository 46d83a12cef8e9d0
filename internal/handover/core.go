package handover

// An Event is an input of a state machine.
type Event uint8

// Events of both sides are followed by those of the giver and of the taker.
const (
	PeerGone    Event = iota // the connection has ended; everything sent before has been seen
	Timeout                  // the deadline of the phase has passed
	WriteFailed              // what an action was to send could not be sent

	HelloFits    // the taker's version and settings fit
	HelloDrains  // they do not: drain, as without a hand-over
	HelloRefused // they cannot be served at all
	PeerReady    // the taker is built and listens
	FreezeDone   // the event loops stand still
	FreezeFailed // they do not, and go on
	StateSent    // everything has been sent
	StateFailed  // it could not be described
	PeerReceived // the taker has everything
	PeerFailed   // the taker gives up
	PeerOwns     // the taker has read released
	PeerServes   // its sessions are in their rooms
	PeerDone     // it has every connection

	GotGo       // the giver waits for us to be built
	GotRefused  // the giver serves on, and does not want us
	GotDrain    // the giver drains; serve as if it were not there
	BuildDone   // we listen
	BuildFailed // we cannot serve
	StateFits   // everything has come and can be taken
	StateUnfit  // it cannot
	GotReleased // it is ours
	GotAbort    // the giver has gone back
)

// An Action is an output of a state machine. The actions that one step returns
// are done in order.
type Action uint8

// Actions of the giver, and then of the taker.
const (
	Hold Action = iota // have the kernel keep new connections at this process
	SayGo
	SayRefuse
	SayDrain
	Freeze      // answered by FreezeDone or FreezeFailed
	SendState   // answered by StateSent, StateFailed or WriteFailed
	SayReleased // may be answered by WriteFailed
	SayAbort
	Thaw   // the event loops go on
	Yield  // every connection is the taker's; the event loops stand still on
	PassOn // new connections are the taker's from now on
	LetGo  // close this process's half of the connections; the event loops go on
	Drain  // end as without a hand-over
	Finish // end: nothing is served here any more
	Resume // the hand-over has failed; nothing has changed

	SayHello
	Build // answered by BuildDone or BuildFailed
	SayReady
	SayReceived
	SayFailed
	SayOwned
	Own        // take everything over
	ServeAlone // the giver is gone, or drains: serve what comes
	GiveUp     // end with an error
)

// A giverPhase is the phase of a giver.
type giverPhase uint8

const (
	giverGreeted  giverPhase = iota // somebody has connected
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
