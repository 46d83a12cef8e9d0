package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/rooms"
)

const (
	// ackBatch and ackDelay bound how long an event that is delivered stays
	// unacknowledged. Measured: with batches of 64 one connection takes 1.7
	// times as many events as with single acknowledgements.
	ackBatch = 64
	ackDelay = 5 * time.Millisecond

	// finishTimeout is for the last acknowledgements, at the end.
	finishTimeout = 2 * time.Second
)

// An intake takes the events of one queue over one link. Owned by the
// goroutine of run, but for acks, and channel, which is safe to share.
type intake struct {
	consumer   *Consumer
	route      *Route
	own        map[*Route]bool // of the link
	queue      string
	channel    *amqp.Channel
	deliveries <-chan amqp.Delivery
	closed     chan *amqp.Error
	cancelled  chan string
	acks       *ackTracker
	encoder    *Encoder
	memory     *recent

	taken    uint64 // number of the last delivery
	handed   uint64 // of the last one that is on its way
	unsynced int    // deliveries since the last Sync
}

// newIntake opens a channel for a route's queue.
func (l *link) newIntake(r *Route) (*intake, error) {
	c := l.consumer
	ch, err := l.conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Qos(c.config.Prefetch, 0, false); err != nil {
		return nil, err
	}
	return &intake{
		consumer: c, route: r, own: l.own, queue: QueueName(c.config.QueuePrefix, r), channel: ch,
		closed:    ch.NotifyClose(make(chan *amqp.Error, 1)),
		cancelled: ch.NotifyCancel(make(chan string, 1)),
		acks:      newAckTracker(),
		encoder:   NewEncoder(c.config.Table, c.config.MaxBody),
		memory:    c.memory[r],
	}, nil
}

// subscribe has RabbitMQ deliver. From now on the events must be taken: those
// that a connection loses on its way count as delivered, against the limit.
func (in *intake) subscribe() (err error) {
	if in.deliveries, err = in.channel.Consume(in.queue, "", false, false, false, false, nil); err != nil {
		return fmt.Errorf("consume from %s: %w", in.queue, err)
	}
	return nil
}

// run takes events until ctx is cancelled or alive, the link, has ended. The
// error says why the link has to end.
func (in *intake) run(ctx, alive context.Context) error {
	done := make(chan struct{})
	var acker sync.WaitGroup
	acker.Go(func() { in.acknowledge(done) })
	err := in.take(alive)
	if ctx.Err() != nil {
		in.finish()
	}
	close(done)
	acker.Wait()
	in.consumer.count.unacked.Add(-int64(in.taken - in.acks.acked)) // they will come again
	return err
}

// take is the loop over the queue's events.
func (in *intake) take(ctx context.Context) error {
	timer := time.NewTimer(ackDelay)
	timer.Stop()
	for {
		var err error
		select {
		case d, ok := <-in.deliveries:
			if !ok {
				return in.whyClosed()
			}
			if err = in.handle(ctx, &d); err != nil {
				return err
			}
			switch in.unsynced {
			case 1:
				timer.Reset(ackDelay)
			case ackBatch:
				timer.Stop()
				err = in.sync(ctx)
			}
		case <-timer.C:
			err = in.sync(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// whyClosed returns why there are no more deliveries.
func (in *intake) whyClosed() error {
	select {
	case <-in.cancelled:
		return fmt.Errorf("RabbitMQ has ended the consumption of %s: was the queue deleted?", in.queue)
	case err := <-in.closed:
		return linkError(err)
	}
}

// handle brings one event on its way: to its rooms, or to the dead letters.
func (in *intake) handle(ctx context.Context, d *amqp.Delivery) error {
	c := in.consumer
	c.count.received.Add(1)
	c.count.unacked.Add(1)
	in.taken = d.DeliveryTag
	err := in.deliver(ctx, d)
	if bad, ok := errors.AsType[*Poison](err); ok {
		in.acks.hold(d.DeliveryTag)
		c.reject(in.queue, bad)
		err = c.letters.put(ctx, letter{
			message: deadLetterOf(d, in.queue, in.keyOf(d), bad, time.Now()),
			acks:    in.acks, tag: d.DeliveryTag, alive: ctx,
		})
	}
	if err != nil {
		return err
	}
	in.handed = d.DeliveryTag
	in.unsynced++
	return nil
}

func (in *intake) deliver(ctx context.Context, d *amqp.Delivery) error {
	c := in.consumer
	key := in.keyOf(d)
	r := c.config.Table.Find(key)
	if r == nil {
		return poison(ReasonNoRoute, "no route for %s", clip([]byte(key)))
	}
	if in.isCopy(d, r) {
		c.count.passedOver.Add(1)
		return nil
	}
	now := time.Now()
	published := c.published(d, now)
	c.count.lag.Store(int64(max(now.Sub(published), 0)))
	event, err := in.encoder.encode(r, key, d.Body, published)
	if err != nil {
		return err
	}
	id, known := in.memory.identify(d.MessageId, event.ID)
	if known && d.Redelivered {
		c.count.duplicates.Add(1)
		return nil
	}
	for _, room := range event.Rooms {
		if err := in.broadcast(ctx, event.in(room)); err != nil {
			return err
		}
	}
	in.memory.add(id)
	logEvent(c.log, in.queue, key, d.MessageId, traceparent(d.Headers), &event)
	c.count.delivered.Add(1)
	c.count.rooms.Add(int64(len(event.Rooms)))
	return nil
}

// isCopy reports whether an event of route r comes by another queue as well,
// which is the one to take it from. What was put into this queue alone, by a
// replay, is no copy.
func (in *intake) isCopy(d *amqp.Delivery, r *Route) bool {
	home := r.carrier
	if r.start != nil {
		r = r.start
	}
	if in.own[r] {
		home = r
	}
	return home != in.route && d.Exchange != ""
}

// keyOf returns the event's key. A replayed event comes straight to the queue
// and has it in a header.
func (in *intake) keyOf(d *amqp.Delivery) string {
	if d.Exchange != "" {
		return d.RoutingKey
	}
	if key, ok := d.Headers[headerKey].(string); ok {
		return key
	}
	return strings.TrimPrefix(d.RoutingKey, in.consumer.config.QueuePrefix+".")
}

func (in *intake) broadcast(ctx context.Context, b rooms.Broadcast) error {
	if _, err := in.consumer.config.Rooms.Deliver(ctx, b); err == nil {
		return nil
	}
	return in.broadcastAgain(ctx, b)
}

func (in *intake) broadcastAgain(ctx context.Context, b rooms.Broadcast) error {
	return in.consumer.tryAgain(ctx, "delivering to "+b.Room, func() error {
		_, err := in.consumer.config.Rooms.Deliver(ctx, b)
		return err
	})
}

// sync has what was handed over acknowledged as soon as it is with its
// receivers.
func (in *intake) sync(ctx context.Context) error {
	tag, acks := in.handed, in.acks
	in.unsynced = 0
	return in.consumer.tryAgain(ctx, "waiting for the receivers of "+in.queue, func() error {
		return in.consumer.config.Rooms.Sync(ctx, func() { acks.pass(tag) })
	})
}

// finish acknowledges what is on its way, so that the next node does not
// deliver it again.
func (in *intake) finish() {
	if in.handed == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
	defer cancel()
	passed := make(chan struct{})
	tag := in.handed
	if err := in.consumer.config.Rooms.Sync(ctx, func() { in.acks.pass(tag); close(passed) }); err != nil {
		return
	}
	select {
	case <-passed:
	case <-ctx.Done():
	}
}

// acknowledge sends acknowledgements until done. When one fails the channel is
// closed, and RabbitMQ delivers again what was not acknowledged.
func (in *intake) acknowledge(done <-chan struct{}) {
	for {
		select {
		case <-in.acks.wake:
		case <-done:
			in.acknowledgeNext()
			return
		}
		in.acknowledgeNext()
	}
}

func (in *intake) acknowledgeNext() {
	tag, count := in.acks.next()
	if count > 0 && in.channel.Ack(tag, true) == nil {
		in.consumer.count.acked.Add(int64(count))
		in.consumer.count.unacked.Add(-int64(count))
	}
}
