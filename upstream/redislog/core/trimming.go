package core

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	trimEvery  = 5 * time.Second // mean pause between two rounds; shorter if Retention is short
	trimMin    = 100 * time.Millisecond
	trimShare  = 20  // the mean pause is at most 1/trimShare of Retention
	sizeProbes = 100 // entries of the stream that Redis samples to estimate its size
)

// A step says what the command under way asks for.
type step uint8

const (
	stepNone   step = iota // nothing is under way
	stepCount              // the number of entries
	stepFirst              // the oldest entry
	stepTime               // the time of Redis
	stepSearch             // the first entry that is not too old, by binary search
	stepSize               // the size of the stream in bytes
	stepRemove
)

// A Trimming removes entries that are too old or that exceed the size limit.
// Every node does so without coordination, because removing an entry twice has
// no effect. One round consists of several commands, one under way at a time.
// Owned by one goroutine.
type Trimming struct {
	Retention time.Duration
	MaxBytes  int

	byNumber bool // Redis does not remove by id

	step     step
	length   int64
	first    eventlog.Position // position of the oldest entry; at is when it was added
	at       int64
	last     eventlog.Position // position of the newest entry; 0: that entry is in a later log
	oldest   int64             // entries that were added before this time are too old
	log      string            // number of the oldest entry's log, which may be a former log
	low, top int64             // range of the binary search: the first entry that is not too old, counted from first
	gone     int64             // number of oldest entries to be removed
	err      error
	sizeErr  error // error of the size, which Redis may forbid to read; entries are removed by age nevertheless
}

// Pause returns how long to wait before the next round. chance is a random
// number in [0,1), which spreads the rounds of the nodes.
func (t *Trimming) Pause(chance float64) time.Duration {
	pause := max(min(trimEvery, t.Retention/trimShare), trimMin)
	return pause/2 + time.Duration(chance*float64(pause))
}

// Begin begins a round.
func (t *Trimming) Begin() {
	*t = Trimming{Retention: t.Retention, MaxBytes: t.MaxBytes, byNumber: t.byNumber, step: stepCount}
}

// Command returns the command that is sent next. ok is false at the end of the
// round.
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
		// Not by the number of entries to be kept: entries that are added meanwhile
		// would cause as many young entries to be removed.
		oldest := t.first + eventlog.Position(t.gone)
		if t.last != 0 {
			oldest = min(oldest, t.last)
		}
		return Command{Kind: Number, Before: []string{"XTRIM"}, After: []string{"MINID", id(t.log, oldest)}}, true
	}
	return Command{}, false
}

// entryFrom returns the command that reads the first entry from an id on.
func entryFrom(id string) Command {
	return Command{Kind: Range, Before: []string{"XRANGE"}, After: []string{id, "+", "COUNT", "1"}}
}

// Take handles the answer to that command.
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

// Err returns the error of the round, nil if it has not failed. If leave is
// true, the connection must be closed.
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

// begins handles the answer with the oldest entry.
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

// compare handles the answer with the time: it compares the oldest entry with
// it.
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

// halve does a step of the binary search for the first entry that is not too
// old. Positions have no gaps. There is no entry behind the newest one: other
// nodes may have removed entries since they were counted, so the range may be
// too large.
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

// fit determines how many entries exceed MaxBytes, as if all had the same size.
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
