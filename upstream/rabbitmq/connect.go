package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// stepMin and stepMax bound the time for one answer of RabbitMQ: of the TCP
	// and AMQP handshakes, of a declaration. A RabbitMQ that is starting takes
	// connections on which it never answers (seen with 3.10), so the first
	// attempt waits for a short time only.
	stepMin = time.Second
	stepMax = 10 * time.Second

	confirmTimeout = 10 * time.Second // for RabbitMQ to confirm a message
	closeTimeout   = time.Second      // for closing a connection politely
	heartbeat      = 10 * time.Second
)

// errSilent is the error of a step that RabbitMQ did not answer in time.
var errSilent = errors.New("RabbitMQ does not answer")

// A dialer connects to RabbitMQ, repeatedly. Each attempt in a row that gets no
// answer doubles the time that the next one waits for an answer.
// Safe for concurrent use; the zero value is ready.
type dialer struct {
	silences atomic.Int32 // attempts in a row without an answer
}

// step returns how long the next attempt waits for an answer.
func (d *dialer) step() time.Duration { return min(stepMin<<min(d.silences.Load(), 8), stepMax) }

// open connects to the first address that answers and calls begin, which may wait
// for answers. ctx ends the attempt, not the connection.
func (d *dialer) open(ctx context.Context, addresses []string, purpose string, begin func(*link) error) (*link, error) {
	l, err := dialFirst(ctx, addresses, purpose, d.step())
	if err == nil {
		stop := context.AfterFunc(ctx, l.hangUp)
		err = begin(l)
		stop()
	}
	switch {
	case err == nil:
		d.silences.Store(0)
		return l, nil
	case errors.Is(err, errSilent):
		d.silences.Add(1)
	}
	if l != nil {
		l.hangUp()
	}
	return nil, err
}

// A link is a connection, and how long RabbitMQ may take for an answer on it.
type link struct {
	*amqp.Connection
	step time.Duration
}

// dial opens a connection. ctx ends the attempt, not the connection.
func dial(ctx context.Context, address, purpose string, step time.Duration) (*link, error) {
	name, _ := os.Hostname()
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName("websocket-gateway " + purpose + " " + name)
	conn, err := amqp.DialConfig(address, amqp.Config{
		Heartbeat:  heartbeat,
		Properties: properties,
		Dial: func(network, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: step}
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return c, c.SetDeadline(time.Now().Add(step)) // taken away when the handshake is over
		},
	})
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		err = fmt.Errorf("%w in %v: %w", errSilent, step, err)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", hostOf(address), err)
	}
	return &link{conn, step}, nil
}

// dialFirst connects to the first address that answers.
func dialFirst(ctx context.Context, addresses []string, purpose string, step time.Duration) (*link, error) {
	var errs []error
	for _, address := range addresses {
		l, err := dial(ctx, address, purpose, step)
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// inTime calls a function that waits for RabbitMQ's answer. If there is no
// answer in time, it closes the connection, which ends the call.
func (l *link) inTime(step func() error) error {
	timer := time.AfterFunc(l.step, func() { _ = l.CloseDeadline(time.Now()) })
	err := step()
	if !timer.Stop() && err != nil {
		return fmt.Errorf("%w in %v: %w", errSilent, l.step, err)
	}
	return err
}

// end closes a channel, or the connection if RabbitMQ does not answer.
func (l *link) end(channel *amqp.Channel) { _ = l.inTime(channel.Close) }

func (l *link) hangUp() { _ = l.CloseDeadline(time.Now().Add(closeTimeout)) }

var errClosed = errors.New("the connection was closed")

// linkError returns err, or another error if err is nil because a channel was
// closed.
func linkError(err *amqp.Error) error {
	if err == nil {
		return errClosed
	}
	return err
}

// undecodable reports whether a connection has ended because the library could
// not decode what RabbitMQ sent. The library returns only the text of that error,
// as the reason of another error.
func undecodable(err *amqp.Error) bool {
	return err != nil && err.Code == amqp.FrameError &&
		(strings.Contains(err.Reason, amqp.ErrSyntax.Reason) || strings.Contains(err.Reason, amqp.ErrFrame.Reason))
}

// refused reports whether an error says that a queue or exchange exists with other
// arguments, or that access is not allowed; other errors are broken connections.
func refused(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && (e.Code == amqp.PreconditionFailed || e.Code == amqp.AccessRefused)
}

func notFound(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && e.Code == amqp.NotFound
}
