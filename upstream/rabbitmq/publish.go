package rabbitmq

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Sender publishes events as a service does. Owned by one goroutine.
type Sender struct {
	addresses []string
	exchange  string
	conn      *link // nil while there is none
	channel   *amqp.Channel
	returned  <-chan amqp.Return
}

// NewSender returns a sender to an exchange, which connects when it has
// something to send: to the first of the addresses that answers.
func NewSender(addresses []string, exchange string) *Sender {
	return &Sender{addresses: addresses, exchange: exchange}
}

// Send publishes an event and returns when RabbitMQ has it in a queue.
// messageID may be "". After an error the next call connects anew.
func (s *Sender) Send(ctx context.Context, key string, body []byte, messageID string) error {
	err := s.open(ctx)
	if err == nil {
		err = send(ctx, s.channel, s.returned, s.exchange, key, amqp.Publishing{
			ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: messageID, Body: body,
		})
	}
	if err != nil {
		s.Close()
	}
	return err
}

func (s *Sender) open(ctx context.Context) (err error) {
	if s.conn != nil {
		return nil
	}
	if s.conn, err = dialFirst(ctx, s.addresses, "publishing", stepMax); err != nil {
		return err
	}
	s.channel, s.returned, err = confirming(s.conn, maxReturns)
	return err
}

// Close ends the connection, if there is one.
func (s *Sender) Close() {
	if s.conn != nil {
		s.conn.hangUp()
		s.conn = nil
	}
}

// maxReturns is how many returned messages may be unread: so many that the
// connection's reader never waits.
const maxReturns = 64

// confirming opens a channel on which RabbitMQ confirms messages, and first
// returns those that are routed to no queue. At most window messages may be
// unconfirmed.
func confirming(conn *link, window int) (*amqp.Channel, chan amqp.Return, error) {
	var channel *amqp.Channel
	err := conn.inTime(func() (err error) {
		if channel, err = conn.Channel(); err != nil {
			return err
		}
		return channel.Confirm(false)
	})
	if err != nil {
		return nil, nil, err
	}
	// It is never full, which would block the connection's reader.
	return channel, channel.NotifyReturn(make(chan amqp.Return, window)), nil
}

var errNoQueue = errors.New("no queue takes it")

// send publishes one message and waits until it is in a queue.
func send(ctx context.Context, ch *amqp.Channel, returned <-chan amqp.Return, exchange, key string, m amqp.Publishing) error {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	confirm, err := ch.PublishWithDeferredConfirm(exchange, key, true, false, m)
	if err != nil {
		return err
	}
	ok, err := confirm.WaitContext(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("RabbitMQ has not confirmed it: %w", err)
	case !ok:
		return errors.New("RabbitMQ has refused it, or the connection was lost")
	}
	select {
	case <-returned:
		return fmt.Errorf("%w: key %q, exchange %q", errNoQueue, key, exchange)
	default:
		return nil
	}
}
