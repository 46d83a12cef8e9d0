package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	dialTimeout  = 10 * time.Second // for TCP, TLS and the AMQP handshake each
	stepTimeout  = 10 * time.Second // for RabbitMQ to answer; one that has just started may never (seen with 3.10)
	closeTimeout = time.Second      // for a polite end
	heartbeat    = 10 * time.Second
)

// A link is one connection to RabbitMQ and all that is consumed over it. What
// belongs to it never acts on another one: acknowledgements go to its own
// channels, which are closed when it ends.
type link struct {
	consumer *Consumer
	host     string
	conn     *amqp.Connection
	own      map[*Route]bool // have a queue of their own; the others' events come by their carrier's
	intakes  []*intake
	foreign  []string
}

// dial opens an AMQP connection. ctx ends the attempt, not the connection.
func dial(ctx context.Context, address, purpose string) (*amqp.Connection, error) {
	name, _ := os.Hostname()
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName("websocket-gateway " + purpose + " " + name)
	conn, err := amqp.DialConfig(address, amqp.Config{
		Heartbeat:  heartbeat,
		Properties: properties,
		Dial: func(network, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: dialTimeout}
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return c, c.SetDeadline(time.Now().Add(dialTimeout)) // taken away when the handshake is over
		},
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", hostOf(address), err)
	}
	return conn, nil
}

// open connects to one address and declares what is needed.
func (c *Consumer) open(ctx context.Context, address string) (*link, error) {
	conn, err := dial(ctx, address, "events "+c.config.QueuePrefix)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { hangUp(conn) })
	defer stop()
	l := &link{consumer: c, host: hostOf(address), conn: conn, own: make(map[*Route]bool)}
	if err = l.declare(); err == nil {
		err = l.prepare()
	}
	if err != nil {
		hangUp(conn)
		return nil, fmt.Errorf("%s: %w", l.host, err)
	}
	return l, nil
}

// inTime takes a step that waits for RabbitMQ's answer. Without one it hangs up,
// which ends the step.
func inTime(conn *amqp.Connection, step func() error) error {
	timer := time.AfterFunc(stepTimeout, func() { hangUp(conn) })
	err := step()
	if !timer.Stop() && err != nil {
		return fmt.Errorf("no answer in %v: %w", stepTimeout, err)
	}
	return err
}

func hangUp(conn *amqp.Connection) { _ = conn.CloseDeadline(time.Now().Add(closeTimeout)) }

// prepare makes all that run needs.
func (l *link) prepare() error {
	for _, r := range l.consumer.config.Table.Routes() {
		if !l.own[r] {
			continue
		}
		err := inTime(l.conn, func() error {
			in, err := l.newIntake(r)
			l.intakes = append(l.intakes, in)
			return err
		})
		if err != nil {
			return fmt.Errorf("channel for %s: %w", r.Event, err)
		}
	}
	return nil
}

// run consumes until ctx is cancelled or a part of the link ends, and closes
// the link. It calls up when all queues are being consumed.
func (l *link) run(ctx context.Context, up func()) error {
	defer hangUp(l.conn)
	alive, end := context.WithCancelCause(ctx)
	defer end(nil)
	closed := l.conn.NotifyClose(make(chan *amqp.Error, 1))
	go func() {
		select {
		case err := <-closed:
			end(linkError(err))
		case <-alive.Done():
		}
	}()
	var all sync.WaitGroup
	if err := l.subscribe(func(in *intake) {
		all.Go(func() { end(in.run(ctx, alive)) })
	}); err != nil {
		end(err)
	} else {
		up()
	}
	all.Wait()
	return context.Cause(alive)
}

// subscribe subscribes to all queues and starts each one's intake at once.
func (l *link) subscribe(start func(*intake)) error {
	for _, in := range l.intakes {
		if err := inTime(l.conn, in.subscribe); err != nil {
			return fmt.Errorf("%s: %w", l.host, err)
		}
		start(in)
	}
	return nil
}

var errClosed = errors.New("the connection was closed")

// linkError is err, or a stand-in for the nil that a closed channel gives.
func linkError(err *amqp.Error) error {
	if err == nil {
		return errClosed
	}
	return err
}
