package handover

import "time"

// Pace is how long the phases of a hand-over may take.
type Pace struct {
	Hello  time.Duration // for the answer to a greeting
	Build  time.Duration // for the taker to be built; the giver serves meanwhile
	Freeze time.Duration // for one attempt to have the event loops stand still
	Settle time.Duration // for what is under way to end while they do
	State  time.Duration // for the state to arrive, from the freeze; clients wait
	Finish time.Duration // for the taker to have taken over all of it
	Tail   time.Duration // for which connections that still reach the giver are passed on
}

// DefaultPace is the pace of the gateway.
var DefaultPace = Pace{
	Hello:  3 * time.Second,
	Build:  60 * time.Second,
	Freeze: 2 * time.Second,
	Settle: 200 * time.Millisecond,
	State:  3 * time.Second,
	Finish: 30 * time.Second,
	Tail:   1500 * time.Millisecond,
}

// attempts is how often a freeze is tried while something is under way that
// cannot be described. attemptPause is the pause between two attempts.
const (
	attempts     = 20
	attemptPause = 50 * time.Millisecond
)
