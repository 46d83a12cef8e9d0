package core

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	batchMost = 128 // entries that Redis sends at once

	// blockFor is how long Redis waits for an entry before it answers that there
	// is none. The reading then asks whether the log is still the same.
	blockFor = time.Second

	// answerTimeout is for an answer of Redis, beside that time.
	answerTimeout = 5 * time.Second
)

// errOtherLog ends a reading.
var errOtherLog = errors.New("the stream was deleted and created again")

// A phase is what the next command of a Reading is for.
type phase uint8

const (
	opening  phase = iota // tells where the log ends
	reading               // waits for entries
	checking              // none came: tells whether the log is still the same
)

// A Reading is one reading of the stream. It asks for entries when its owner
// wants some, so nothing is sent that was not asked for. One command is under
// way at a time. Owned by one goroutine.
type Reading struct {
	at    eventlog.Start
	phase phase
	info  eventlog.Info
	of    string            // number of the log
	after eventlog.Position // of the entry that came last
	batch []eventlog.Entry
}

// NewReading returns a reading that is opened by its first command.
func NewReading(at eventlog.Start) *Reading { return &Reading{at: at} }

// IsOpen reports whether Info is known.
func (r *Reading) IsOpen() bool { return r.phase != opening }

// Info returns what the log has told.
func (r *Reading) Info() eventlog.Info { return r.info }

// Command returns the command that is sent next.
func (r *Reading) Command() Command {
	if r.phase != reading {
		c := script(nil)
		if r.phase == opening && r.at.Renew != "" {
			c = script([]string{numberOf(r.at.Renew)})
		}
		c.Within = answerTimeout
		return c
	}
	return Command{
		Kind: Read,
		Before: []string{"XREAD", "COUNT", strconv.Itoa(min(max(r.at.Window, 1), batchMost)),
			"BLOCK", strconv.FormatInt(blockFor.Milliseconds(), 10), "STREAMS"},
		After:  []string{id(r.of, r.after)},
		Within: blockFor + answerTimeout,
	}
}

// Take takes the answer to that command. It returns entries, which are valid
// until the next call, or an error that ends the reading.
func (r *Reading) Take(reply *Reply) ([]eventlog.Entry, error) {
	clear(r.batch)
	r.batch = r.batch[:0]
	switch r.phase {
	case opening:
		return nil, r.open(reply)
	case checking:
		return nil, r.check(reply)
	}
	switch {
	case reply.Err != nil:
		return nil, reply.Err
	case reply.Nil:
		r.phase = checking
		return nil, nil
	}
	return r.gather(reply.Entries)
}

func (r *Reading) open(reply *Reply) error {
	end, err := endOf(reply)
	if err != nil {
		return err
	}
	r.phase, r.of, r.info.Identity, r.info.End = reading, end.log, Identity(end.log), end.position
	r.info.Renewed = end.former != ""
	switch r.at.From { // the entry before comes as well: the reader knows the log by it
	case eventlog.FromNext:
		r.after, r.info.Behind = max(end.position, 1)-1, end.position
	case eventlog.FromPosition:
		r.after = max(r.at.Position, 2) - 2
	}
	return nil
}

// gather returns the entries of an answer.
func (r *Reading) gather(list []Raw) ([]eventlog.Entry, error) {
	for i := range list {
		log, position, err := parseID(list[i].ID)
		if err != nil {
			return nil, err
		}
		if log != r.of {
			if len(r.batch) > 0 {
				break // first those of the old log
			}
			return nil, errOtherLog
		}
		r.batch = append(r.batch, entryOf(position, list[i].Fields))
		r.after = position
	}
	return r.batch, nil
}

// check reports an error when the log has become another one, or ends before
// what was read of it.
func (r *Reading) check(reply *Reply) error {
	r.phase = reading
	end, err := endOf(reply)
	switch {
	case err != nil:
		return err
	case end.log != r.of:
		return errOtherLog
	case end.position < r.after:
		return fmt.Errorf("the stream ends at position %v and was read up to %v: it has lost entries", end.position, r.after)
	}
	return nil
}
