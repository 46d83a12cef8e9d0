package rabbitmq

import (
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
)

// letterLimit is the delivery limit of the queue of dead letters. It is large,
// because letters are listed often and must not be dropped for that.
const letterLimit = 1_000_000_000

// StreamName is the name of the log's stream.
func StreamName(prefix string) string { return prefix + ".events" }

// letterQueue is the queue of the dead letters.
func letterQueue(prefix string) string { return prefix + ".dead-letter" }

func letterArgs() amqp.Table {
	return amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-delivery-limit": int32(letterLimit)}
}

// A declarer declares exchanges and queues one after the other. A refusal closes
// the AMQP channel; the declarer then opens another one.
type declarer struct {
	conn    *link
	channel *amqp.Channel
}

func (d *declarer) do(step func(*amqp.Channel) error) error {
	return d.conn.inTime(func() (err error) {
		if d.channel == nil || d.channel.IsClosed() {
			if d.channel, err = d.conn.Channel(); err != nil {
				return err
			}
		}
		return step(d.channel)
	})
}

// close ends the channel in use, if there is one.
func (d *declarer) close() {
	if d.channel != nil {
		d.conn.end(d.channel)
	}
}

// declare declares a queue only.
func (d *declarer) declare(name string, args amqp.Table) error {
	return d.do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, args)
		return err
	})
}

// look returns an error unless the queue exists.
func (d *declarer) look(name string) error {
	return d.do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	})
}

// queue declares a queue. A queue that exists with other arguments, or that the
// user may not declare, is used as it is; the reason is returned.
func (d *declarer) queue(name string, args amqp.Table) (foreign, err error) {
	if err = d.declare(name, args); !refused(err) {
		return nil, err
	}
	return err, d.look(name)
}

func (d *declarer) exchange(name string) (foreign, err error) {
	err = d.do(func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(name, amqp.ExchangeTopic, true, false, false, false, nil)
	})
	if !refused(err) {
		return nil, err
	}
	return err, d.do(func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(name, amqp.ExchangeTopic, true, false, false, false, nil)
	})
}

func (d *declarer) bind(queue, key, exchange string) (foreign, err error) {
	err = d.do(func(ch *amqp.Channel) error { return ch.QueueBind(queue, key, exchange, false, nil) })
	if refused(err) {
		return err, nil
	}
	return nil, err
}

func (d *declarer) exists(queue string) (bool, error) {
	err := d.look(queue)
	if notFound(err) {
		return false, nil
	}
	return err == nil, err
}

// reasonOf returns RabbitMQ's reason, or "" if the error is not RabbitMQ's.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return e.Reason
	}
	return ""
}
