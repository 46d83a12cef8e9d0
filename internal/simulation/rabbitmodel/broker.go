package rabbitmodel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Unsupported is what the model panics with when it is asked for something it
// does not model.
type Unsupported struct{ What string }

// Error implements error.
func (u Unsupported) Error() string { return "rabbitmodel does not model: " + u.What }

// A Message is what is published. It is not changed afterwards.
type Message struct {
	Exchange, Key string
	ID, App       string
	Headers       map[string]string
	Body          string
	At            time.Duration // when it was published
}

// A Kind says what the broker sends.
type Kind uint8

// What a broker sends.
const (
	Done             Kind = iota // the answer to a method that has one
	Delivery                     // Tag, Consumer, Message, Offset
	Got                          // the answer to Get; Message nil: the queue is empty
	Confirm                      // Tag, Multiple, Nack
	Return                       // Message: it was mandatory and went nowhere
	Cancelled                    // Consumer: its queue is gone
	ChannelClosed                // Code, Text
	ConnectionClosed             // Code, Text; Code 0: the connection was lost
	Blocked                      // the broker reads no more from this connection
	Unblocked
)

// An Event is one thing the broker sends. Offset is -1 but for streams.
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
	Messages    int // Done of a declaration or deletion, Got: what is left
	Consumers   int
}

// A Broker is one node of RabbitMQ. Owned by one goroutine.
type Broker struct {
	ChunkHead bool // see the package

	// OwnPositions is how many positions a stream uses itself when it begins a
	// segment: 1 with RabbitMQ 3.10.
	OwnPositions int64

	now       time.Duration
	exchanges map[string]*exchange
	queues    map[string]*Queue
	conns     []*Conn
	alarm     bool
	lastID    int
	dirty     []*Queue // that may have something to deliver
}

// An exchange routes messages to queues by its bindings.
type exchange struct {
	kind     string
	bindings []binding
}

// A binding sends messages with a routing key to a queue.
type binding struct{ queue, key string }

// A Conn is a connection of a client. Owned like its broker.
type Conn struct {
	Out    []Event
	Closed bool

	id       int
	broker   *Broker
	channels map[int]*Channel
	lastID   int
	blocked  bool
	waiting  []func() // methods that are not read because the connection is blocked
}

// A Channel is one of a connection. Its methods do nothing when it is closed.
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

// An unacked is a delivery that waits for its acknowledgement.
type unacked struct {
	tag      uint64
	queue    *Queue
	consumer *consumer // nil: it was got
	item     item
}

// New returns a broker with the default exchange.
func New() *Broker {
	return &Broker{exchanges: map[string]*exchange{}, queues: map[string]*Queue{}}
}

// Advance tells the time.
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

// ID is the channel's number on its connection.
func (ch *Channel) ID() int { return ch.id }

// method has f done now, or when the connection is read again.
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

// fail closes the channel, or its connection for the codes that end that.
func (ch *Channel) fail(code int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if code >= 500 {
		ch.conn.end(code, text)
		return
	}
	ch.emit(Event{Kind: ChannelClosed, Code: code, Text: text})
	ch.close()
}

// close requeues what is unacknowledged and ends the consumers.
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

// Close ends the channel as its client asks for.
func (ch *Channel) Close() { ch.method(func() { ch.close(); ch.emit(Event{Kind: Done}) }) }

// Kill closes the channel as the broker does, for an acknowledgement that did
// not come in time for example.
func (ch *Channel) Kill(code int, text string) {
	if !ch.Closed && !ch.conn.Closed {
		ch.fail(code, "%s", text)
		ch.conn.broker.deliver()
	}
}

// Close ends the connection; the broker notices at once.
func (c *Conn) Close() {
	if !c.Closed {
		c.end(0, "")
		c.broker.deliver()
	}
}

// Kill ends the connection as an operator does.
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

// Confirms has publishes of the channel confirmed from here on.
func (ch *Channel) Confirms() {
	ch.method(func() { ch.confirms = true; ch.emit(Event{Kind: Done}) })
}

// Qos is how many deliveries a consumer that comes from here on may have
// unacknowledged.
func (ch *Channel) Qos(prefetch int) {
	ch.method(func() { ch.prefetch = prefetch; ch.emit(Event{Kind: Done}) })
}

// ExchangeDeclare makes a durable exchange.
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

// Bind has what is published to an exchange with keys like key go to a queue.
func (ch *Channel) Bind(queue, key, exchange string) { ch.bind(queue, key, exchange, true) }

// Unbind takes a binding back.
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

// route returns the queues that get a message, each once.
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

// topic compares words: * is one, # any number.
func topic(pattern, key []string) bool {
	if len(pattern) == 0 {
		return len(key) == 0
	}
	if pattern[0] == "#" {
		return topic(pattern[1:], key) || len(key) > 0 && topic(pattern, key[1:])
	}
	return len(key) > 0 && (pattern[0] == "*" || pattern[0] == key[0]) && topic(pattern[1:], key[1:])
}

// A publish waits until every queue has it.
type publish struct {
	channel *Channel
	tag     uint64 // 0: no confirm
	left    int
	nack    bool
}

// Publish sends a message; its confirm's tag is its number on this channel.
// While an alarm holds, a connection that publishes is not read any more.
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

// settle confirms when no queue is missing any more.
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

// Alarm begins or ends a shortage of memory or disk.
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

// Restart ends all connections. Queues and what they had confirmed stay; what
// was published and not confirmed yet is lost.
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

// Queue returns a queue for looking at, nil when there is none.
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
