package upstream

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Publish publishes an event as a service does, and returns when RabbitMQ has
// it in a queue. messageID may be "".
func Publish(ctx context.Context, addresses []string, exchange, key string, body []byte, messageID string) error {
	conn, err := dialFirst(ctx, addresses, "publishing")
	if err != nil {
		return err
	}
	defer hangUp(conn)
	channel, returned, err := confirming(conn)
	if err != nil {
		return err
	}
	return send(ctx, channel, returned, exchange, key, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: messageID, Body: body,
	})
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

// confirming opens a channel on which RabbitMQ confirms what it has got and
// returns what it has no queue for, the latter first.
func confirming(conn *amqp.Connection) (*amqp.Channel, chan amqp.Return, error) {
	channel, err := conn.Channel()
	if err != nil {
		return nil, nil, err
	}
	if err := channel.Confirm(false); err != nil {
		return nil, nil, err
	}
	// Large enough never to block the connection's reader.
	return channel, channel.NotifyReturn(make(chan amqp.Return, letterBatch)), nil
}

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
		return fmt.Errorf("no queue takes %q from exchange %q", key, exchange)
	default:
		return nil
	}
}
