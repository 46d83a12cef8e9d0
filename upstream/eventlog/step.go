package eventlog

import (
	"fmt"
	"time"
)

// A Phase is what a Reader is doing.
type Phase uint8

// The phases.
const (
	PhaseIdle      Phase = iota // before Start
	PhaseOpening                // the driver opens the log
	PhaseVerifying              // the log is open at the last entry that was read, which must be sent first
	PhaseProbing                // the driver opens the log to find its end
	PhaseReading                // entries are being received
	PhaseWaiting                // pause after a failure
	PhaseDraining               // the log was replaced; the rooms first get the entries read from the previous one
)

var phaseNames = [...]string{"idle", "opening", "verifying", "probing", "reading", "waiting", "draining"}

// String implements fmt.Stringer.
func (p Phase) String() string { return phaseNames[p] }

// An InputKind is a kind of Input.
type InputKind uint8

// The inputs of a Reader.
const (
	Begin     InputKind = iota // start reading at Start
	Opened                     // the log is open: Info
	Delivered                  // an entry was received: Entry
	Closed                     // the log could not be opened, or reading has ended; Undecodable says whether an entry is the reason
	Taken                      // the rooms have accepted the last entry
	Tick                       // time has passed
)

// An Input is something that the driver reports to a Reader.
type Input struct {
	Kind        InputKind
	Now         time.Time
	Start       Start // of Begin; its Window is not used
	Info        Info
	Entry       Entry
	Undecodable bool // reading ended at an entry that cannot be decoded
}

// An OutputKind is a kind of Output.
type OutputKind uint8

// The outputs of a Reader.
const (
	Open     OutputKind = iota // close the source, if one is open, and open the log at Start
	Hand                       // pass Entry to the rooms, then report Taken
	Credit                     // acknowledge the entries up to Position
	Gap                        // the entries From to Position are lost; 0: their positions are not known
	OtherLog                   // the log was replaced: positions restart
	Skipped                    // the entry at Position cannot be decoded and is skipped
)

var outputNames = [...]string{"open", "hand", "credit", "gap", "other log", "skipped"}

// String implements fmt.Stringer.
func (k OutputKind) String() string { return outputNames[k] }

// An Output is something that a Reader asks its driver to do.
type Output struct {
	Kind     OutputKind
	Start    Start
	Entry    Entry
	From     Position
	Position Position
	Identity string // of the log from here on
}

// String implements fmt.Stringer.
func (o Output) String() string {
	switch o.Kind {
	case Open:
		return fmt.Sprintf("open at %v %v, window %d", o.Start.From, uint64(o.Start.Position), o.Start.Window)
	case Hand:
		return fmt.Sprintf("hand %d", uint64(o.Entry.Position))
	case Gap:
		return fmt.Sprintf("gap %d to %d", uint64(o.From), uint64(o.Position))
	}
	return fmt.Sprintf("%v %d", o.Kind, uint64(o.Position))
}
