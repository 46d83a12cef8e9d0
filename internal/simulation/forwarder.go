package simulation

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	forwardQueue  = "events.forward"
	forwardWindow = 256 // messages under way to the log
	forwardRetry  = time.Second
)

// A forwarder does what rabbitmq.Forwarder does: it appends the events that
// services publish to RabbitMQ to the log in Redis. It belongs to its machine.
type forwarder struct {
	m       *machine
	link    *brokerLink // nil: none is open
	waiting []*forwarded
}

// A forwarded is a message on its way to the log.
type forwarded struct {
	tag  uint64
	done bool
}

func (d *forwarder) begin() {
	m := d.m
	if !m.r.broker.reachable(m) {
		m.after(forwardRetry, d.begin)
		return
	}
	var l *brokerLink
	l = m.r.broker.dial(m, func(e rabbitmodel.Event) { d.take(l, e) }, func() {
		if d.link == l {
			d.link, d.waiting = nil, nil
			m.after(forwardRetry, d.begin)
		}
	})
	d.link, d.waiting = l, nil
	l.do(func(ch *rabbitmodel.Channel) {
		ch.QueueDeclare(forwardQueue, rabbitmodel.Args{Type: rabbitmodel.Quorum, Single: true})
		ch.Bind(forwardQueue, "#", exchange)
		ch.Qos(forwardWindow)
		ch.Consume(forwardQueue, "forward", false, rabbitmodel.Begin{})
	})
}

func (d *forwarder) take(l *brokerLink, e rabbitmodel.Event) {
	if e.Kind != rabbitmodel.Delivery || d.link != l {
		return
	}
	w := &forwarded{tag: e.Tag}
	d.waiting = append(d.waiting, w)
	entry := forwardedEntry(e.Message)
	d.append(l, w, entry)
}

// append appends a message to the log. It tries again until that succeeds.
func (d *forwarder) append(l *brokerLink, w *forwarded, entry eventlog.Entry) {
	d.m.appender.append(&entry, func(err error) {
		switch {
		case d.link != l:
		case err != nil:
			d.m.after(forwardRetry, func() {
				if d.link == l {
					d.append(l, w, entry)
				}
			})
		default:
			w.done = true
			d.acknowledge(l)
		}
	})
}

// acknowledge acknowledges the messages that the log has, in order.
func (d *forwarder) acknowledge(l *brokerLink) {
	for len(d.waiting) > 0 && d.waiting[0].done {
		w := d.waiting[0]
		d.waiting = d.waiting[1:]
		l.do(func(ch *rabbitmodel.Channel) { ch.Ack(w.tag, false) })
	}
}

// forwardedEntry converts a message to an entry, as upstream/rabbitmq does. The
// trace of the entry has the number of the event, for the judge.
func forwardedEntry(m *rabbitmodel.Message) eventlog.Entry {
	return eventlog.Entry{
		Exchange: m.Exchange, Key: m.Key, MessageID: m.ID, AppID: m.App, Trace: strconv.Itoa(numberOf(m)),
		Published: epoch.Add(m.At), Body: []byte(m.Body),
	}
}

// post publishes an event over HTTP to a node. It tries again if that fails or is
// not answered in time.
func (s *service) post(e *event) {
	r := s.r
	m := r.nodes[s.rng.IntN(len(r.nodes))]
	if e.bad {
		return // the node refuses it for good
	}
	again := func() {
		s.todo = append(s.todo, e)
		s.later()
	}
	if !m.up || m.leaving {
		again()
		return
	}
	s.posting++
	e.tries++
	line := newLine(netLeast, netMost, &m.slow)
	up, back := channel{s: &r.schedule, line: line}, channel{s: &r.schedule, line: line}
	over := false
	end := func(do func()) {
		if !over {
			over, line.open = true, false
			s.posting--
			do()
		}
	}
	body := e.body(r.config.Clients, r.config.Rooms)
	r.trace("service", "posts event %d to %v, %s %s", e.number, m, e.key, body)
	up.send(m.alive(func() {
		now := m.now()
		if m.skew.Abs() > skewMost { // an order from the future would refuse tokens until that time
			now = epoch.Add(r.now)
		}
		entry := eventlog.Entry{
			Key: e.key, MessageID: strconv.Itoa(e.number / 2), Trace: strconv.Itoa(e.number), Published: now, Body: []byte(body),
		}
		m.appender.append(&entry, func(err error) {
			back.send(func() {
				end(func() {
					if err != nil {
						again()
					} else {
						r.judge.confirmed(e)
					}
				})
			})
		})
	}))
	r.after(publishWait, func() { end(again) })
}
