package upstream

import (
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// An Intake brings entries of the log to the rooms of a node, without reading
// the log: it is what a Consumer does with each entry, for whoever follows the
// log in another way. Owned by one goroutine.
type Intake struct{ intake *intake }

// NewIntake returns one. Of c it uses Table, MaxBody, Rooms, Keep and Logger.
func NewIntake(c Config) *Intake { return &Intake{newIntake(&c, &counters{})} }

// Take brings an entry to its rooms. The error is a *Poison.
func (i *Intake) Take(e *eventlog.Entry, now time.Time) error { return i.intake.take(e, now) }

// Reset tells that what comes is from another log.
func (i *Intake) Reset() { i.intake.duplicates.Reset() }
