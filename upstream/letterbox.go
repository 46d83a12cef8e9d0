package upstream

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	letterBatch    = 64               // dead letters published before their confirms are awaited
	confirmTimeout = 10 * time.Second // for RabbitMQ to confirm a batch
)

// A letter is poison on its way to the dead letters.
type letter struct {
	message amqp.Publishing
	acks    *ackTracker // holds the original
	tag     uint64
	alive   context.Context // of the link the original came by
}

// A letterbox publishes dead letters, over a connection of its own: RabbitMQ
// stops reading from those that publish when it is short of memory or disk,
// and acknowledgements must go on. Owned by the goroutine of run; put is safe
// to call from anywhere.
type letterbox struct {
	consumer *Consumer
	queue    string
	in       chan letter // never closed

	conn     *amqp.Connection // nil until there is a letter
	channel  *amqp.Channel
	returned chan amqp.Return
}

func newLetterbox(c *Consumer) *letterbox {
	return &letterbox{consumer: c, queue: letterQueue(c.config.QueuePrefix), in: make(chan letter, letterBatch)}
}

// put hands a letter over. It waits while RabbitMQ does not take the ones
// before.
func (b *letterbox) put(ctx context.Context, l letter) error {
	select {
	case b.in <- l:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run publishes letters until ctx is cancelled.
func (b *letterbox) run(ctx context.Context) {
	defer b.disconnect()
	for {
		batch := b.next(ctx)
		if batch == nil {
			return
		}
		err := b.consumer.tryAgain(ctx, "publishing dead letters", func() (err error) {
			batch, err = b.publish(ctx, batch)
			return err
		})
		if err != nil {
			return
		}
	}
}

// next waits for a letter and takes with it what is there already; nil when
// ctx is over.
func (b *letterbox) next(ctx context.Context) (batch []letter) {
	select {
	case l := <-b.in:
		batch = append(batch, l)
	case <-ctx.Done():
		return nil
	}
	for len(batch) < letterBatch {
		select {
		case l := <-b.in:
			batch = append(batch, l)
		default:
			return batch
		}
	}
	return batch
}

// publish publishes a batch, waits for the confirms, releases the originals of
// those that are there, and returns the others.
func (b *letterbox) publish(ctx context.Context, batch []letter) (left []letter, err error) {
	batch = onlyAlive(batch)
	if len(batch) == 0 {
		return nil, nil
	}
	if err := b.connect(ctx); err != nil {
		return batch, err
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	confirms := make([]*amqp.DeferredConfirmation, len(batch))
	for i, l := range batch {
		// Mandatory: RabbitMQ confirms also what it had no queue for.
		confirms[i], err = b.channel.PublishWithDeferredConfirm("", b.queue, true, false, l.message)
		if err != nil {
			b.disconnect()
			return batch, err
		}
	}
	var good []letter
	for i, confirm := range confirms {
		if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
			left = append(left, batch[i])
			continue
		}
		good = append(good, batch[i])
	}
	return b.settle(good, left)
}

// settle releases the originals of good, unless some came back. left were not
// confirmed.
func (b *letterbox) settle(good, left []letter) ([]letter, error) {
	select {
	case <-b.returned: // comes before the confirm
		b.disconnect() // and declares the queue anew
		return append(good, left...), fmt.Errorf("there is no queue %s", b.queue)
	default:
	}
	for _, l := range good {
		l.acks.release(l.tag)
	}
	b.consumer.count.deadLetters.Add(int64(len(good)))
	if len(left) > 0 {
		b.disconnect()
		return left, fmt.Errorf("RabbitMQ did not confirm %d dead letters", len(left))
	}
	return nil, nil
}

// onlyAlive drops letters whose original will be delivered again, because the
// link it came by is no more.
func onlyAlive(batch []letter) (alive []letter) {
	for _, l := range batch {
		if l.alive.Err() == nil {
			alive = append(alive, l)
		}
	}
	return alive
}

// connect makes sure that there is a connection.
func (b *letterbox) connect(ctx context.Context) error {
	if b.conn != nil && !b.conn.IsClosed() && !b.channel.IsClosed() {
		return nil
	}
	b.disconnect()
	var err error
	if b.conn, err = dialFirst(ctx, b.consumer.config.Addresses, "dead letters"); err != nil {
		return err
	}
	return b.prepare()
}

func (b *letterbox) prepare() error {
	d := declarer{conn: b.conn}
	if _, err := d.queue(b.queue, letterArgs()); err != nil {
		b.disconnect()
		return fmt.Errorf("declare queue %s: %w", b.queue, err)
	}
	var err error
	if b.channel, b.returned, err = confirming(b.conn); err != nil {
		b.disconnect()
	}
	return err
}

func (b *letterbox) disconnect() {
	if b.conn != nil {
		hangUp(b.conn)
	}
	b.conn, b.channel, b.returned = nil, nil, nil
}
