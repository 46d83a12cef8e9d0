package brokertest

import (
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Publisher publishes as a service does. Owned by one goroutine.
type Publisher struct {
	Conn    *amqp.Connection
	Channel *amqp.Channel // which confirms
}

// Connect makes a publisher.
func (b *Broker) Connect() (*Publisher, error) {
	conn, err := amqp.Dial(b.URL)
	if err != nil {
		return nil, err
	}
	p := &Publisher{Conn: conn}
	if p.Channel, err = conn.Channel(); err == nil {
		err = p.Channel.Confirm(false)
	}
	if err != nil {
		conn.Close()
	}
	return p, err
}

// Publish publishes messages with one key and waits until RabbitMQ has them
// all.
func (p *Publisher) Publish(exchange, key string, messages ...amqp.Publishing) error {
	confirms := make([]*amqp.DeferredConfirmation, len(messages))
	for i, m := range messages {
		m.DeliveryMode = amqp.Persistent
		var err error
		if confirms[i], err = p.Channel.PublishWithDeferredConfirm(exchange, key, false, false, m); err != nil {
			return err
		}
	}
	for _, c := range confirms {
		if !c.Wait() {
			return errors.New("not confirmed")
		}
	}
	return nil
}

// Close ends the connection.
func (p *Publisher) Close() { p.Conn.Close() }
