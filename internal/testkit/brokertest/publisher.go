package brokertest

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Publisher publishes as a service does. Owned by one goroutine.
type Publisher struct {
	Conn    *amqp.Connection
	Channel *amqp.Channel // which confirms

	returned chan amqp.Return
}

// Connect makes a publisher.
func (b *Broker) Connect() (*Publisher, error) {
	conn, err := amqp.Dial(b.URL)
	if err != nil {
		return nil, err
	}
	p := &Publisher{Conn: conn}
	if p.Channel, err = conn.Channel(); err == nil {
		p.returned = p.Channel.NotifyReturn(make(chan amqp.Return, maxPublish))
		err = p.Channel.Confirm(false)
	}
	if err != nil {
		conn.Close()
	}
	return p, err
}

// confirmTimeout is how long RabbitMQ may take to confirm messages. A RabbitMQ
// that was killed may never confirm those to a new stream (seen with 3.10).
const confirmTimeout = 10 * time.Second

// maxPublish is how many messages Publish accepts.
const maxPublish = 1000

// Publish publishes messages with one key and waits until RabbitMQ has them all
// in a queue. RabbitMQ also confirms messages that are routed to no queue, such
// as right after its start.
func (p *Publisher) Publish(exchange, key string, messages ...amqp.Publishing) error {
	confirms := make([]*amqp.DeferredConfirmation, len(messages))
	for i, m := range messages {
		m.DeliveryMode = amqp.Persistent
		var err error
		if confirms[i], err = p.Channel.PublishWithDeferredConfirm(exchange, key, true, false, m); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
	defer cancel()
	for _, c := range confirms {
		if ok, err := c.WaitContext(ctx); !ok {
			return fmt.Errorf("not confirmed (%v)", err)
		}
	}
	select {
	case m := <-p.returned:
		return fmt.Errorf("returned: %s", m.ReplyText)
	default:
		return nil
	}
}

// Close ends the connection.
func (p *Publisher) Close() { p.Conn.Close() }
