package simulation

import (
	"fmt"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/backoff"
	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/presence"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Configuration of presence on the nodes, and of the connection on which its
// events are published, as in rabbitmq.Outlet.
const (
	presenceExchange = "presence"
	presenceQueue    = "presence.service"
	lastSeenTime     = 20 * time.Second

	outletRetryMin = 100 * time.Millisecond
	outletRetryMax = 5 * time.Second
	outletWait     = 5 * time.Second  // how long the core waits for a confirm
	confirmTimeout = 10 * time.Second // without a confirm for so long the connection is closed
)

// A presenceDriver drives a presence.Core and implements rooms.Presence, as
// cluster.Presence and rabbitmq.Outlet do. It belongs to its machine.
type presenceDriver struct {
	waker
	m    *machine
	core *presence.Core
	next time.Duration // time of the next scheduled act

	out     *brokerLink // connection on which events are published; nil: none
	ready   bool        // out is open and takes messages
	retries backoff.Backoff
	queue   []*publication // events without a confirm, the oldest first
	sent    int            // how many of these were sent on out
	first   uint64         // delivery tag of queue[0] on out
}

// A publication is a presence event that is being published.
type publication struct {
	event presence.Event
	began bool // it has been sent
	done  bool // the core knows the result
}

// newPresence returns the driver for presence; nil: the run has none.
func (m *machine) newPresence() *presenceDriver {
	r := m.r
	if !r.config.Presence {
		return nil
	}
	r.presence.cores++
	d := &presenceDriver{m: m, core: presence.New(presence.Config{
		Names: names, Node: fmt.Sprintf("p%d", r.presence.cores), Lease: leaseTime, Grace: r.presence.grace, LastSeen: lastSeenTime,
	})}
	d.waker = waker{of: m, act: d.act}
	d.retries = backoff.Backoff{Min: outletRetryMin, Max: outletRetryMax}
	return d
}

// presencePort returns the node's rooms.Presence; nil: the run has none.
func (m *machine) presencePort() rooms.Presence {
	if m.presence == nil {
		return nil
	}
	return m.presence
}

func (d *presenceDriver) begin() {
	if d == nil {
		return
	}
	d.m.after(0, d.connect)
	d.tick()
}

// tick calls act at regular times.
func (d *presenceDriver) tick() { d.m.after(tickTime, func() { d.act(); d.tick() }) }

// end closes the connections when the node dies.
func (d *presenceDriver) end() {
	if d == nil {
		return
	}
	d.m.r.presence.nodeGone(d.m)
	if d.out != nil {
		d.out.hangUp()
	}
}

// Counted implements rooms.Presence.
func (d *presenceDriver) Counted(room string, sockets int) {
	if !presence.Of(room) {
		return
	}
	d.m.r.presence.counted(d.m, room, sockets)
	d.core.Counted(room, sockets, d.m.now())
	d.wake()
}

// lost tells the core that Redis may have lost data.
func (d *presenceDriver) lost() {
	if d != nil {
		d.core.Lost(d.m.now())
		d.wake()
	}
}

// act sends the batches and publishes the events that are due.
func (d *presenceDriver) act() {
	m := d.m
	d.core.Ready(d.ready)
	d.core.Tick(m.now())
	for m.cluster.connected {
		b, ok := d.core.Take(m.now())
		if !ok {
			break
		}
		m.after(m.r.between(0, turnDelay), func() { d.execute(b) }) // the real driver uses one goroutine for each
	}
	for _, e := range d.core.Events() {
		d.publish(e)
	}
	if at := d.core.Next(m.now()); !at.IsZero() {
		when := max(m.when(at), m.r.now+time.Millisecond)
		if when < d.next || d.next <= m.r.now {
			d.next = when
			m.at(when, d.waker.act)
		}
	}
}

func (d *presenceDriver) execute(b presence.Batch) {
	m, c := d.m, d.m.cluster
	batch := wire.Batch{ID: b.ID, Commands: make([]wire.Command, len(b.Commands))}
	for i, x := range b.Commands {
		if batch.Commands[i] = x.Command; x.Script.Source() != "" {
			batch.Commands[i].Name, batch.Commands[i].Script = "EVAL", x.Script.Source()
		}
		if m.r.tracing() {
			m.r.trace(m.name, "presence %d: %v %v", b.ID, x.Script, x.Command)
		}
	}
	answer := func(replies []wire.Reply) {
		if m.r.tracing() {
			m.r.trace(m.name, "presence %d answers: %+v", b.ID, replies)
		}
		d.core.Reply(b.ID, replies, m.now())
		d.wake()
	}
	if c.connected && c.directory == nil {
		c.openDirectory()
	}
	if !c.connected || c.directory == nil {
		c.attemptFailed()
		m.after(m.r.between(netLeast, dialMost), func() { answer(failed(batch, errLost)) })
		return
	}
	c.directory.plain(batch, answer)
}

// leave removes the node's counts from Redis. It reports whether that is done, or
// Redis is unreachable.
func (d *presenceDriver) leave() bool {
	if d == nil || !d.m.node.IsConnected() {
		return true
	}
	d.core.Leave()
	d.wake()
	return d.core.Left()
}

// connect opens the connection on which events are published.
func (d *presenceDriver) connect() {
	m := d.m
	if !m.r.broker.reachable(m) {
		m.after(d.retries.Next(), d.connect)
		return
	}
	var l *brokerLink
	l = m.r.broker.dial(m, func(e rabbitmodel.Event) { d.take(l, e) }, func() { d.disconnected(l) })
	d.out, d.sent = l, 0
	l.do(func(ch *rabbitmodel.Channel) {
		ch.ExchangeDeclare(presenceExchange, "topic")
		ch.Confirms()
	})
}

func (d *presenceDriver) disconnected(l *brokerLink) {
	if d.out != l {
		return
	}
	d.out, d.ready = nil, false
	d.wake()
	d.m.after(d.retries.Next(), d.connect)
}

func (d *presenceDriver) take(l *brokerLink, e rabbitmodel.Event) {
	switch {
	case d.out != l:
	case e.Kind == rabbitmodel.Done && !d.ready:
		d.ready, d.first = true, 1
		d.retries.Reset()
		d.send()
		d.wake()
	case e.Kind == rabbitmodel.Confirm && e.Nack:
		l.end()
	case e.Kind == rabbitmodel.Confirm && e.Tag == d.first:
		t := d.queue[0]
		d.queue, d.first = d.queue[1:], d.first+1
		d.sent--
		d.settle(t, true)
	}
}

// publish appends an event to the queue, and sends it when possible.
func (d *presenceDriver) publish(e presence.Event) {
	t := &publication{event: e}
	d.queue = append(d.queue, t)
	d.m.after(outletWait, func() { d.settle(t, false) })
	d.send()
}

// settle passes the result of an event to the core, once. An event that was not
// sent by then is dropped, see send.
func (d *presenceDriver) settle(t *publication, ok bool) {
	if t.done {
		return
	}
	t.done = true
	d.core.Published(t.event, ok)
	d.wake()
}

// send sends the events that were not sent on this connection.
func (d *presenceDriver) send() {
	for d.ready && d.sent < len(d.queue) {
		t := d.queue[d.sent]
		if t.done && !t.began {
			d.queue = append(d.queue[:d.sent:d.sent], d.queue[d.sent+1:]...)
			continue
		}
		t.began = true
		e := &t.event
		m := rabbitmodel.Message{Exchange: presenceExchange, Key: e.Key, ID: e.ID, Body: string(e.Body()),
			Headers: map[string]string{roomHeader: e.Room, timeHeader: strconv.FormatInt(int64(e.At.Sub(epoch)), 10)}}
		l, tag := d.out, d.first+uint64(d.sent)
		d.sent++
		l.do(func(ch *rabbitmodel.Channel) { ch.Publish(m, false) })
		d.m.after(confirmTimeout, func() {
			if d.out == l && d.first <= tag {
				l.end()
			}
		})
	}
}
