package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// positionTimeout is how long an Append waits for its position after RabbitMQ
// has confirmed the entry.
const positionTimeout = time.Second

// An appender publishes to the stream over a connection of its own. When RabbitMQ
// is short of memory or disk it stops reading from connections that publish, and
// reading the log must continue. Safe for concurrent use.
//
// A confirm does not contain the position of the entry. The node learns it when it
// reads the entry from the log: each entry has a token that identifies the waiting
// call.
type appender struct {
	log    *Log
	dialer dialer
	prefix string        // of this process's tokens
	slots  chan struct{} // bounds what is on its way

	mu       sync.Mutex // guards the following; held while it connects
	conn     *link
	channel  *amqp.Channel
	returned chan amqp.Return
	number   uint64
	nowhere  map[string]bool // tokens of what came back

	tokens  sync.Mutex // guards the following; the goroutine that reads the log takes it
	waiting map[string]chan eventlog.Position
}

func (a *appender) init(l *Log) {
	a.log, a.prefix = l, rand.Text()[:12]+"."
	a.slots = make(chan struct{}, maxReturns)
	a.waiting, a.nowhere = make(map[string]chan eventlog.Position), make(map[string]bool)
}

// Append implements eventlog.Log.
func (l *Log) Append(ctx context.Context, e eventlog.Entry) (wait func() (eventlog.Position, error)) {
	a := &l.appender
	select {
	case a.slots <- struct{}{}:
	case <-ctx.Done():
		return func() (eventlog.Position, error) { return 0, ctx.Err() }
	}
	token, position, confirm, err := a.publish(ctx, &e)
	return func() (eventlog.Position, error) {
		defer func() { <-a.slots }()
		if err != nil {
			return 0, err
		}
		defer a.unexpect(token)
		if err := a.confirmed(ctx, token, confirm); err != nil {
			return 0, err
		}
		return awaitPosition(ctx, position), nil
	}
}

// awaitPosition waits until the node has read an entry that is in the log. It
// returns 0 after positionTimeout.
func awaitPosition(ctx context.Context, position <-chan eventlog.Position) eventlog.Position {
	timer := time.NewTimer(positionTimeout)
	defer timer.Stop()
	select {
	case p := <-position:
		return p
	case <-timer.C:
	case <-ctx.Done():
	}
	return 0
}

// publish publishes an entry.
func (a *appender) publish(ctx context.Context, e *eventlog.Entry) (string, chan eventlog.Position, *amqp.DeferredConfirmation, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.connect(ctx); err != nil {
		return "", nil, nil, err
	}
	a.number++
	token := a.prefix + strconv.FormatUint(a.number, 36)
	m := publishingOf(e)
	m.Headers[headerAppend] = token
	position := a.expect(token)
	confirm, err := a.channel.PublishWithDeferredConfirm("", a.log.name, true, false, m)
	if err != nil {
		a.disconnect()
		a.unexpect(token)
		return "", nil, nil, err
	}
	return token, position, confirm, nil
}

// connect makes sure that there is a connection, and a stream.
func (a *appender) connect(ctx context.Context) (err error) {
	if a.conn != nil && !a.conn.IsClosed() && !a.channel.IsClosed() {
		return nil
	}
	a.disconnect()
	a.conn, err = a.dialer.open(ctx, a.log.config.Addresses, "appends to "+a.log.name, func(conn *link) error {
		_, err := a.log.declare(conn)
		if err == nil {
			a.channel, a.returned, err = confirming(conn, maxReturns)
		}
		return err
	})
	return err
}

// confirmed waits for RabbitMQ's confirm.
func (a *appender) confirmed(ctx context.Context, token string, confirm *amqp.DeferredConfirmation) error {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	ok, err := confirm.WaitContext(ctx)
	if err != nil {
		return fmt.Errorf("RabbitMQ has not confirmed it: %w", err)
	}
	if !ok {
		return errors.New("RabbitMQ has refused it, or the connection was lost")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for done := false; !done; { // what came back has come before its confirm
		select {
		case m, ok := <-a.returned:
			if done = !ok; ok {
				back, _ := m.Headers[headerAppend].(string)
				a.nowhere[back] = true
			}
		default:
			done = true
		}
	}
	if a.nowhere[token] {
		delete(a.nowhere, token)
		a.disconnect() // the next one declares it
		return fmt.Errorf("there is no stream %s", a.log.name)
	}
	return nil
}

// passed is called when the node has read an entry.
func (a *appender) passed(token string, position eventlog.Position) {
	a.tokens.Lock()
	defer a.tokens.Unlock()
	if c := a.waiting[token]; c != nil {
		select {
		case c <- position:
		default:
		}
	}
}

func (a *appender) expect(token string) chan eventlog.Position {
	position := make(chan eventlog.Position, 1)
	a.tokens.Lock()
	defer a.tokens.Unlock()
	a.waiting[token] = position
	return position
}

func (a *appender) unexpect(token string) {
	a.tokens.Lock()
	defer a.tokens.Unlock()
	delete(a.waiting, token)
}

func (a *appender) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.disconnect()
}

// disconnect closes the connection. a.mu is held. The library ends calls that wait
// for a confirm.
func (a *appender) disconnect() {
	if a.conn != nil {
		a.conn.hangUp()
	}
	a.conn, a.channel, a.returned = nil, nil, nil
}
