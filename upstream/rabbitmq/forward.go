package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	forwardWindow = 256         // messages on their way to the other log
	forwardRetry  = time.Second // pause before the next attempt
	forwardLimit  = 20          // deliveries of a message before it is a dead letter: nodes that die of it

	// forwardPatience is how long the other log may be away before the queue is
	// left to another node, which may reach it; at each delivery of a message so
	// much longer: 3.5 hours before it is a dead letter.
	forwardPatience = time.Minute
)

// forwardQueue is the queue of events for another log.
func forwardQueue(prefix string) string { return prefix + ".forward" }

func forwardArgs(prefix string) amqp.Table {
	return amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-single-active-consumer": true, "x-delivery-limit": int32(forwardLimit),
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": letterQueue(prefix),
		"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish",
	}
}

// A Forwarder appends the events that services publish to RabbitMQ to a log that
// is elsewhere, for a RabbitMQ without streams. It consumes a quorum queue with
// a single active consumer, so one node at a time forwards, in order. A message
// is acknowledged when the other log has it; after a failure it may be there
// twice. While the other log takes nothing, messages stay with the node, at first
// for forwardPatience: each delivery counts, and RabbitMQ makes dead letters of
// those that are delivered too often. Run does the work; Trouble may be called
// from any goroutine.
type Forwarder struct {
	config Config
	to     Appender
	dialer dialer

	mu      sync.Mutex // guards the following
	trouble error      // why it does not consume now
}

// An Appender is the part of an eventlog.Log that a Forwarder needs.
type Appender interface {
	Append(ctx context.Context, e eventlog.Entry) (wait func() (eventlog.Position, error))
}

// NewForwarder returns a forwarder that Run starts.
func NewForwarder(c Config, to Appender) *Forwarder { return &Forwarder{config: c, to: to} }

// Trouble returns why the queue is not consumed, nil if it is.
func (f *Forwarder) Trouble() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trouble
}

func (f *Forwarder) set(trouble error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if trouble != nil && f.trouble == nil {
		f.config.Logger.Warn("events of RabbitMQ cannot be forwarded to the log, retrying", "error", trouble)
	}
	f.trouble = trouble
}

// Run forwards until ctx is over. It also moves the messages of queues that
// earlier versions used.
func (f *Forwarder) Run(ctx context.Context) {
	var moving sync.WaitGroup
	moving.Go(func() { f.moveQueues(ctx) })
	defer moving.Wait()
	for ctx.Err() == nil {
		err := f.forward(ctx)
		if ctx.Err() != nil {
			return
		}
		f.set(err)
		select {
		case <-time.After(forwardRetry):
		case <-ctx.Done():
		}
	}
}

// forward consumes over one connection until something fails.
func (f *Forwarder) forward(ctx context.Context) error {
	var channel *amqp.Channel
	var deliveries <-chan amqp.Delivery
	conn, err := f.dialer.open(ctx, f.config.Addresses, "forwards events", func(conn *link) (err error) {
		if err = f.declare(conn); err == nil {
			channel, deliveries, err = f.consume(conn)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer conn.hangUp()
	stop := context.AfterFunc(ctx, conn.hangUp)
	defer stop()
	f.set(nil)
	w := &forwarding{f: f, waiting: make(chan *forwarded, forwardWindow)}
	failed := make(chan error, 1)
	go func() {
		err := w.acknowledge(ctx, func(tag uint64) error { return channel.Ack(tag, false) }, channel.IsClosed)
		if err != nil { // what is not acknowledged is delivered again, in order
			conn.hangUp()
		}
		failed <- err
	}()
	for d := range deliveries { // at most forwardWindow are not acknowledged
		w.take(ctx, &forwarded{tag: d.DeliveryTag, entry: entryOf(&d, 0)})
	}
	close(w.waiting)
	if err := <-failed; err != nil {
		return err
	}
	return errClosed
}

// forwarded is a message on its way to the other log.
type forwarded struct {
	tag   uint64
	entry eventlog.Entry
	wait  func() (eventlog.Position, error)

	failed time.Time // when it was to be acknowledged and had failed; zero: it has not
}

// hopeless reports whether another node is to try. It is called when the other
// log does not take the message.
func (m *forwarded) hopeless(now time.Time) bool {
	if m.failed.IsZero() {
		m.failed = now
	}
	before, _ := m.entry.Headers["x-delivery-count"].(int64)
	return now.Sub(m.failed) >= forwardPatience*time.Duration(1+max(before, 0))
}

// A forwarding appends messages to the other log, in order and many at a time.
// One goroutine calls take, another one acknowledge.
type forwarding struct {
	f       *Forwarder
	waiting chan *forwarded // has room for all that are not acknowledged

	mu     sync.Mutex // guards the following, and the order of appending
	halted bool       // newer messages wait until older ones have been appended again
}

// take appends a message that was delivered.
func (w *forwarding) take(ctx context.Context, m *forwarded) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.halted {
		m.wait = w.f.to.Append(ctx, m.entry)
	}
	w.waiting <- m
}

// acknowledge acknowledges what the other log has, until waiting is closed. It
// appends again what failed until the channel to RabbitMQ is closed, or another
// node is to try.
func (w *forwarding) acknowledge(ctx context.Context, ack func(tag uint64) error, closed func() bool) error {
	for m := range w.waiting {
		for list := []*forwarded{m}; len(list) > 0; {
			_, err := list[0].wait()
			w.f.set(err)
			switch {
			case err == nil:
				if err := ack(list[0].tag); err != nil {
					return err
				}
				list = list[1:]
			case ctx.Err() != nil || closed() || list[0].hopeless(time.Now()):
				return err
			default:
				list = w.again(ctx, list)
			}
		}
	}
	return nil
}

// again appends messages again after a pause, and then all that have come behind
// them: most of these have failed as well, and none may overtake another.
func (w *forwarding) again(ctx context.Context, list []*forwarded) []*forwarded {
	w.mu.Lock()
	w.halted = true
	w.mu.Unlock()
	select {
	case <-time.After(forwardRetry):
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) > 0 {
		list = append(list, <-w.waiting)
	}
	for _, m := range list {
		m.wait = w.f.to.Append(ctx, m.entry)
	}
	w.halted = false
	return list
}

func (f *Forwarder) consume(conn *link) (channel *amqp.Channel, deliveries <-chan amqp.Delivery, err error) {
	err = conn.inTime(func() error {
		if channel, err = conn.Channel(); err != nil {
			return err
		}
		if err := channel.Qos(forwardWindow, 0, false); err != nil {
			return err
		}
		deliveries, err = channel.Consume(forwardQueue(f.config.Prefix), "", false, false, false, false, nil)
		return err
	})
	return channel, deliveries, err
}

// declare creates the exchanges, the queue, its bindings and the queue of the
// dead letters, if they do not exist.
func (f *Forwarder) declare(conn *link) error {
	d := &declarer{conn: conn}
	defer d.close()
	name := forwardQueue(f.config.Prefix)
	if foreign, err := d.queue(letterQueue(f.config.Prefix), letterArgs()); err != nil {
		return fmt.Errorf("declare queue of dead letters: %w", errors.Join(err, foreign))
	}
	if foreign, err := d.queue(name, forwardArgs(f.config.Prefix)); err != nil {
		return fmt.Errorf("declare queue %s: %w", name, errors.Join(err, foreign))
	}
	for _, exchange := range f.config.Exchanges {
		if _, err := d.exchange(exchange); err != nil {
			return fmt.Errorf("declare exchange %s: %w", exchange, err)
		}
		for _, key := range f.config.Keys {
			if foreign, err := d.bind(name, key, exchange); err != nil || foreign != nil {
				return fmt.Errorf("bind queue %s to %s: %w", name, exchange, errors.Join(err, foreign))
			}
		}
	}
	return nil
}
