package rabbitmodel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Unsupported is the panic value for a request that the model does not
// implement.
type Unsupported struct{ What string }

// Error implements error.
func (u Unsupported) Error() string { return "rabbitmodel does not model: " + u.What }

// A Message is a published message. It is immutable.
type Message struct {
	Exchange, Key string
	ID, App       string
	Headers       map[string]string
	Body          string
	At            time.Duration // when it was published
}

// A Kind says what an Event is.
type Kind uint8

// The kinds of events.
const (
	Done             Kind = iota // the reply to a method that has one
	Delivery                     // Tag, Consumer, Message, Offset
	Got                          // the answer to Get; Message nil: the queue is empty
	Confirm                      // Tag, Multiple, Nack
	Return                       // Message: a mandatory message that no queue got
	Cancelled                    // Consumer: its queue is gone
	ChannelClosed                // Code, Text
	ConnectionClosed             // Code, Text; Code 0: the connection was lost
	Blocked                      // the broker has stopped reading from this connection
	Unblocked
)

// An Event is something that the broker sends to a connection. Offset is -1
// except for deliveries of streams.
type Event struct {
	Kind        Kind
	Channel     int
	Tag         uint64
	Multiple    bool
	Nack        bool
	Redelivered bool
	Consumer    string
	Message     *Message
	Offset      int64
	Code        int
	Text        string
	Messages    int // of Done after a declaration or deletion, of Got: messages that are left
	Consumers   int
}

// A Broker is a RabbitMQ broker of one node. It belongs to one goroutine.
type Broker struct {
	ChunkHead bool // a reader also gets the head of its first chunk: see the package comment

	// OwnPositions is how many positions the stream itself uses at the beginning
	// of a segment: 1 with RabbitMQ 3.10.
	OwnPositions int64

	now       time.Duration
	exchanges map[string]*exchange
	queues    map[string]*Queue
	conns     []*Conn
	alarm     bool
	lastID    int
	dirty     []*Queue // queues that may have messages to deliver
}

// An exchange routes messages to queues by its bindings.
type exchange struct {
	kind     string
	bindings []binding
}

// A binding sends messages with a routing key to a queue.
type binding struct{ queue, key string }

// A Conn is a connection of a client. It belongs to the broker's goroutine.
type Conn struct {
	Out    []Event
	Closed bool

	id       int
	broker   *Broker
	channels map[int]*Channel
	lastID   int
	blocked  bool
	waiting  []func() // methods sent while the connection is blocked
}

// A Channel is a channel of a connection. The methods of a closed channel do
// nothing.
type Channel struct {
	Closed bool

	id        int
	conn      *Conn
	confirms  bool
	published uint64
	prefetch  int
	lastTag   uint64
	unacked   []unacked
	consumers []*consumer
}

// An unacked is a delivery without an acknowledgement.
type unacked struct {
	tag      uint64
	queue    *Queue
	consumer *consumer // nil: delivered by Get
	item     item
}

// New returns a broker with the default exchange.
func New() *Broker {
	return &Broker{exchanges: map[string]*exchange{}, queues: map[string]*Queue{}}
}

// Advance sets the time.
func (b *Broker) Advance(now time.Duration) { b.now = now }

// Connect opens a connection.
func (b *Broker) Connect() *Conn {
	b.lastID++
	c := &Conn{id: b.lastID, broker: b, channels: map[int]*Channel{}}
	b.conns = append(b.conns, c)
	return c
}

// Channel opens a channel.
func (c *Conn) Channel() *Channel {
	c.lastID++
	ch := &Channel{id: c.lastID, conn: c}
	c.channels[ch.id] = ch
	return ch
}

// ID returns the number of the channel on its connection.
func (ch *Channel) ID() int { return ch.id }

// method runs f now or, on a blocked connection, when the broker reads again.
func (ch *Channel) method(f func()) {
	if ch.conn.blocked && !ch.conn.Closed {
		ch.conn.waiting = append(ch.conn.waiting, func() { ch.method(f) })
		return
	}
	if ch.Closed || ch.conn.Closed {
		return
	}
	f()
	ch.conn.broker.deliver()
}

func (ch *Channel) emit(e Event) {
	e.Channel = ch.id
	if e.Kind != Delivery && e.Message == nil {
		e.Offset = -1
	}
	ch.conn.Out = append(ch.conn.Out, e)
}

// fail closes the channel, or the whole connection for the codes that close it.
func (ch *Channel) fail(code int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if code >= 500 {
		ch.conn.end(code, text)
		return
	}
	ch.emit(Event{Kind: ChannelClosed, Code: code, Text: text})
	ch.close()
}

// close requeues the unacknowledged deliveries and ends the consumers.
func (ch *Channel) close() {
	if ch.Closed {
		return
	}
	ch.Closed = true
	delete(ch.conn.channels, ch.id)
	consumers := ch.consumers
	ch.consumers = nil
	for _, c := range consumers {
		c.queue.dropConsumer(c)
	}
	back := ch.unacked
	ch.unacked = nil
	for i := len(back) - 1; i >= 0; i-- {
		back[i].queue.requeue(back[i].item)
	}
}

// Close closes the channel at the request of its client.
func (ch *Channel) Close() { ch.method(func() { ch.close(); ch.emit(Event{Kind: Done}) }) }

// Kill closes the channel on the broker's side, as for an acknowledgement that
// came too late.
func (ch *Channel) Kill(code int, text string) {
	if !ch.Closed && !ch.conn.Closed {
		ch.fail(code, "%s", text)
		ch.conn.broker.deliver()
	}
}

// Close closes the connection. The broker notices it at once.
func (c *Conn) Close() {
	if !c.Closed {
		c.end(0, "")
		c.broker.deliver()
	}
}

// Kill closes the connection as an operator does.
func (c *Conn) Kill(text string) {
	if !c.Closed {
		c.end(320, text)
		c.broker.deliver()
	}
}

func (c *Conn) end(code int, text string) {
	if c.Closed {
		return
	}
	c.Closed = true
	for _, id := range slices.Sorted(maps.Keys(c.channels)) {
		c.channels[id].close()
	}
	c.waiting = nil
	c.Out = append(c.Out, Event{Kind: ConnectionClosed, Code: code, Text: text, Offset: -1})
	if i := slices.Index(c.broker.conns, c); i >= 0 {
		c.broker.conns = slices.Delete(c.broker.conns, i, i+1)
	}
}

// Confirms enables confirms for later publishes of the channel.
func (ch *Channel) Confirms() {
	ch.method(func() { ch.confirms = true; ch.emit(Event{Kind: Done}) })
}

// Qos sets how many unacknowledged deliveries each later consumer of the channel
// may have.
func (ch *Channel) Qos(prefetch int) {
	ch.method(func() { ch.prefetch = prefetch; ch.emit(Event{Kind: Done}) })
}

// ExchangeDeclare declares a durable exchange.
func (ch *Channel) ExchangeDeclare(name, kind string) {
	if kind != "topic" && kind != "direct" && kind != "fanout" {
		panic(Unsupported{"exchanges of kind " + kind})
	}
	ch.method(func() {
		x := ch.conn.broker.exchanges[name]
		if x != nil && x.kind != kind {
			ch.fail(406, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange '%s' in vhost '/': received '%s' but current is '%s'", name, kind, x.kind)
			return
		}
		if x == nil {
			ch.conn.broker.exchanges[name] = &exchange{kind: kind}
		}
		ch.emit(Event{Kind: Done})
	})
}

// Bind routes messages whose keys match key from an exchange to a queue.
func (ch *Channel) Bind(queue, key, exchange string) { ch.bind(queue, key, exchange, true) }

// Unbind removes a binding.
func (ch *Channel) Unbind(queue, key, exchange string) { ch.bind(queue, key, exchange, false) }

func (ch *Channel) bind(queue, key, exchange string, on bool) {
	ch.method(func() {
		b := ch.conn.broker
		x := b.exchanges[exchange]
		switch {
		case on && b.queues[queue] == nil:
			ch.fail(404, "NOT_FOUND - no queue '%s' in vhost '/'", queue)
			return
		case on && x == nil:
			ch.fail(404, "NOT_FOUND - no exchange '%s' in vhost '/'", exchange)
			return
		}
		if x != nil {
			x.bindings = slices.DeleteFunc(x.bindings, func(o binding) bool { return o == binding{queue, key} })
			if on {
				x.bindings = append(x.bindings, binding{queue, key})
			}
		}
		ch.emit(Event{Kind: Done})
	})
}

// route returns the queues that get a message, each once. known is false if the
// exchange does not exist.
func (b *Broker) route(exchange, key string) (list []*Queue, known bool) {
	if exchange == "" {
		if q := b.queues[key]; q != nil {
			list = append(list, q)
		}
		return list, true
	}
	x := b.exchanges[exchange]
	if x == nil {
		return nil, false
	}
	for _, bound := range x.bindings {
		q := b.queues[bound.queue]
		if q != nil && !slices.Contains(list, q) && x.matches(bound.key, key) {
			list = append(list, q)
		}
	}
	return list, true
}

func (x *exchange) matches(pattern, key string) bool {
	switch x.kind {
	case "fanout":
		return true
	case "direct":
		return pattern == key
	}
	return topic(strings.Split(pattern, "."), strings.Split(key, "."))
}

// topic matches the words of a key: * stands for one word, # for any number.
func topic(pattern, key []string) bool {
	if len(pattern) == 0 {
		return len(key) == 0
	}
	if pattern[0] == "#" {
		return topic(pattern[1:], key) || len(key) > 0 && topic(pattern, key[1:])
	}
	return len(key) > 0 && (pattern[0] == "*" || pattern[0] == key[0]) && topic(pattern[1:], key[1:])
}

// A publish is a published message until all its queues have stored it.
type publish struct {
	channel *Channel
	tag     uint64 // 0: no confirm
	left    int
	nack    bool
}

// Publish sends a message. The tag of its confirm is its number on this channel.
// During an alarm the broker stops reading from a connection that publishes.
func (ch *Channel) Publish(m Message, mandatory bool) {
	ch.method(func() {
		b := ch.conn.broker
		if b.alarm {
			ch.conn.blocked = true
			ch.conn.Out = append(ch.conn.Out, Event{Kind: Blocked, Text: "low on memory", Offset: -1})
			ch.conn.waiting = append(ch.conn.waiting, func() { ch.Publish(m, mandatory) })
			return
		}
		m.At = b.now
		p := &publish{channel: ch}
		if ch.confirms {
			ch.published++
			p.tag = ch.published
		}
		queues, known := b.route(m.Exchange, m.Key)
		if !known {
			ch.fail(404, "NOT_FOUND - no exchange '%s' in vhost '/'", m.Exchange)
			return
		}
		if len(queues) == 0 && mandatory {
			ch.emit(Event{Kind: Return, Message: &m, Code: 312, Text: "NO_ROUTE", Offset: -1})
		}
		p.left = len(queues)
		for _, q := range queues {
			q.publish(&m, p)
		}
		if len(queues) == 0 {
			p.settle()
		}
	})
}

// settle sends the confirm when all queues have stored the message.
func (p *publish) settle() {
	if p.left == 0 && p.tag != 0 && !p.channel.Closed && !p.channel.conn.Closed {
		p.channel.emit(Event{Kind: Confirm, Tag: p.tag, Nack: p.nack})
	}
}

func (p *publish) done(nack bool) {
	p.left--
	p.nack = p.nack || nack
	p.settle()
}

// Alarm begins or ends a memory or disk alarm.
func (b *Broker) Alarm(on bool) {
	b.alarm = on
	if on {
		return
	}
	for _, c := range slices.Clone(b.conns) {
		if !c.blocked {
			continue
		}
		c.blocked = false
		c.Out = append(c.Out, Event{Kind: Unblocked, Offset: -1})
		waiting := c.waiting
		c.waiting = nil
		for _, f := range waiting {
			f()
		}
	}
	b.deliver()
}

// Restart closes all connections. Queues and confirmed messages stay; messages
// that were published and not yet confirmed are lost.
func (b *Broker) Restart() {
	for _, c := range slices.Clone(b.conns) {
		c.end(0, "")
	}
	for _, q := range b.queues {
		q.open = nil
	}
	b.dirty = b.dirty[:0]
	b.alarm = false
}

// Queue returns a queue for inspection, nil when it does not exist.
func (b *Broker) Queue(name string) *Queue { return b.queues[name] }

// Conns returns the open connections.
func (b *Broker) Conns() []*Conn { return slices.Clone(b.conns) }

// Channels returns the connection's open channels.
func (c *Conn) Channels() (list []*Channel) {
	for _, id := range slices.Sorted(maps.Keys(c.channels)) {
		list = append(list, c.channels[id])
	}
	return list
}
