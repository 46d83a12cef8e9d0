package upstream

import (
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// An Intake delivers entries of the log to the rooms of a node, without reading
// the log. It is what a Consumer does with each entry, for other drivers. Owned
// by one goroutine.
type Intake struct{ intake *intake }

// NewIntake returns an Intake. Of c it uses Table, MaxBody, Rooms, Keep, Tail
// and Logger.
func NewIntake(c Config) *Intake {
	i := &Intake{newIntake(&c, &counters{})}
	if c.Tail > 0 {
		i.intake.history = newHistory(&c)
	}
	return i
}

// Take delivers an entry to its rooms. The error is a *Poison.
func (i *Intake) Take(e *eventlog.Entry, now time.Time) error { return i.intake.take(e, now) }

// Reset records that entries are of another log from now on.
func (i *Intake) Reset() { i.intake.reset() }

// Past returns what is known if everything up to a position was given to the
// rooms. Inherit takes it over in another process, which reads the log behind a
// position.
func (i *Intake) Past(position eventlog.Position) Past { return i.intake.past(position) }

// Inherit is described at Past.
func (i *Intake) Inherit(p Past, behind eventlog.Position) { i.intake.inherit(p, behind) }

// The following methods are for an Intake with a Tail, which clients ask for
// what they have missed.

// Begun records which log the entries from here on belong to.
func (i *Intake) Begun(log string, behind eventlog.Position, known bool) {
	if i.intake.history != nil {
		i.intake.history.begin(log, behind, known)
	}
}

// Gap records that entries up to a position were lost.
func (i *Intake) Gap(to eventlog.Position) {
	if i.intake.history != nil {
		i.intake.history.gap(to)
	}
}

// Wanted says that clients may ask from here on.
func (i *Intake) Wanted() { i.intake.history.wanted.Store(true) }

// Behind reports whether entries will be read again that the previous process
// has given to its rooms. Questions are asked after that.
func (i *Intake) Behind() bool {
	if i.intake.history == nil {
		return false
	}
	_, behind := i.intake.history.read()
	return behind
}

// Ask asks a question. The answer goes up to the entry that was taken last.
func (i *Intake) Ask(q rooms.Question) *Asked {
	h := i.intake.history
	return &Asked{h, &ask{q: q, through: uint64(h.tail.Last())}}
}

// An Asked is a question under way.
type Asked struct {
	history *history
	ask     *ask
}

// Answer answers from memory. RecoveryLogShort: see Older.
func (a *Asked) Answer() rooms.Missed { return a.history.look(a.ask) }

// Older returns the older entries to be read for the answer, nil if there are
// none. With another result than RecoveryDone there is no answer.
func (a *Asked) Older() (*Older, rooms.RecoveryResult) {
	f, why := a.history.filler(a.ask)
	if f == nil {
		return nil, why
	}
	return &Older{f}, why
}

// An Older reads older entries one by one. There may be one at a time.
type Older struct{ filler *filler }

// Opened checks the log that was opened. It reports whether it is the right
// one.
func (o *Older) Opened(info eventlog.Info) bool { return o.filler.opened(info) }

// Start returns where to begin.
func (o *Older) Start() eventlog.Start { return o.filler.start() }

// Take handles the next entry, and reports whether it was expected; Done
// reports whether it was the last.
func (o *Older) Take(e *eventlog.Entry) bool { return o.filler.step(e) }

// Done is described at Take.
func (o *Older) Done() bool { return o.filler.done() }

// End is called after the last entry: Answer reaches further back now, unless
// the result says otherwise. again: another Older may succeed.
func (o *Older) End() (why rooms.RecoveryResult, again bool) { return o.filler.end() }

// OlderTries is how often older entries are tried to be read.
const OlderTries = fillTries
