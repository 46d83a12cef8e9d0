package core

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	trimEvery  = 5 * time.Second // half as long when Retention is short
	trimMin    = 100 * time.Millisecond
	trimShare  = 20  // of Retention, between two looks
	sizeProbes = 100 // parts of the stream whose size Redis looks at
)

// A step is what the command under way asks for.
type step uint8

const (
	stepNone   step = iota // nothing is under way
	stepCount              // how many entries there are
	stepFirst              // the oldest one
	stepTime               // what time it is
	stepSearch             // the first one that is not too old, by halves
	stepSize               // how many bytes there are
	stepRemove
)

// A Trimming removes entries that are too old or too much. Every node does: it
// needs no agreement, since removing what is gone does nothing. One round has
// several commands, one under way at a time. Owned by one goroutine.
type Trimming struct {
	Retention time.Duration
	MaxBytes  int

	byNumber bool // Redis does not remove by id

	step     step
	length   int64
	first    eventlog.Position // the oldest entry, and when it was added
	at       int64
	last     eventlog.Position // of the newest entry; 0: it is in a later log
	oldest   int64             // entries that were added before are too old
	log      string            // number of the log in which it is, which may be one of before
	low, top int64             // the first entry that is not too old is one of these, counted from first
	gone     int64             // entries that go, the oldest ones
	err      error
	sizeErr  error // the size may be forbidden; age counts all the same
}

// Pause returns how long to wait before the next round. chance is from [0,1):
// not all nodes do it at once.
func (t *Trimming) Pause(chance float64) time.Duration {
	pause := max(min(trimEvery, t.Retention/trimShare), trimMin)
	return pause/2 + time.Duration(chance*float64(pause))
}

// Begin begins a round.
func (t *Trimming) Begin() {
	*t = Trimming{Retention: t.Retention, MaxBytes: t.MaxBytes, byNumber: t.byNumber, step: stepCount}
}

// Command returns the command that is sent next, false at the end of the round.
func (t *Trimming) Command() (c Command, ok bool) {
	switch t.step {
	case stepCount:
		return Command{Kind: Number, Before: []string{"XLEN"}}, true
	case stepFirst:
		return entryFrom("-"), true
	case stepTime:
		return script(nil), true
	case stepSearch:
		return entryFrom(id(t.log, t.first+eventlog.Position((t.low+t.top)/2))), true
	case stepSize:
		return Command{Kind: Number, Before: []string{"MEMORY", "USAGE"}, After: []string{"SAMPLES", strconv.Itoa(sizeProbes)}}, true
	case stepRemove:
		if t.byNumber {
			keep := strconv.FormatInt(max(t.length-t.gone, 1), 10)
			return Command{Kind: Number, Before: []string{"XTRIM"}, After: []string{"MAXLEN", keep}}, true
		}
		// Not by a number of entries: others are added meanwhile, and would have
		// as many young ones removed.
		oldest := t.first + eventlog.Position(t.gone)
		if t.last != 0 {
			oldest = min(oldest, t.last)
		}
		return Command{Kind: Number, Before: []string{"XTRIM"}, After: []string{"MINID", id(t.log, oldest)}}, true
	}
	return Command{}, false
}

// entryFrom asks for the first entry from an id on.
func entryFrom(id string) Command {
	return Command{Kind: Range, Before: []string{"XRANGE"}, After: []string{id, "+", "COUNT", "1"}}
}

// Take takes the answer to that command.
func (t *Trimming) Take(r *Reply) {
	if t.step == stepRemove && !t.byNumber && r.Err != nil && strings.Contains(r.Err.Error(), "syntax error") {
		t.byNumber = true // Redis before 6.2 does not have MINID
		return
	}
	if r.Err != nil && t.step != stepSize {
		t.fail(r.Err)
		return
	}
	switch t.step {
	case stepCount:
		t.length = r.Number
		t.step = stepFirst
	case stepFirst:
		t.begins(r)
	case stepTime:
		t.compare(r)
	case stepSearch:
		t.halve(r)
	case stepSize:
		t.fit(r)
	default:
		t.step = stepNone
	}
}

// Err returns why the round has failed, nil if it has not. leave: the connection
// is to be left.
func (t *Trimming) Err() (err error, leave bool) {
	return errors.Join(t.err, t.sizeErr), t.err != nil
}

func (t *Trimming) fail(err error) { t.err, t.step = err, stepNone }

// added returns when an entry was added.
func added(r *Reply) (at int64) {
	fields := r.Entries[0].Fields
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == fieldAt {
			at, _ = strconv.ParseInt(fields[i+1], 10, 64)
		}
	}
	return at
}

// begins takes the oldest entry.
func (t *Trimming) begins(r *Reply) {
	if t.step = stepNone; t.length == 0 || len(r.Entries) == 0 {
		return
	}
	t.step, t.at = stepTime, added(r)
	var err error
	if t.log, t.first, err = parseID(r.Entries[0].ID); err != nil {
		t.fail(err)
	}
}

// compare compares the oldest entry with the time.
func (t *Trimming) compare(r *Reply) {
	end, err := endOf(r)
	if err != nil {
		t.fail(err)
		return
	}
	t.oldest = end.now - t.Retention.Milliseconds()
	if end.log == t.log {
		t.last = end.position
	}
	if t.step = stepSearch; t.at >= t.oldest {
		t.step = stepSize
		return
	}
	t.low, t.top = 0, t.length
}

// halve halves where the first entry may be that is not too old. Positions have
// no gaps. Behind the newest entry there is none: others have removed some since
// they were counted, so that fewer stand behind the first one.
func (t *Trimming) halve(r *Reply) {
	half := (t.low + t.top) / 2
	if len(r.Entries) == 0 || added(r) >= t.oldest {
		t.top = half
	} else {
		t.low = half + 1
	}
	if t.low >= t.top {
		t.gone, t.step = t.low, stepSize
	}
}

// fit makes entries fit into MaxBytes, as if all were of the same size.
func (t *Trimming) fit(r *Reply) {
	switch {
	case r.Err != nil:
		t.sizeErr = r.Err
	case !r.Nil && r.Number > int64(t.MaxBytes):
		fitting := int64(float64(t.length) * float64(t.MaxBytes) / float64(r.Number))
		t.gone = max(t.gone, t.length-fitting)
	}
	if t.step = stepRemove; t.gone == 0 {
		t.step = stepNone
	}
}
