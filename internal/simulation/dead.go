package simulation

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// A deadLetters is the judge's state for the rules on dead letters, and on orders
// that the writer of dead letters appends to the log again. It belongs to the
// judge.
type deadLetters struct {
	special map[eventlog.Offset]*event // undeliverable events and orders, by their place in the log
	gone    map[eventlog.Offset]bool   // places of undeliverable events that Redis has lost
	written map[eventlog.Offset]int    // number of letters in the queue
	before  eventlog.Offset            // end of the log before the first turn
	done    eventlog.Offset            // newest offset up to which the dead letters are confirmed to be written
	doneAt  time.Duration              // when that was confirmed
}

// noteSlack is the largest delay of a stored offset that is in the queue when a
// turn begins.
const noteSlack = eventlog.TurnSettles + 50*time.Millisecond

// savedTime is the time within which an order that a node has read is in Redis.
const savedTime = 5 * time.Second

// lettersWritten checks the new dead letters.
func (s *brokerServer) lettersWritten() {
	q := s.broker.Queue(letterQueue)
	if q == nil || q.Len() == s.letters {
		return
	}
	for _, m := range q.Ready()[s.letters:] {
		s.letters++
		s.r.judge.letter(m)
	}
}

// letter checks a new dead letter.
func (j *judge) letter(m *rabbitmodel.Message) {
	o, _ := eventlog.ParseOffset(m.ID)
	if e := j.dead.special[o]; (e == nil || !e.bad) && !j.dead.gone[o] {
		j.r.fail("a deliverable event is a dead letter", "%s: %s", m.ID, m.Body)
	}
	if j.dead.written[o]++; j.dead.written[o] > 1 {
		j.r.count("dead letter written again")
	}
	j.r.trace("letters", "has %v", o)
	j.r.note('l', uint64(o.Position), 0, 0)
}

// lose records that Redis has lost the entry at an offset.
func (d *deadLetters) lose(o eventlog.Offset) {
	if e := d.special[o]; e != nil {
		d.gone[o] = d.gone[o] || e.bad
		delete(d.special, o)
	}
}

// beforeFirstTurn records the end of the log before the first turn. Entries up to there
// are not checked for dead letters.
func (j *judge) beforeFirstTurn(end eventlog.Offset) {
	if j.dead.done.Log == "" {
		j.dead.before = end
	}
}

// offsetStored records that a node has stored how far the dead letters are written.
func (j *judge) offsetStored(o eventlog.Offset) {
	if d := &j.dead; d.done.Log != o.Log || d.done.Position < o.Position {
		d.done, d.doneAt = o, j.r.now
	}
}

// turnBegins checks a node whose turn begins: no other node writes dead letters,
// and it begins where the last one has stopped. A node whose connection is lost
// goes on until it notices. That includes a node that was paused after it had got
// the turn and before it began: RabbitMQ has given the turn to another one by then.
func (j *judge) turnBegins(d *lettersDriver, done eventlog.Offset) {
	r := j.r
	gone := func(o *lettersDriver) bool { return !o.link.line.open || o.link.line.silent } // its turn is over
	for _, m := range r.nodes {
		if o := m.letters; m.up && o != nil && o != d && o.reading != nil && !gone(o) && !gone(d) && m.paused <= r.now {
			r.fail("two nodes write the dead letters", "%v and %v", m, d.m)
		}
	}
	at := &j.dead
	late := d.m.slow > 0 || r.recovery.trouble+troubleAfter > r.now
	if at.done.Log == done.Log && at.done.Position > done.Position && at.doneAt+noteSlack < r.now && !late {
		r.fail("a turn at the dead letters begins too early", "%v begins behind %v, another one was done up to %v at %v", d.m, done, at.done, at.doneAt)
	}
}

// repetition returns the message with which an order is appended to the stream
// again.
func (j *judge) repetition(t *upstream.Task) rabbitmodel.Message {
	e, number := &t.Entry, ""
	for o, x := range j.dead.special {
		if o.Position == t.Position && x.order && x.body(j.r.config.Clients, j.r.config.Rooms) == string(e.Body) {
			number = strconv.Itoa(x.number)
		}
	}
	headers := map[string]string{
		fromHeader: e.Exchange, keyHeader: e.Key, timeHeader: strconv.FormatInt(int64(e.Published.Sub(epoch)), 10), forHeader: number,
	}
	for name := range e.Headers {
		headers[name] = "1"
	}
	return rabbitmodel.Message{Key: streamName, App: e.AppID, Headers: headers, Body: string(e.Body)}
}

// kept reports whether the log still has the entry at an offset, and the entry was
// written after the beginning of the first turn.
func (j *judge) kept(o eventlog.Offset) bool {
	first, last, known := j.r.log.bounds()
	if !known || o.Log != j.r.log.offset(0).Log || o.Log == j.dead.before.Log && o.Position <= j.dead.before.Position {
		return false
	}
	return eventlog.Position(first) <= o.Position && o.Position <= eventlog.Position(last)
}

// repeated reports whether all nodes must know an order, even if no node ran when
// it was published: the writer of dead letters has appended it again.
func (j *judge) repeated(x *entry) bool {
	return j.r.config.Letters && x.era == j.r.log.era && !x.lost && j.r.recovery.truncated == 0 &&
		!j.r.redis.faultyDuring(x.at, x.lastCopyAt+savedTime) && !anyDuring(j.r.broker.faulty, x.at, x.lastCopyAt+savedTime) && j.kept(j.r.log.offset(x.pos))
}

// checkLetters checks that every event that cannot be delivered is a dead letter.
func (r *run) checkLetters() {
	if !r.config.Letters {
		return
	}
	for o, e := range r.judge.dead.special {
		if e.bad && r.judge.dead.written[o] == 0 && r.judge.kept(o) {
			r.fail("a dead letter is missing", "event %d at %v", e.number, o)
		}
	}
}
