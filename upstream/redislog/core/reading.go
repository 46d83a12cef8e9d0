package core

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	batchMost = 128 // entries that Redis sends in one answer

	// blockFor is how long Redis waits for an entry before it answers without
	// one. The reading then checks whether the log is still the same.
	blockFor = time.Second

	// answerTimeout is the limit for an answer of Redis, in addition to blockFor.
	answerTimeout = 5 * time.Second
)

// errOtherLog is the error of a reading whose stream was replaced.
var errOtherLog = errors.New("the stream was deleted and created again")

// A phase says what the next command of a Reading does.
type phase uint8

const (
	opening  phase = iota // asks for the end of the log
	reading               // waits for entries
	checking              // no entry came: asks whether the log is still the same
)

// A Reading reads the stream from one place on. It requests entries only when
// its owner wants some. One command is under way at a time. Owned by one
// goroutine.
type Reading struct {
	at    eventlog.Start
	phase phase
	info  eventlog.Info
	of    string            // number of the log that is read
	after eventlog.Position // position of the last entry
	batch []eventlog.Entry
}

// NewReading returns a reading. Its first command opens it.
func NewReading(at eventlog.Start) *Reading { return &Reading{at: at} }

// IsOpen reports whether Info is known.
func (r *Reading) IsOpen() bool { return r.phase != opening }

// Info describes the log that was opened.
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

// Take handles the answer to that command. It returns entries, which are valid
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
	switch r.at.From { // the entry before is sent, too: the reader uses it to recognize the log
	case eventlog.FromNext:
		r.after, r.info.Behind = max(end.position, 1)-1, end.position
	case eventlog.FromPosition:
		r.after = max(r.at.Position, 2) - 2
	}
	return nil
}

// gather parses the entries of an answer.
func (r *Reading) gather(list []Raw) ([]eventlog.Entry, error) {
	for i := range list {
		log, position, err := parseID(list[i].ID)
		if err != nil {
			return nil, err
		}
		if log != r.of {
			if len(r.batch) > 0 {
				break // the entries of the old log are returned first
			}
			return nil, errOtherLog
		}
		r.batch = append(r.batch, entryOf(position, list[i].Fields))
		r.after = position
	}
	return r.batch, nil
}

// check returns an error if the log was replaced, or if it ends before the last
// entry that was read.
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
