package simulation

import (
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	lookDelay  = 500 * time.Microsecond // longest delay of an answer from memory
	fillTime   = 10 * time.Second       // limit for reading older entries
	fillWindow = 500                    // entries under way
)

// A historyDriver implements rooms.History for clients that return, as the
// goroutines of upstream.Consumer do. It belongs to its machine.
type historyDriver struct {
	d        *readerDriver
	asks     []question      // that wait for the end of the entry being handed over
	readings []*olderReading // that wait for their turn
	current  *olderReading   // nil: none is being read
}

// A question is a call of Missed without an answer.
type question struct {
	q    rooms.Question
	done func(rooms.Missed)
}

// Missed implements rooms.History.
func (h *historyDriver) Missed(q rooms.Question, done func(rooms.Missed)) {
	h.asks = append(h.asks, question{q, done})
	h.d.m.after(h.d.m.r.between(0, turnDelay), h.askIntake)
}

// Wanted implements rooms.History.
func (h *historyDriver) Wanted() { h.d.intake.Wanted() }

// askIntake passes the questions to the intake, between two entries. Their answers
// then go up to the entry that was taken last.
func (h *historyDriver) askIntake() {
	if h.d.busy || h.d.handing() || h.d.intake.Behind() {
		return // logReader.run calls it again
	}
	asks := h.asks
	h.asks = nil
	for _, a := range asks {
		asked := h.d.intake.Ask(a.q)
		h.d.m.after(h.d.m.r.between(0, lookDelay), func() { h.answer(asked, a.done) })
	}
}

func (h *historyDriver) answer(a *upstream.Asked, done func(rooms.Missed)) {
	m := a.Answer()
	if m.Result != rooms.RecoveryLogShort {
		done(m)
		return
	}
	h.readings = append(h.readings, &olderReading{h: h, asked: a, done: done})
	h.fill()
}

// fill reads older entries for the next question.
func (h *historyDriver) fill() {
	for h.current == nil && len(h.readings) > 0 {
		h.current = h.readings[0]
		h.readings = h.readings[1:]
		h.current.begin()
	}
}

// end closes the connection when the node dies.
func (h *historyDriver) end() {
	if f := h.current; f != nil {
		f.hangUp()
	}
}

// An olderReading reads older entries of the log, for a question that the entries in
// memory do not answer.
type olderReading struct {
	h     *historyDriver
	asked *upstream.Asked
	done  func(rooms.Missed)
	older *upstream.Older
	link  *brokerLink
	info  eventlog.Info
	redis *source // instead of link, if the log is in Redis
	tries int
	over  bool
}

func (f *olderReading) begin() {
	m := f.h.d.m
	older, why := f.asked.Older()
	switch {
	case older == nil && why == rooms.RecoveryDone:
		f.end(f.asked.Answer())
		return
	case older == nil:
		f.end(rooms.Missed{Result: why})
		return
	case m.r.log.redis == nil && !m.r.broker.reachable(m):
		m.after(m.r.between(netLeast, dialMost), func() { f.fail(rooms.RecoveryFailed) })
		return
	}
	m.r.count("history read from the log")
	f.older = older
	tries := f.tries
	fail := func() {
		if f.tries == tries {
			f.fail(rooms.RecoveryFailed)
		}
	}
	m.after(fillTime, fail)
	if m.r.log.redis != nil {
		f.redis = openSource(m, older.Start(), f)
		return
	}
	f.link = m.r.broker.dial(m, f.take, fail)
	f.link.do(func(ch *rabbitmodel.Channel) {
		f.info = eventlog.Info{Identity: m.r.broker.stream(ch), Holes: int(m.r.broker.broker.OwnPositions)}
		ch.Qos(fillWindow)
		ch.Consume(streamName, "history", false, rabbitmodel.Begin{Offset: int64(older.Start().Position) - 1})
	})
}

// take handles an event of the broker.
func (f *olderReading) take(e rabbitmodel.Event) {
	switch {
	case f.over:
	case !f.older.Opened(f.info):
		f.fail(rooms.RecoveryOtherLog)
	case e.Kind == rabbitmodel.Delivery:
		if f.entry(entryOf(e.Message, eventlog.Position(e.Offset+1))) {
			f.link.do(func(ch *rabbitmodel.Channel) { ch.Ack(e.Tag, false) })
		}
	}
}

// entry handles the next entry, and reports whether more are needed.
func (f *olderReading) entry(e eventlog.Entry) (more bool) {
	switch {
	case !f.older.Take(&e):
		f.fail(rooms.RecoveryLogShort)
	case f.older.Done():
		f.read()
	default:
		return true
	}
	return false
}

// The following methods make the olderReading a sourceClient, for the log in Redis.

func (f *olderReading) sourceOpened(s *source) {
	if !f.over && !f.older.Opened(s.info) {
		f.fail(rooms.RecoveryOtherLog)
	}
}

func (f *olderReading) sourceTook(s *source, e eventlog.Entry) {
	if !f.over && f.redis == s {
		f.entry(e)
	}
}

func (f *olderReading) sourceEnded(s *source) {
	if !f.over && (s == nil || f.redis == s) {
		f.fail(rooms.RecoveryFailed)
	}
}

func (f *olderReading) idle() bool { return !f.over }

func (f *olderReading) hangUp() {
	if f.link != nil {
		f.link.hangUp()
	}
	if f.redis != nil {
		f.redis.hangUp()
	}
}

// read ends the reading when all entries have come.
func (f *olderReading) read() {
	why, again := f.older.End()
	switch {
	case why == rooms.RecoveryDone:
		f.end(f.asked.Answer())
	case again && f.tries+1 < upstream.OlderTries:
		f.hangUp()
		f.tries++
		f.begin()
	default:
		f.fail(why)
	}
}

func (f *olderReading) fail(why rooms.RecoveryResult) { f.end(rooms.Missed{Result: why}) }

// end answers the question, and begins with the next one.
func (f *olderReading) end(m rooms.Missed) {
	if f.over {
		return
	}
	f.over = true
	f.hangUp()
	f.h.current = nil
	f.done(m)
	f.h.fill()
}
