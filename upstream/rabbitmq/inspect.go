package rabbitmq

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// An Inspection is the result of Inspect.
type Inspection struct {
	Host    string // host:port
	Version string
	Found   []Found
}

// Found is a queue or an exchange as it is on RabbitMQ.
type Found struct {
	Kind    string // "stream", "queue" or "exchange"
	Name    string
	Missing bool
	Instead string // for a stream that is missing: the queue that takes its place, since RabbitMQ has no streams
	Foreign error  // that it has another form than ours, or cannot be looked at; nil: it is as it should be
}

// Inspect reads the state of the queues and exchanges that a log with these
// settings would use. It creates nothing.
func Inspect(ctx context.Context, c Config) (*Inspection, error) {
	l, err := New(c)
	if err != nil {
		return nil, err
	}
	conn, err := dialFirst(ctx, c.Addresses, "doctor", stepMax)
	if err != nil {
		return nil, err
	}
	defer conn.hangUp()
	stop := context.AfterFunc(ctx, conn.hangUp)
	defer stop()
	version, _ := conn.Properties["version"].(string)
	i := &Inspection{Host: conn.RemoteAddr().String(), Version: version}
	d := &declarer{conn: conn}
	i.Found = append(i.Found, d.lookAtStream(l), d.lookAtQueue(letterQueue(c.Prefix), letterArgs()))
	for _, name := range c.Exchanges {
		i.Found = append(i.Found, d.lookAtExchange(name))
	}
	if conn.IsClosed() {
		return nil, fmt.Errorf("%s: %w", i.Host, errors.Join(errClosed, ctx.Err()))
	}
	return i, nil
}

// lookAtStream compares the stream with the settings.
func (d *declarer) lookAtStream(l *Log) Found {
	f := Found{Kind: "stream", Name: l.name}
	err := d.look(l.name)
	if notFound(err) {
		f.Missing = true
		if queue := forwardQueue(l.config.Prefix); d.look(queue) == nil {
			f.Instead = queue
		}
		return f
	}
	if err == nil {
		err = l.declareStream(d)
	}
	if f.Foreign = err; err == nil {
		f.Foreign = l.misfit
	}
	return f
}

// lookAtQueue declares a queue only if it is there, which changes nothing.
func (d *declarer) lookAtQueue(name string, args amqp.Table) Found {
	return d.lookAt("queue", name, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	}, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, args)
		return err
	})
}

func (d *declarer) lookAtExchange(name string) Found {
	return d.lookAt("exchange", name, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(name, amqp.ExchangeTopic, true, false, false, false, nil)
	}, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(name, amqp.ExchangeTopic, true, false, false, false, nil)
	})
}

func (d *declarer) lookAt(kind, name string, exists, declare func(*amqp.Channel) error) Found {
	f := Found{Kind: kind, Name: name}
	err := d.do(exists)
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Code == amqp.NotFound {
		f.Missing = true
		return f
	}
	if err == nil {
		err = d.do(declare)
	}
	f.Foreign = err
	return f
}
