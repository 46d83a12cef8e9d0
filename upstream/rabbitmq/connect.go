package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	dialTimeout    = 10 * time.Second // for TCP, TLS and the AMQP handshake each
	stepTimeout    = 10 * time.Second // for RabbitMQ to answer; one that has just started may never (seen with 3.10)
	confirmTimeout = 10 * time.Second // for RabbitMQ to confirm a message
	closeTimeout   = time.Second      // for closing a connection politely
	heartbeat      = 10 * time.Second
)

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

// dialFirst connects to the first address that answers.
func dialFirst(ctx context.Context, addresses []string, purpose string) (*amqp.Connection, error) {
	var errs []error
	for _, address := range addresses {
		conn, err := dial(ctx, address, purpose)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
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

var errClosed = errors.New("the connection was closed")

// linkError is err, or a stand-in for the nil that a closed channel gives.
func linkError(err *amqp.Error) error {
	if err == nil {
		return errClosed
	}
	return err
}

// undecodable reports whether a connection has ended because the library could
// not decode what RabbitMQ sent. The library gives the error's text only, as
// the reason of another one.
func undecodable(err *amqp.Error) bool {
	return err != nil && err.Code == amqp.FrameError &&
		(strings.Contains(err.Reason, amqp.ErrSyntax.Reason) || strings.Contains(err.Reason, amqp.ErrFrame.Reason))
}

// refused reports whether an error says that something exists in another form
// or that it is not allowed, as opposed to a broken connection.
func refused(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && (e.Code == amqp.PreconditionFailed || e.Code == amqp.AccessRefused)
}

func notFound(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && e.Code == amqp.NotFound
}
