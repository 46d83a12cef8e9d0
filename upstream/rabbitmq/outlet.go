package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hometrip/gateway/internal/backoff"
	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	outletWindow   = 256      // messages that are sent and not confirmed
	outletMessages = 65_536   // that wait, those included
	outletBytes    = 32 << 20 // of these
	outletRetryMin = 100 * time.Millisecond
	outletRetryMax = 5 * time.Second

	// outletWait is how long a caller waits for RabbitMQ to confirm a message.
	outletWait = 5 * time.Second

	// messageOverhead is about what a message takes in memory beside its body.
	messageOverhead = 300 // bytes
)

// A Message is an event for services.
type Message struct {
	Key       string
	ID        string
	Type      string // what kind of message it is; "": not said
	Body      []byte // JSON
	Published time.Time
}

// An Outlet publishes messages to a topic exchange: persistent, in the order of
// the calls of Publish, each at least once. What RabbitMQ has not confirmed is
// published again after a lost connection. Run does the work, on one goroutine;
// all other methods are safe for concurrent use and do not block.
type Outlet struct {
	c      OutletConfig
	dialer dialer

	work chan struct{} // has a token when there is something to publish

	mu        sync.Mutex // guards the following
	queue     []*outgoing
	bytes     int
	connected bool
	stats     OutletStats
}

// OutletConfig is the configuration of an Outlet.
type OutletConfig struct {
	Addresses []string // of RabbitMQ's nodes
	Exchange  string   // is declared
	Purpose   string   // names the connection
	Eager     bool     // connects before there is something to publish

	// Required: a message that is routed to no queue counts as not published.
	Required bool

	Logger *slog.Logger
}

// OutletStats are an Outlet's figures.
type OutletStats struct {
	Waiting   int   // messages that RabbitMQ has not confirmed yet
	Confirmed int64 // by RabbitMQ
	Full      int64 // messages that were not taken because too many waited
	NoQueue   int64 // messages that no queue took
	Expired   int64 // messages that were not published, because nobody waited for them any more
}

// An outgoing message waits for RabbitMQ. Its fields but the first are guarded by
// Outlet.mu.
type outgoing struct {
	Message
	done  func(error) // nil: nobody waits
	timer *time.Timer // nil: nobody waits
	sent  bool        // over the connection of now, or one before
	gone  bool        // nobody waits any more, and it was not sent
}

func (m *outgoing) size() int { return messageOverhead + len(m.Body) }

// NewOutlet returns an outlet that Run starts.
func NewOutlet(c OutletConfig) *Outlet { return &Outlet{c: c, work: make(chan struct{}, 1)} }

var (
	errOutletClosed = errors.New("the gateway has stopped")
	errLate         = fmt.Errorf("RabbitMQ has not confirmed it in %v", outletWait)
)

// Publish queues a message. It returns false if too many wait. done, if not
// nil, is called once, on another goroutine: with nil when RabbitMQ has the
// message. A message whose wait has ended is not published, unless publishing
// it has begun.
func (o *Outlet) Publish(m Message, done func(error)) bool {
	w := &outgoing{Message: m, done: done}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= outletMessages || o.bytes+w.size() > outletBytes {
		o.stats.Full++
		return false
	}
	if done != nil {
		w.timer = time.AfterFunc(outletWait, func() { o.late(w) })
	}
	o.queue = append(o.queue, w)
	o.bytes += w.size()
	select {
	case o.work <- struct{}{}:
	default:
	}
	return true
}

// late ends the wait for a message after outletWait.
func (o *Outlet) late(w *outgoing) {
	o.mu.Lock()
	w.gone = !w.sent
	o.mu.Unlock()
	o.settle(w, errLate)
}

// settle calls the done function of a message.
func (o *Outlet) settle(w *outgoing, err error) {
	o.mu.Lock()
	done := w.done
	w.done = nil
	o.mu.Unlock()
	if done != nil {
		w.timer.Stop()
		done(err)
	}
}

// Connected reports whether RabbitMQ accepts messages.
func (o *Outlet) Connected() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.connected
}

// Stats returns the figures.
func (o *Outlet) Stats() OutletStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stats
	s.Waiting = len(o.queue)
	return s
}

// Flush returns when RabbitMQ has everything. The error is ctx's.
func (o *Outlet) Flush(ctx context.Context) error {
	for o.Stats().Waiting > 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d messages not published to %s: %w", o.Stats().Waiting, o.c.Exchange, ctx.Err())
		}
	}
	return nil
}

// Run publishes until ctx is over.
func (o *Outlet) Run(ctx context.Context) {
	retries := backoff.Backoff{Min: outletRetryMin, Max: outletRetryMax}
	for o.c.Eager || o.await(ctx) {
		began := time.Now()
		err := o.publish(ctx)
		o.setConnected(false)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > outletRetryMax {
			retries.Reset()
		}
		o.c.Logger.Warn("nothing is published to RabbitMQ, trying again", "exchange", o.c.Exchange, "error", err, "waiting", o.Stats().Waiting)
		select {
		case <-time.After(retries.Next()):
		case <-ctx.Done():
		}
	}
	o.mu.Lock()
	queue := slices.Clone(o.queue)
	o.mu.Unlock()
	for _, w := range queue {
		o.settle(w, errOutletClosed)
	}
}

// await waits until there is something to publish.
func (o *Outlet) await(ctx context.Context) bool {
	for ctx.Err() == nil && o.Stats().Waiting == 0 {
		select {
		case <-o.work:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

func (o *Outlet) setConnected(yes bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.connected = yes
}

// publish publishes over one connection until something fails.
func (o *Outlet) publish(ctx context.Context) error {
	var channel *amqp.Channel
	var returned chan amqp.Return
	conn, err := o.dialer.open(ctx, o.c.Addresses, o.c.Purpose, func(conn *link) (err error) {
		d := &declarer{conn: conn}
		defer d.close()
		if _, err := d.exchange(o.c.Exchange); err != nil {
			return fmt.Errorf("declare exchange %s: %w", o.c.Exchange, err)
		}
		channel, returned, err = confirming(conn, outletWindow)
		return err
	})
	if err != nil {
		return err
	}
	defer conn.hangUp()
	stop := context.AfterFunc(ctx, conn.hangUp)
	defer stop()
	l := &outletLink{
		o: o, channel: channel, returned: returned, nowhere: make(map[string]bool),
		closed: conn.NotifyClose(make(chan *amqp.Error, 1)), sent: make(chan unconfirmed, outletWindow), failed: make(chan error, 1),
	}
	o.setConnected(true)
	var confirming sync.WaitGroup
	confirming.Go(l.confirm)
	err = l.send(ctx)
	close(l.sent)
	conn.hangUp() // what is not confirmed fails
	confirming.Wait()
	return err
}

// An outletLink is one connection of an Outlet.
type outletLink struct {
	o        *Outlet
	channel  *amqp.Channel
	returned chan amqp.Return
	closed   chan *amqp.Error
	sent     chan unconfirmed
	failed   chan error // from confirm to send
	nowhere  map[string]bool
}

// An unconfirmed message was published on this link, and RabbitMQ has not confirmed it.
type unconfirmed struct {
	w       *outgoing
	confirm *amqp.DeferredConfirmation
}

// send publishes the queue from its beginning.
func (l *outletLink) send(ctx context.Context) error {
	after := (*outgoing)(nil) // that was sent last
	for {
		w := l.o.next(after)
		if w == nil {
			select {
			case <-l.o.work:
				continue
			case err := <-l.failed:
				return err
			case err := <-l.closed:
				return linkError(err)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		confirm, err := l.channel.PublishWithDeferredConfirm(l.o.c.Exchange, w.Key, l.o.c.Required, false, amqp.Publishing{
			ContentType: "application/json", DeliveryMode: amqp.Persistent, AppId: appID, Type: w.Type,
			MessageId: w.ID, Timestamp: w.Published, Body: w.Body,
		})
		if err != nil {
			return err
		}
		after = w
		select {
		case l.sent <- unconfirmed{w, confirm}:
		case err := <-l.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// appID is the application id of each message.
const appID = "websocket-gateway"

// confirm waits for the confirms, in order, until one fails.
func (l *outletLink) confirm() {
	for u := range l.sent {
		ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
		ok, err := u.confirm.WaitContext(ctx)
		cancel()
		if err == nil && !ok {
			err = errors.New("RabbitMQ has refused a message, or the connection was lost")
		}
		if err != nil {
			l.failed <- err
			for range l.sent {
			}
			return
		}
		l.o.confirmed(u.w, l.cameBack(u.w.ID))
	}
}

// cameBack reports whether RabbitMQ returned a message because no queue took it. It
// returns a message before it confirms it.
func (l *outletLink) cameBack(id string) bool {
	for {
		select {
		case m, ok := <-l.returned:
			if !ok {
				return false
			}
			l.nowhere[m.MessageId] = true
			continue
		default:
		}
		back := l.nowhere[id]
		delete(l.nowhere, id)
		return back
	}
}

// next returns the first message after another one, nil if there is none. It
// drops messages whose wait has ended.
func (o *Outlet) next(after *outgoing) *outgoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	from := 0
	if after != nil {
		from = slices.Index(o.queue, after) + 1 // 0: it has been confirmed, as all before it
	}
	for from < len(o.queue) && o.queue[from].gone {
		o.bytes -= o.queue[from].size()
		o.stats.Expired++
		o.queue = slices.Delete(o.queue, from, from+1)
	}
	if from == len(o.queue) {
		return nil
	}
	o.queue[from].sent = true
	return o.queue[from]
}

// confirmed removes the first message from the queue.
func (o *Outlet) confirmed(w *outgoing, nowhere bool) {
	o.mu.Lock()
	o.queue[0] = nil
	if o.queue = o.queue[1:]; len(o.queue) == 0 {
		o.queue = nil
	}
	o.bytes -= w.size()
	var err error
	if nowhere {
		o.stats.NoQueue++
		err = errNoQueue
	} else {
		o.stats.Confirmed++
	}
	o.mu.Unlock()
	o.settle(w, err)
}
