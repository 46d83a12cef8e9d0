package upstream

import (
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// An Intake brings entries of the log to the rooms of a node, without reading
// the log: it is what a Consumer does with each entry, for whoever follows the
// log in another way. Owned by one goroutine.
type Intake struct{ intake *intake }

// NewIntake returns one. Of c it uses Table, MaxBody, Rooms, Keep, Tail and
// Logger.
func NewIntake(c Config) *Intake {
	i := &Intake{newIntake(&c, &counters{})}
	if c.Tail > 0 {
		i.intake.history = newHistory(&c)
	}
	return i
}

// Take brings an entry to its rooms. The error is a *Poison.
func (i *Intake) Take(e *eventlog.Entry, now time.Time) error { return i.intake.take(e, now) }

// Reset tells that what comes is from another log.
func (i *Intake) Reset() { i.intake.reset() }

// Past returns what is known of a log of which everything up to a position was
// given to the rooms. Inherit takes it over in another process, which reads the
// log behind a position.
func (i *Intake) Past(position eventlog.Position) Past { return i.intake.past(position) }

// Inherit is described at Past.
func (i *Intake) Inherit(p Past, behind eventlog.Position) { i.intake.inherit(p, behind) }

// The following are for an Intake with a Tail, which clients may ask for what
// they have missed.

// Begun tells of which log the entries from here on are.
func (i *Intake) Begun(log string, behind eventlog.Position, known bool) {
	if i.intake.history != nil {
		i.intake.history.begin(log, behind, known)
	}
}

// Gap tells that entries up to a position were lost.
func (i *Intake) Gap(to eventlog.Position) {
	if i.intake.history != nil {
		i.intake.history.gap(to)
	}
}

// Wanted tells that clients may ask from here on.
func (i *Intake) Wanted() { i.intake.history.wanted.Store(true) }

// Behind reports whether entries are to come again that the process before this
// one has given to its rooms. Questions are put when they have come.
func (i *Intake) Behind() bool {
	if i.intake.history == nil {
		return false
	}
	_, behind := i.intake.history.read()
	return behind
}

// Ask puts a question. It goes up to the entry that was taken last.
func (i *Intake) Ask(q rooms.Question) *Asked {
	h := i.intake.history
	return &Asked{h, &ask{q: q, through: uint64(h.tail.Last())}}
}

// An Asked question is one under way.
type Asked struct {
	history *history
	ask     *ask
}

// Answer answers with what is in memory. RecoveryLogShort: see Older.
func (a *Asked) Answer() rooms.Missed { return a.history.look(a.ask) }

// Older returns what is to be read for the answer. It is nil when there is
// nothing, or, with another result than RecoveryDone, no answer.
func (a *Asked) Older() (*Older, rooms.RecoveryResult) {
	f, why := a.history.filler(a.ask)
	if f == nil {
		return nil, why
	}
	return &Older{f}, why
}

// Older entries are read one by one. There may be one at a time.
type Older struct{ filler *filler }

// Opened takes what the log tells. It reports whether it is the right one.
func (o *Older) Opened(info eventlog.Info) bool { return o.filler.opened(info) }

// Start returns where to begin.
func (o *Older) Start() eventlog.Start { return o.filler.start() }

// Take takes the next entry, and reports whether it was expected; Done whether
// it was the last.
func (o *Older) Take(e *eventlog.Entry) bool { return o.filler.step(e) }

// Done is described at Take.
func (o *Older) Done() bool { return o.filler.done() }

// End is called when it was the last: Answer goes back further now, unless the
// result says otherwise. again: another Older may succeed.
func (o *Older) End() (why rooms.RecoveryResult, again bool) { return o.filler.end() }

// OlderTries is how often that is tried.
const OlderTries = fillTries
