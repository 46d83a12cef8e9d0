package simulation

import (
	"slices"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	letterQueue = "events.dead-letter"
	turnQueue   = "events.dead-letter-turn"

	leadRetry   = time.Second // pause before the next attempt to get the turn
	letterRetry = 200 * time.Millisecond
	confirmWait = 5 * time.Second // for a confirm of RabbitMQ
)

// A lettersDriver writes the dead letters to the model of RabbitMQ, as
// upstream.Sorter and rabbitmq.Letters do with a real broker. One node at a time
// has the turn to write them. It belongs to its machine.
type lettersDriver struct {
	m       *machine
	link    *brokerLink // consumes turnQueue; nil: none is open
	turn    eventlog.Turn
	sorting *upstream.Sorting
	reading *logReader // nil: another node has the turn
	tasks   []upstream.Task

	out     *brokerLink // publishes; nil: none is open
	waiting map[uint64]awaited
	last    uint64 // delivery tag of the last message
}

// An awaited is a message without a confirm.
type awaited struct {
	done   func(ok bool)
	stream bool // it was published to the stream, which may not exist
}

// beginLetters starts the driver of the dead letters.
func (m *machine) beginLetters() {
	m.letters = nil
	if m.r.config.Letters {
		m.letters = &lettersDriver{m: m, sorting: upstream.NewSorting(upstream.Config{Table: m.r.table, MaxBody: 1 << 16})}
		m.letters.await()
	}
}

// end closes the connections when the node dies.
func (d *lettersDriver) end() {
	d.stop()
	for _, l := range []*brokerLink{d.link, d.out} {
		if l != nil {
			l.hangUp()
		}
	}
	d.link = nil
}

// await consumes turnQueue. Its active consumer has the turn.
func (d *lettersDriver) await() {
	m := d.m
	if !m.r.broker.reachable(m) {
		m.after(leadRetry, d.await)
		return
	}
	var l *brokerLink
	l = m.r.broker.dial(m, func(e rabbitmodel.Event) { d.take(l, e) }, func() { d.lost(l) })
	d.link, d.turn = l, eventlog.Turn{}
	l.do(func(ch *rabbitmodel.Channel) {
		ch.QueueDeclare(turnQueue, rabbitmodel.Args{Type: rabbitmodel.Quorum, Single: true})
		ch.Consume(turnQueue, "turn", false, rabbitmodel.Begin{})
	})
	d.publish(rabbitmodel.Message{Key: turnQueue}, func(ok bool) { // the queue may be empty
		if !ok && d.link == l {
			l.end()
		}
	})
}

// lost ends the turn if this node had it, and consumes the queue again.
func (d *lettersDriver) lost(l *brokerLink) {
	if d.link != l {
		return
	}
	d.link = nil
	d.stop()
	d.m.after(leadRetry, d.await)
}

func (d *lettersDriver) stop() {
	if d.reading != nil {
		d.reading.end()
	}
	d.reading, d.tasks = nil, nil
}

// take handles a message of turnQueue: the offset up to which dead letters are
// written.
func (d *lettersDriver) take(l *brokerLink, e rabbitmodel.Event) {
	if e.Kind != rabbitmodel.Delivery || d.link != l {
		return
	}
	letGo, first := d.turn.Take(e.Tag, e.Message.Body)
	if letGo != 0 {
		l.do(func(ch *rabbitmodel.Channel) { ch.Ack(letGo, false) })
	}
	if first {
		d.m.after(eventlog.TurnSettles, func() {
			if d.link == l {
				(&logEnd{d: d, link: l}).look()
			}
		})
	}
}

// A logEnd finds the end of the log for a turn that begins.
type logEnd struct {
	d      *lettersDriver
	link   *brokerLink
	source *source
}

func (e *logEnd) look() {
	e.source = openSource(e.d.m, eventlog.Start{From: eventlog.FromNext, Window: 1}, e)
}

func (e *logEnd) sourceOpened(s *source) {
	e.source = nil
	s.hangUp()
	e.found(eventlog.Offset{Log: s.info.Identity, Position: s.info.Behind})
}

func (e *logEnd) sourceTook(*source, eventlog.Entry) {}
func (e *logEnd) idle() bool                         { return false }

func (e *logEnd) sourceEnded(*source) { e.found(eventlog.Offset{}) }

// found begins the turn with the end of the log. The first turn of all stores it.
func (e *logEnd) found(end eventlog.Offset) {
	d, done := e.d, e.d.turn.Done
	if d.link != e.link {
		return
	}
	if done.Log != "" || end.Position == 0 {
		d.lead(done, end)
		return
	}
	d.m.r.judge.beforeFirstTurn(end)
	d.note(end, func(ok bool) {
		if ok {
			done = end // the next turn begins here
		}
		if d.link == e.link {
			d.lead(done, end)
		}
	})
}

// lead begins to write dead letters after the offset done.
func (d *lettersDriver) lead(done, end eventlog.Offset) {
	d.m.r.count("turn at dead letters")
	d.m.r.judge.turnBegins(d, done)
	d.m.r.trace(d.m.name, "writes the dead letters behind %v, the log ends at %v", done, end)
	start, identity := d.sorting.Begin(done, end)
	d.reading = &logReader{}
	d.reading.init(d.m, d)
	d.reading.reader.Expect(identity)
	d.reading.input(eventlog.Input{Kind: eventlog.Begin, Start: start})
}

// The following methods make the lettersDriver a logClient.

func (d *lettersDriver) full() bool { return len(d.tasks) > 0 }

func (d *lettersDriver) hand(e *eventlog.Entry) {
	d.work(d.sorting.Take(d.reading.reader.Identity(), e))
}

func (d *lettersDriver) told(out *eventlog.Output) {
	if out.Kind == eventlog.Skipped {
		d.work(d.sorting.Skipped(d.reading.reader.Identity(), out.Position))
	}
}

func (d *lettersDriver) begun(eventlog.From)  {}
func (d *lettersDriver) opened(eventlog.From) {}
func (d *lettersDriver) rested()              {}

// work executes tasks one after the other.
func (d *lettersDriver) work(tasks []upstream.Task) {
	d.tasks = slices.Clone(tasks)
	d.next()
}

func (d *lettersDriver) next() {
	if len(d.tasks) == 0 {
		return
	}
	reading, t := d.reading, d.tasks[0]
	finish := func(rest []upstream.Task) {
		if d.reading != reading {
			return // the turn is over
		}
		if d.tasks = rest; len(rest) > 0 {
			d.next()
		} else {
			reading.resume()
		}
	}
	switch t.Kind {
	case upstream.PutAside:
		d.publish(letterOf(&t.Letter), func(ok bool) {
			if ok {
				finish(d.tasks[min(1, len(d.tasks)):])
				return
			}
			d.m.after(letterRetry, func() {
				if d.reading == reading {
					d.next()
				}
			})
		})
	case upstream.Repeat:
		d.m.r.count("order repeated")
		d.repeat(&t, func(ok bool) {
			if ok {
				finish(d.tasks[min(1, len(d.tasks)):])
			} else {
				finish(nil)
			}
		})
	case upstream.Done:
		d.note(eventlog.Offset{Log: reading.reader.Identity(), Position: t.Position}, func(bool) {
			finish(d.tasks[min(1, len(d.tasks)):])
		})
	}
}

// repeat appends an order to the log again.
func (d *lettersDriver) repeat(t *upstream.Task, done func(ok bool)) {
	if d.m.appender == nil {
		d.publish(d.m.r.judge.repetition(t), done)
		return
	}
	d.m.appender.append(&t.Entry, func(err error) { done(err == nil) })
}

// letterOf returns the message of a dead letter.
func letterOf(l *eventlog.Letter) rabbitmodel.Message {
	return rabbitmodel.Message{
		Key: letterQueue, Body: string(l.Entry.Body), ID: eventlog.Offset{Log: l.Log, Position: l.Entry.Position}.String(),
		Headers: map[string]string{"reason": l.Reason},
	}
}

// note stores in turnQueue up to which offset the dead letters are written.
func (d *lettersDriver) note(o eventlog.Offset, done func(ok bool)) {
	d.publish(rabbitmodel.Message{Key: turnQueue, Body: o.String()}, func(ok bool) {
		if ok {
			d.m.r.judge.offsetStored(o)
		}
		done(ok)
	})
}

// publish publishes a message. done is called with the result.
func (d *lettersDriver) publish(m rabbitmodel.Message, done func(ok bool)) {
	if d.out == nil && !d.dial() {
		d.m.after(d.m.r.between(netLeast, dialMost), func() { done(false) })
		return
	}
	l := d.out
	d.last++
	tag := d.last
	d.waiting[tag] = awaited{done, m.Key == streamName}
	l.do(func(ch *rabbitmodel.Channel) { ch.Publish(m, true) })
	d.m.after(confirmWait, func() {
		if d.out == l && d.waiting[tag].done != nil {
			l.end()
		}
	})
}

func (d *lettersDriver) dial() bool {
	m := d.m
	if !m.r.broker.reachable(m) {
		return false
	}
	back := false // a message was returned: there is no stream
	var l *brokerLink
	l = m.r.broker.dial(m, func(e rabbitmodel.Event) {
		switch e.Kind {
		case rabbitmodel.Return:
			back = true
		case rabbitmodel.Confirm:
			w := d.waiting[e.Tag]
			delete(d.waiting, e.Tag)
			ok := !e.Nack && !(w.stream && back)
			back = back && !w.stream
			w.done(ok)
		}
	}, func() {
		if d.out == l {
			d.fail()
		}
	})
	d.out, d.waiting, d.last = l, make(map[uint64]awaited), 0
	l.do(func(ch *rabbitmodel.Channel) {
		ch.QueueDeclare(letterQueue, rabbitmodel.Args{Type: rabbitmodel.Quorum})
		ch.QueueDeclare(turnQueue, rabbitmodel.Args{Type: rabbitmodel.Quorum, Single: true})
		ch.Confirms()
	})
	return true
}

// fail ends all waits after the end of the publishing connection.
func (d *lettersDriver) fail() {
	waiting, last := d.waiting, d.last
	d.out, d.waiting = nil, nil
	for tag := uint64(1); tag <= last; tag++ {
		if w := waiting[tag]; w.done != nil {
			w.done(false)
		}
	}
}
