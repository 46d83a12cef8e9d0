package rabbitmodel

import (
	"slices"
	"time"
)

// The types of queues, as x-queue-type has them.
const (
	Classic = "classic"
	Quorum  = "quorum"
	Stream  = "stream"
)

// Args are a queue's arguments; what is zero is not given.
type Args struct {
	Type           string        // "" stands for Classic
	MaxLength      int           // x-max-length
	RejectPublish  bool          // x-overflow: reject-publish; else the oldest go
	Single         bool          // x-single-active-consumer
	MaxBytes       int           // x-max-length-bytes, of streams
	SegmentBytes   int           // x-stream-max-segment-size-bytes
	MaxAge         time.Duration // x-max-age
	Identification string        // any other argument, which makes it another queue
}

// A Queue is a durable queue. Owned like its broker.
type Queue struct {
	Name string
	Args Args

	broker    *Broker
	ready     []item
	consumers []*consumer
	turns     []*consumer // who has credit, in the order in which they are served
	dirty     bool
	log       *log // of a stream
	open      []pending
}

// An item is a message in a classic or quorum queue.
type item struct {
	message   *Message
	seq       uint64 // its place in the queue
	delivered bool   // before
	offset    int64  // of a stream, else -1
}

// A consumer has deliveries sent to a channel. credit is not used by streams
// only: it may become negative there, because a chunk is sent whole.
type consumer struct {
	channel *Channel
	queue   *Queue
	tag     string
	noAck   bool
	credit  int // deliveries it may still be sent; without prefetch: ignored
	limited bool
	next    int64 // position, of a stream
}

// QueueDeclare makes a durable queue, or finds it.
func (ch *Channel) QueueDeclare(name string, args Args) {
	if args.Type == "" {
		args.Type = Classic
	}
	if args.Type == Stream && (args.MaxLength != 0 || args.RejectPublish || args.Single) {
		panic(Unsupported{"a stream with arguments of queues"})
	}
	ch.method(func() {
		b := ch.conn.broker
		q := b.queues[name]
		if q != nil && q.Args != args {
			ch.fail(406, "PRECONDITION_FAILED - inequivalent arg for queue '%s' in vhost '/'", name)
			return
		}
		if q == nil {
			q = &Queue{Name: name, Args: args, broker: b}
			if args.Type == Stream {
				q.log = newLog(args)
			}
			b.queues[name] = q
		}
		ch.emit(Event{Kind: Done, Messages: q.count(), Consumers: len(q.consumers)})
	})
}

// QueueInspect asks for a queue that must be there.
func (ch *Channel) QueueInspect(name string) {
	ch.withQueue(name, func(q *Queue) {
		ch.emit(Event{Kind: Done, Messages: q.count(), Consumers: len(q.consumers)})
	})
}

// withQueue calls f with a queue that must be there.
func (ch *Channel) withQueue(name string, f func(q *Queue)) {
	ch.method(func() {
		if q := ch.conn.broker.queues[name]; q != nil {
			f(q)
		} else {
			ch.fail(404, "NOT_FOUND - no queue '%s' in vhost '/'", name)
		}
	})
}

// count is what a declaration is told: messages that are ready. Of streams a
// broker tells a number that lags behind; the model tells 0.
func (q *Queue) count() int { return len(q.ready) }

// QueueDelete deletes a queue, if there is one, with all that it holds.
func (ch *Channel) QueueDelete(name string) {
	ch.method(func() {
		n := 0
		if q := ch.conn.broker.queues[name]; q != nil {
			n = q.count()
			q.Delete()
		}
		ch.emit(Event{Kind: Done, Messages: n})
	})
}

// Delete deletes the queue and cancels its consumers.
func (q *Queue) Delete() {
	b := q.broker
	delete(b.queues, q.Name)
	for _, x := range b.exchanges {
		x.bindings = slices.DeleteFunc(x.bindings, func(o binding) bool { return o.queue == q.Name })
	}
	open := q.open
	q.open = nil
	for _, p := range open {
		p.publish.done(false)
	}
	q.CancelConsumers()
	q.ready = nil
}

// CancelConsumers tells all consumers that they are consumers no more, as when
// the queue's leader is lost.
func (q *Queue) CancelConsumers() {
	for _, c := range slices.Clone(q.consumers) {
		c.channel.forget(c)
		q.dropConsumer(c)
		c.channel.emit(Event{Kind: Cancelled, Consumer: c.tag})
	}
}

// QueuePurge removes what is ready.
func (ch *Channel) QueuePurge(name string) {
	ch.withQueue(name, func(q *Queue) {
		if q.log != nil {
			ch.fail(540, "NOT_IMPLEMENTED - queue.purge not supported by stream queues queue '%s' in vhost '/'", name)
			return
		}
		n := len(q.ready)
		q.ready = nil
		ch.emit(Event{Kind: Done, Messages: n})
	})
}

// publish takes a message for the queue.
func (q *Queue) publish(m *Message, p *publish) {
	if q.log != nil {
		q.open = append(q.open, pending{m, p})
		return
	}
	if q.Args.MaxLength > 0 && len(q.ready) >= q.Args.MaxLength+q.slack() {
		if q.Args.RejectPublish {
			p.done(true)
			return
		}
		q.ready = q.ready[1:]
	}
	q.broker.lastID++
	q.ready = append(q.ready, item{message: m, seq: uint64(q.broker.lastID), offset: -1})
	p.done(false)
	q.touch()
}

// slack is how many messages beyond its limit a queue takes that rejects
// publishes: a quorum queue finds out with the one that is too many.
func (q *Queue) slack() int {
	if q.Args.Type == Quorum && q.Args.RejectPublish {
		return 1
	}
	return 0
}

// touch notes that the queue may have something to deliver.
func (q *Queue) touch() {
	if !q.dirty {
		q.dirty = true
		q.broker.dirty = append(q.broker.dirty, q)
	}
}

// deliver sends consumers what they have credit for.
func (b *Broker) deliver() {
	for len(b.dirty) > 0 {
		q := b.dirty[0]
		b.dirty = b.dirty[1:]
		q.dirty = false
		if q.log != nil {
			for _, c := range slices.Clone(q.consumers) {
				q.readStream(c)
			}
			continue
		}
		for len(q.ready) > 0 {
			c := q.nextConsumer()
			if c == nil {
				break
			}
			x := q.ready[0]
			q.ready = q.ready[1:]
			c.send(x)
		}
	}
}

// nextConsumer takes who is sent the next message, nil for nobody. Who has
// credit left waits for its next turn behind the others.
func (q *Queue) nextConsumer() *consumer {
	if q.Args.Single {
		if len(q.consumers) > 0 && q.consumers[0].ready() {
			return q.consumers[0]
		}
		return nil
	}
	if len(q.turns) == 0 {
		return nil
	}
	c := q.turns[0]
	q.turns = q.turns[1:]
	if !c.limited || c.credit > 1 {
		q.turns = append(q.turns, c)
	}
	return c
}

func (c *consumer) ready() bool { return !c.limited || c.credit > 0 }

// lineUp has a consumer served that has got credit.
func (q *Queue) lineUp(c *consumer) {
	if c.ready() && slices.Contains(q.consumers, c) && !slices.Contains(q.turns, c) {
		q.turns = append(q.turns, c)
	}
}

// send sends a delivery.
func (c *consumer) send(x item) {
	ch := c.channel
	ch.lastTag++
	c.credit--
	if !c.noAck {
		ch.unacked = append(ch.unacked, unacked{ch.lastTag, c.queue, c, x})
	}
	ch.emit(Event{Kind: Delivery, Tag: ch.lastTag, Consumer: c.tag, Message: x.message, Offset: x.offset, Redelivered: x.delivered})
}

// Begin says where a consumer of a stream begins.
type Begin struct {
	At     string        // "next", "first", "last"; "" with Offset or Since
	Offset int64         // a position
	Since  time.Duration // chunks from then on; used when At is "timestamp"
}

// Next is the end of a stream.
var Next = Begin{At: "next"}

// Consume has a queue's messages delivered with a consumer's tag.
func (ch *Channel) Consume(queue, tag string, noAck bool, begin Begin) {
	ch.withQueue(queue, func(q *Queue) {
		switch {
		case slices.ContainsFunc(ch.consumers, func(c *consumer) bool { return c.tag == tag }):
			ch.fail(530, "NOT_ALLOWED - attempt to reuse consumer tag '%s'", tag)
			return
		case q.log != nil && noAck:
			ch.fail(540, "NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queues queue '%s' in vhost '/'", queue)
			return
		case q.log != nil && ch.prefetch == 0:
			ch.fail(406, "PRECONDITION_FAILED - consumer prefetch count is not set for 'queue '%s' in vhost '/''", queue)
			return
		}
		c := &consumer{channel: ch, queue: q, tag: tag, noAck: noAck, credit: ch.prefetch, limited: ch.prefetch > 0 && !noAck}
		if q.log != nil {
			c.next = q.log.begin(begin, q.broker.ChunkHead)
		}
		ch.consumers = append(ch.consumers, c)
		q.consumers = append(q.consumers, c)
		q.lineUp(c)
		ch.emit(Event{Kind: Done, Consumer: tag})
		q.touch()
	})
}

// Cancel ends a consumer; what it was sent stays to be acknowledged.
func (ch *Channel) Cancel(tag string) {
	ch.method(func() {
		for _, c := range ch.consumers {
			if c.tag == tag {
				ch.forget(c)
				c.queue.dropConsumer(c)
				break
			}
		}
		ch.emit(Event{Kind: Done, Consumer: tag})
	})
}

func (ch *Channel) forget(c *consumer) {
	if i := slices.Index(ch.consumers, c); i >= 0 {
		ch.consumers = slices.Delete(ch.consumers, i, i+1)
	}
}

func (q *Queue) dropConsumer(c *consumer) {
	i := slices.Index(q.consumers, c)
	if i < 0 {
		return
	}
	q.consumers = slices.Delete(q.consumers, i, i+1)
	if i := slices.Index(q.turns, c); i >= 0 {
		q.turns = slices.Delete(q.turns, i, i+1)
	}
	q.touch()
}

// Get asks for one message.
func (ch *Channel) Get(queue string, noAck bool) {
	ch.withQueue(queue, func(q *Queue) {
		if q.log != nil {
			ch.fail(540, "NOT_IMPLEMENTED - basic.get not supported by stream queues queue '%s' in vhost '/'", queue)
			return
		}
		if q.Args.Type == Quorum && q.Args.Single {
			ch.fail(405, "RESOURCE_LOCKED - cannot obtain access to locked queue '%s' in vhost '/'. basic.get operations are not supported by quorum queues with single active consumer", queue)
			return
		}
		if len(q.ready) == 0 {
			ch.emit(Event{Kind: Got})
			return
		}
		x := q.ready[0]
		q.ready = q.ready[1:]
		ch.lastTag++
		if !noAck {
			ch.unacked = append(ch.unacked, unacked{ch.lastTag, q, nil, x})
		}
		ch.emit(Event{Kind: Got, Tag: ch.lastTag, Message: x.message, Redelivered: x.delivered, Messages: len(q.ready), Offset: -1})
	})
}

// Ack acknowledges a delivery, with multiple all before it as well.
func (ch *Channel) Ack(tag uint64, multiple bool) { ch.answer(tag, multiple, false, false) }

// Nack gives a delivery back, or away.
func (ch *Channel) Nack(tag uint64, multiple, requeue bool) { ch.answer(tag, multiple, true, requeue) }

func (ch *Channel) answer(tag uint64, multiple, nack, requeue bool) {
	ch.method(func() {
		var done []unacked
		i, found := slices.BinarySearchFunc(ch.unacked, tag, func(u unacked, tag uint64) int { return int(u.tag) - int(tag) })
		switch {
		case multiple && (found || tag == 0):
			if tag == 0 {
				i = len(ch.unacked) - 1
			}
			done = slices.Clone(ch.unacked[:i+1])
			ch.unacked = slices.Delete(ch.unacked, 0, i+1)
		case found:
			done = []unacked{ch.unacked[i]}
			ch.unacked = slices.Delete(ch.unacked, i, i+1)
		default:
			ch.fail(406, "PRECONDITION_FAILED - unknown delivery tag %d", tag)
			return
		}
		for _, u := range done {
			if nack && u.queue.log != nil {
				ch.fail(540, "NOT_IMPLEMENTED - basic.nack and basic.reject not supported by stream queues queue '%s' in vhost '/'", u.queue.Name)
				return
			}
		}
		for i := len(done) - 1; i >= 0; i-- {
			u := done[i]
			if u.consumer != nil {
				u.consumer.credit++
				u.queue.lineUp(u.consumer)
			}
			if nack && requeue {
				u.queue.requeue(u.item)
			}
			u.queue.touch()
		}
	})
}

// requeue puts an item back to where it came from.
func (q *Queue) requeue(x item) {
	if q.log != nil || q.broker.queues[q.Name] != q {
		return
	}
	x.delivered = true
	i, _ := slices.BinarySearchFunc(q.ready, x.seq, func(o item, seq uint64) int { return int(o.seq) - int(seq) })
	q.ready = slices.Insert(q.ready, i, x)
	q.touch()
}

// Len returns how many messages are ready.
func (q *Queue) Len() int { return len(q.ready) }

// Ready returns the messages that are ready, the oldest first.
func (q *Queue) Ready() (list []*Message) {
	for _, x := range q.ready {
		list = append(list, x.message)
	}
	return list
}

// Active returns the channel of the consumer that is sent messages by a queue
// with a single active consumer, nil when there is none.
func (q *Queue) Active() *Channel {
	if len(q.consumers) == 0 {
		return nil
	}
	return q.consumers[0].channel
}
