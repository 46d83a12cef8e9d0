package eventlog

import (
	"context"
	"errors"
	"time"
)

// A Log stores events in order. Its methods are safe for concurrent use.
type Log interface {
	// Append begins to add an event. Events of one goroutine are added in the
	// order of the calls. The function that it returns waits until the event is
	// stored durably, and must be called once. The position is 0 if it is not
	// known in time. After an error the event may or may not be in the log.
	Append(ctx context.Context, e Entry) (wait func() (Position, error))

	// Open begins to read. Any number of readings may be open.
	Open(ctx context.Context, at Start) (Source, error)
}

// A Start says where reading begins.
type Start struct {
	From     From
	Position Position // for FromPosition
	Window   int      // entries that may be sent before they are acknowledged with Taken

	// Renew, unless it is "", is the identity of a log that has lost entries
	// which were read. A log that supports it gets another identity then, so that
	// positions from before the loss are not mistaken for present ones.
	Renew string
}

// A From is a kind of place where reading can begin.
type From uint8

// The places.
const (
	FromNext     From = iota // behind the newest entry
	FromFirst                // at the oldest entry that is kept
	FromPosition             // at that entry, or at the oldest kept one behind it
)

// String implements fmt.Stringer.
func (f From) String() string { return [...]string{"next", "first", "position"}[f] }

// An Info describes a log to a reader that opens it.
type Info struct {
	Identity string   // of the log
	Behind   Position // FromNext: the last position before reading began; 0: not known, or none
	End      Position // the last position when it was opened; 0: not known, or none
	Renewed  bool     // it got its identity because it had lost entries; see Start.Renew
	Holes    int      // consecutive positions that the log may use itself; if more are missing, entries were removed
	Older    bool     // the log had its entries before; a reader that comes from another log begins behind them
}

// A Source reads a log from one place on. It is owned by one goroutine.
type Source interface {
	Info() Info

	// Next waits for entries and returns them. The first ones may be from before
	// the place where reading begins. It returns no entries when wait has passed
	// or ctx is done, and an error when reading has ended. The slice is valid
	// until the next call.
	Next(ctx context.Context, wait time.Duration) ([]Entry, error)

	// Taken acknowledges all entries up to a position, so that further ones may
	// be sent.
	Taken(Position)

	Close()
}

// Errors of a log.
var (
	// ErrUndecodable means that reading has ended because an entry could not be
	// decoded.
	ErrUndecodable = errors.New("an entry cannot be decoded")

	// ErrNoLog means that a server does not support logs. Another attempt would
	// fail, too.
	ErrNoLog = errors.New("it has no logs")
)
