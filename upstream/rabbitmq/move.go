package rabbitmq

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	moveEvery = time.Minute     // between two looks at queues that an older version still consumes
	moveRetry = 2 * time.Second // after a failure

	// moveIdle is how long a queue must deliver nothing to count as empty.
	moveIdle = time.Second

	forgetTimeout = 5 * time.Second
	forgetPause   = 100 * time.Millisecond

	headerMoved = "x-gateway-moved" // the queue that an entry was in
)

// MoveQueues moves the messages in queues of versions without the log into the
// log, and deletes the queues. A queue that has consumers is left to them and
// checked again later. It returns when no such queue is left, or when ctx is
// done. One node at a time calls it.
func (l *Log) MoveQueues(ctx context.Context) {
	m := mover{l.config, l.name, append(oldQueues(&l.config), oldQueue{
		forwardQueue(l.config.Prefix), "", l.config.Keys, "the queue used for the log in Redis was deleted",
	})}
	m.run(ctx)
}

// moveQueues moves the messages in queues of versions without the log into the
// queue that is forwarded, for a RabbitMQ without streams. Each queue has a
// single active consumer, so nodes that do it at the same time take turns.
func (f *Forwarder) moveQueues(ctx context.Context) {
	m := mover{f.config, forwardQueue(f.config.Prefix), oldQueues(&f.config)}
	m.run(ctx)
}

// A mover moves messages from queues into another one.
type mover struct {
	config Config
	to     string
	from   []oldQueue
}

func (o *mover) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := moveEvery
		left, err := o.moveAll(ctx)
		switch {
		case err == nil && left == 0:
			return
		case left == notYet:
			wait = moveRetry
		}
		if err != nil && ctx.Err() == nil {
			wait = moveRetry
			o.config.Logger.Warn("queues of an earlier version cannot be moved into the log, retrying", "error", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// notYet is returned instead of a number of queues while the log does not exist.
const notYet = -1

// An oldQueue is a queue that the gateway used before the log was a stream.
type oldQueue struct {
	name    string
	key     string   // of messages that came to it without an exchange
	bound   []string // the keys it is bound with
	deleted string   // what the gateway's log says when it is gone
}

// oldQueues returns the queue of each key in earlier versions.
func oldQueues(c *Config) (list []oldQueue) {
	for _, key := range c.Keys {
		name := c.Prefix + "." + key
		if name != StreamName(c.Prefix) && name != letterQueue(c.Prefix) && name != forwardQueue(c.Prefix) {
			list = append(list, oldQueue{name, key, []string{key}, "a queue of an earlier version was deleted"})
		}
	}
	return list
}

// moveAll returns how many queues are left to their consumers.
func (o *mover) moveAll(ctx context.Context) (left int, err error) {
	conn, err := dialFirst(ctx, o.config.Addresses, "moves queues", stepMax)
	if err != nil {
		return 0, err
	}
	defer conn.hangUp()
	stop := context.AfterFunc(ctx, conn.hangUp)
	defer stop()
	d := &declarer{conn: conn}
	if there, err := d.exists(o.to); err != nil || !there {
		return notYet, err // nothing is unbound before
	}
	for _, q := range o.from {
		if there, err := d.exists(q.name); err != nil {
			return left, err
		} else if !there {
			continue
		}
		moved, used, err := o.move(ctx, d, q)
		if err != nil {
			return left, err
		}
		if used {
			left++
			continue
		}
		o.config.Logger.Info(q.deleted, "queue", q.name, "movedToTheLog", moved)
	}
	return left, nil
}

// move empties a queue into the log and deletes it. used: it has consumers, and
// nothing was done.
func (o *mover) move(ctx context.Context, d *declarer, old oldQueue) (moved int, used bool, err error) {
	err = d.do(func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(old.name, true, false, false, false, nil)
		used = q.Consumers > 0
		return err
	})
	if err != nil || used {
		return 0, used, err
	}
	for _, exchange := range o.config.Exchanges {
		for _, key := range old.bound {
			if err := d.do(func(ch *amqp.Channel) error { return ch.QueueUnbind(old.name, key, exchange, nil) }); err != nil {
				return 0, false, err
			}
		}
	}
	if moved, err = o.empty(ctx, d, old.name, old.key); err != nil {
		return moved, false, err
	}
	return moved, false, d.do(func(ch *amqp.Channel) error {
		// RabbitMQ does not delete a quorum queue only if it is unused and empty,
		// and takes a moment to forget a consumer.
		q, err := ch.QueueDeclarePassive(old.name, true, false, false, false, nil)
		for until := time.Now().Add(forgetTimeout); err == nil && q.Consumers > 0 && time.Now().Before(until); {
			time.Sleep(forgetPause)
			q, err = ch.QueueDeclarePassive(old.name, true, false, false, false, nil)
		}
		if err == nil && q.Messages+q.Consumers > 0 {
			err = fmt.Errorf("queue %s has %d messages and %d consumers again", old.name, q.Messages, q.Consumers)
		}
		if err == nil {
			_, err = ch.QueueDelete(old.name, false, false, false)
		}
		return err
	})
}

// empty moves the messages of a queue. It consumes, because RabbitMQ allows no
// basic.get on a quorum queue with a single active consumer.
func (o *mover) empty(ctx context.Context, d *declarer, name, key string) (moved int, err error) {
	channel, returned, err := confirming(d.conn, maxReturns)
	if err != nil {
		return 0, err
	}
	defer d.conn.end(channel) // which ends the consumption
	if err := channel.Qos(1, 0, false); err != nil {
		return 0, err
	}
	messages, err := channel.Consume(name, "", false, false, false, false, nil)
	if err != nil {
		return 0, err
	}
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return moved, errClosed
			}
			if err := send(ctx, channel, returned, "", o.to, moving(&m, name, key)); err != nil {
				return moved, err
			}
			if err := m.Ack(false); err != nil {
				return moved, err
			}
			moved++
		case <-time.After(moveIdle):
			return moved, nil
		case <-ctx.Done():
			return moved, ctx.Err()
		}
	}
}

// moving returns the message in the log for a delivery of a queue.
func moving(d *amqp.Delivery, queue, key string) amqp.Publishing {
	m := copyOf(d)
	m.Headers[headerMoved] = queue
	if d.Exchange != "" {
		m.Headers[headerFrom], m.Headers[headerKey] = d.Exchange, d.RoutingKey
	} else if _, replayed := d.Headers[headerKey]; !replayed {
		m.Headers[headerKey] = key
	}
	return m
}
