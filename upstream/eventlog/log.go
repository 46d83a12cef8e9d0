package eventlog

import (
	"context"
	"errors"
	"time"
)

// A Log stores events in order. Its methods are safe for concurrent use.
type Log interface {
	// Append begins to add an event. Events of one goroutine are added in the
	// order of the calls. The function that it returns waits until the log has
	// the event durably, and must be called once. The position is 0 if it is
	// not known in time. After an error the event may be in the log or not.
	Append(ctx context.Context, e Entry) (wait func() (Position, error))

	// Open begins to read. Any number of readings may be open.
	Open(ctx context.Context, at Start) (Source, error)
}

// A Start says where reading begins.
type Start struct {
	From     From
	Position Position // for FromPosition
	Window   int      // entries that may be sent before they are taken

	// Renew, unless it is "", is the identity of a log that has lost entries which
	// were read. A log that can gets another identity then, so that nobody takes a
	// position of before for one of now.
	Renew string
}

// A From is a kind of place where reading can begin.
type From uint8

// The places.
const (
	FromNext     From = iota // behind everything that is there now
	FromFirst                // the oldest entry that is kept
	FromPosition             // that entry, or the oldest kept one behind it
)

// String implements fmt.Stringer.
func (f From) String() string { return [...]string{"next", "first", "position"}[f] }

// An Info describes a log to a reader that opens it.
type Info struct {
	Identity string   // of the log
	Behind   Position // FromNext: the last position before the reading; 0: not known, or none
	End      Position // the last position when it was opened; 0: not known, or none
	Renewed  bool     // it has its identity since it lost entries; see Start.Renew
	Holes    int      // positions in a row that the log may use for itself; where more are missing entries were removed
	Older    bool     // what the log has was there before; a reader that comes from another log begins behind it
}

// A Source is one reading of a log. It is owned by one goroutine.
type Source interface {
	Info() Info

	// Next returns the next entries as soon as there is one. Some before the
	// place where reading begins may come first. It returns none
	// when wait has passed or ctx is over, and an error when the reading has
	// ended. The slice is valid until the next call.
	Next(ctx context.Context, wait time.Duration) ([]Entry, error)

	// Taken says that all entries up to a position have been handled, so that
	// others may be sent.
	Taken(Position)

	Close()
}

// Errors of a log.
var (
	// ErrUndecodable means that reading has ended because an entry could not be
	// decoded.
	ErrUndecodable = errors.New("an entry cannot be decoded")

	// ErrNoLog means that a server does not offer logs, so that trying again is
	// useless.
	ErrNoLog = errors.New("it has no logs")
)
