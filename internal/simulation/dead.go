package simulation

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// A deadLetters has the judge's state for the rules on dead letters, and on the
// orders that the node which writes them appends again. Owned by the judge.
type deadLetters struct {
	special map[eventlog.Offset]*event // events that go there, and orders, by where they are in the log
	gone    map[eventlog.Offset]bool   // where such events were that Redis has lost
	written map[eventlog.Offset]int    // letters in the queue
	before  eventlog.Offset            // what is up to there was in the log before the first turn
	done    eventlog.Offset            // the newest that a node has stored
	doneAt  time.Duration              // and been told so
}

// noteSlack is how long a note may take that is in the queue when a turn begins.
const noteSlack = eventlog.TurnSettles + 50*time.Millisecond

// savedTime is until Redis has an order that a node has read.
const savedTime = 5 * time.Second

// lettersWritten tells the judge of new dead letters.
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
		j.r.fail("a dead letter of a good event", "%s: %s", m.ID, m.Body)
	}
	if j.dead.written[o]++; j.dead.written[o] > 1 {
		j.r.count("dead letter written again")
	}
	j.r.trace("letters", "has %v", o)
	j.r.note('l', uint64(o.Position), 0, 0)
}

// lose notes that the log has lost what was at an offset.
func (d *deadLetters) lose(o eventlog.Offset) {
	if e := d.special[o]; e != nil {
		d.gone[o] = d.gone[o] || e.bad
		delete(d.special, o)
	}
}

// unsorted notes that nobody looks at what is in the log before the first turn.
func (j *judge) unsorted(end eventlog.Offset) {
	if j.dead.done.Log == "" {
		j.dead.before = end
	}
}

// sorted notes that a node was told that it has stored how far it is.
func (j *judge) sorted(o eventlog.Offset) {
	if d := &j.dead; d.done.Log != o.Log || d.done.Position < o.Position {
		d.done, d.doneAt = o, j.r.now
	}
}

// leads checks a node whose turn begins: it is the only one, and begins where
// the last one was. A node whose connection is gone goes on until it notices,
// also if it had stood still between being given the turn and beginning it:
// RabbitMQ has given the turn to another one by then.
func (j *judge) leads(d *lettersDriver, done eventlog.Offset) {
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

// repetition is the message by which an order is appended again.
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

// kept reports whether the log still has an entry of the present stream, and
// had it in the first turn.
func (j *judge) kept(o eventlog.Offset) bool {
	first, last, known := j.r.log.bounds()
	if !known || o.Log != j.r.log.offset(0).Log || o.Log == j.dead.before.Log && o.Position <= j.dead.before.Position {
		return false
	}
	return eventlog.Position(first) <= o.Position && o.Position <= eventlog.Position(last)
}

// repeated reports whether an order has to be known to all nodes although
// perhaps no node ran when it was published.
func (j *judge) repeated(x *entry) bool {
	return j.r.config.Letters && x.era == j.r.log.era && !x.lost && j.r.recovery.truncated == 0 &&
		!j.r.redis.illDuring(x.at, x.again+savedTime) && !anyDuring(j.r.broker.ill, x.at, x.again+savedTime) && j.kept(j.r.log.offset(x.pos))
}

// checkLetters checks that everything that cannot be delivered is a dead
// letter.
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
