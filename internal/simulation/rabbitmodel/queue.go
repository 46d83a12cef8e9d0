package rabbitmodel

import (
	"slices"
	"time"
)

// The types of queues, as in x-queue-type.
const (
	Classic = "classic"
	Quorum  = "quorum"
	Stream  = "stream"
)

// Args are the arguments of a queue declaration; a zero field is not sent.
type Args struct {
	Type           string        // "" stands for Classic
	MaxLength      int           // x-max-length
	RejectPublish  bool          // x-overflow: reject-publish; otherwise the oldest messages are dropped
	Single         bool          // x-single-active-consumer
	MaxBytes       int           // x-max-length-bytes, of streams
	SegmentBytes   int           // x-stream-max-segment-size-bytes
	MaxAge         time.Duration // x-max-age
	Identification string        // stands for any other argument: a different one is a different queue
}

// A Queue is a durable queue. It belongs to the broker's goroutine.
type Queue struct {
	Name string
	Args Args

	broker    *Broker
	ready     []item
	consumers []*consumer
	turns     []*consumer // consumers with credit, in the order in which they are served
	dirty     bool
	log       *log // of a stream, else nil
	open      []pending
}

// An item is a message in a classic or quorum queue.
type item struct {
	message   *Message
	seq       uint64 // place in the queue
	delivered bool   // it was delivered before
	offset    int64  // position in a stream, else -1
}

// A consumer is a subscription of a channel to a queue. In a stream, credit may
// become negative, because a chunk is sent whole.
type consumer struct {
	channel *Channel
	queue   *Queue
	tag     string
	noAck   bool
	credit  int   // deliveries that may still be sent, if limited
	limited bool  // there is a prefetch limit
	next    int64 // of a stream: position of the next message
}

// QueueDeclare declares a durable queue. It succeeds if the queue exists with the
// same arguments.
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

// QueueInspect declares a queue passively: it must exist.
func (ch *Channel) QueueInspect(name string) {
	ch.withQueue(name, func(q *Queue) {
		ch.emit(Event{Kind: Done, Messages: q.count(), Consumers: len(q.consumers)})
	})
}

// withQueue calls f with a queue; the channel is closed when it does not exist.
func (ch *Channel) withQueue(name string, f func(q *Queue)) {
	ch.method(func() {
		if q := ch.conn.broker.queues[name]; q != nil {
			f(q)
		} else {
			ch.fail(404, "NOT_FOUND - no queue '%s' in vhost '/'", name)
		}
	})
}

// count returns the number of ready messages that a declaration reports. For a
// stream a broker reports a number that lags behind; the model reports 0.
func (q *Queue) count() int { return len(q.ready) }

// QueueDelete deletes a queue with its messages, if it exists.
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

// CancelConsumers cancels all consumers, as the broker does when the leader of
// the queue is lost.
func (q *Queue) CancelConsumers() {
	for _, c := range slices.Clone(q.consumers) {
		c.channel.forget(c)
		q.dropConsumer(c)
		c.channel.emit(Event{Kind: Cancelled, Consumer: c.tag})
	}
}

// QueuePurge removes the ready messages.
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

// publish adds a message to the queue.
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

// slack returns by how many messages a queue with reject-publish exceeds its
// limit: a quorum queue rejects only after one message too many.
func (q *Queue) slack() int {
	if q.Args.Type == Quorum && q.Args.RejectPublish {
		return 1
	}
	return 0
}

// touch records that the queue may have messages to deliver.
func (q *Queue) touch() {
	if !q.dirty {
		q.dirty = true
		q.broker.dirty = append(q.broker.dirty, q)
	}
}

// deliver sends consumers the messages for which they have credit.
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

// nextConsumer returns the consumer for the next message, nil for none. Consumers
// with credit take turns.
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

// lineUp appends a consumer to the turns if it has credit.
func (q *Queue) lineUp(c *consumer) {
	if c.ready() && slices.Contains(q.consumers, c) && !slices.Contains(q.turns, c) {
		q.turns = append(q.turns, c)
	}
}

// send sends a delivery to the consumer's channel.
func (c *consumer) send(x item) {
	ch := c.channel
	ch.lastTag++
	c.credit--
	if !c.noAck {
		ch.unacked = append(ch.unacked, unacked{ch.lastTag, c.queue, c, x})
	}
	ch.emit(Event{Kind: Delivery, Tag: ch.lastTag, Consumer: c.tag, Message: x.message, Offset: x.offset, Redelivered: x.delivered})
}

// Begin is the place in a stream at which a consumer begins: x-stream-offset.
type Begin struct {
	At     string        // "next", "first", "last"; "" with Offset or Since
	Offset int64         // a position
	Since  time.Duration // chunks from then on; used when At is "timestamp"
}

// Next is the place behind the last message of a stream.
var Next = Begin{At: "next"}

// Consume subscribes to a queue; the deliveries carry the consumer's tag.
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

// Cancel ends a consumer. Its unacknowledged deliveries stay unacknowledged.
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

// Ack acknowledges a delivery and, with multiple, all before it.
func (ch *Channel) Ack(tag uint64, multiple bool) { ch.answer(tag, multiple, false, false) }

// Nack rejects a delivery: it is requeued or dropped.
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

// requeue puts an item back at its old place in the queue.
func (q *Queue) requeue(x item) {
	if q.log != nil || q.broker.queues[q.Name] != q {
		return
	}
	x.delivered = true
	i, _ := slices.BinarySearchFunc(q.ready, x.seq, func(o item, seq uint64) int { return int(o.seq) - int(seq) })
	q.ready = slices.Insert(q.ready, i, x)
	q.touch()
}

// Len returns the number of ready messages.
func (q *Queue) Len() int { return len(q.ready) }

// Ready returns the ready messages, the oldest first.
func (q *Queue) Ready() (list []*Message) {
	for _, x := range q.ready {
		list = append(list, x.message)
	}
	return list
}

// Active returns the channel of the active consumer of a queue with
// x-single-active-consumer, nil when there is none.
func (q *Queue) Active() *Channel {
	if len(q.consumers) == 0 {
		return nil
	}
	return q.consumers[0].channel
}
