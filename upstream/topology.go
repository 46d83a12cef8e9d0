package upstream

import (
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// deliveryLimit is how often RabbitMQ delivers an event again before it
	// takes it for one that kills its consumers. Lost connections count too,
	// so it is generous: what the gateway cannot read it sorts out by itself.
	deliveryLimit = 20

	// letterLimit is the same for dead letters, which are looked at again and
	// again and must never go.
	letterLimit = 1_000_000_000
)

// QueueName is the queue of a route's events.
func QueueName(prefix string, r *Route) string { return prefix + "." + r.Event }

// letterQueue is the queue of the dead letters.
func letterQueue(prefix string) string { return prefix + "." + deadLetter }

// eventArgs are the arguments of a route's queue. Dead letters of the broker's
// own making (deliveryLimit) go the same way as ours, through the default
// exchange, and are kept until they have arrived.
func eventArgs(prefix string) amqp.Table {
	return amqp.Table{
		amqp.QueueTypeArg:           amqp.QueueTypeQuorum,
		"x-single-active-consumer":  true,
		"x-delivery-limit":          int32(deliveryLimit),
		"x-dead-letter-exchange":    "",
		"x-dead-letter-routing-key": letterQueue(prefix),
		"x-dead-letter-strategy":    "at-least-once",
		"x-overflow":                "reject-publish", // at-least-once asks for it; there is no length limit
	}
}

func letterArgs() amqp.Table {
	return amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-delivery-limit": int32(letterLimit)}
}

// A declarer declares one thing after the other. A refusal closes an AMQP
// channel, so it takes a new one then.
type declarer struct {
	conn    *amqp.Connection
	channel *amqp.Channel
}

func (d *declarer) do(step func(*amqp.Channel) error) error {
	return inTime(d.conn, func() (err error) {
		if d.channel == nil || d.channel.IsClosed() {
			if d.channel, err = d.conn.Channel(); err != nil {
				return err
			}
		}
		return step(d.channel)
	})
}

// refused reports whether an error says that something exists in another form
// or is none of our business, as opposed to a broken connection.
func refused(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && (e.Code == amqp.PreconditionFailed || e.Code == amqp.AccessRefused)
}

// queue declares a queue. One that exists with other arguments, or that may
// not be declared, is taken as it is; the reason comes back.
func (d *declarer) queue(name string, args amqp.Table) (foreign, err error) {
	err = d.do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, args)
		return err
	})
	if !refused(err) {
		return nil, err
	}
	return err, d.do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	})
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
	err := d.do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err
	})
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Code == amqp.NotFound {
		return false, nil
	}
	return err == nil, err
}

// declare makes sure that there is everything to consume from and to write
// dead letters to.
func (l *link) declare() error {
	c := l.consumer.config
	d := &declarer{conn: l.conn}
	letters := letterQueue(c.QueuePrefix)
	foreign, err := d.queue(letters, letterArgs())
	if err != nil {
		return fmt.Errorf("declare queue %s: %w", letters, err)
	}
	l.note(letters, foreign, "dead letters may not be replicated")
	for _, exchange := range c.Exchanges {
		foreign, err := d.exchange(exchange)
		if err != nil {
			return fmt.Errorf("declare exchange %s: %w", exchange, err)
		}
		l.note(exchange, foreign, "patterns of keys need a topic exchange")
	}
	for _, r := range c.Table.Routes() {
		if own, err := l.hasQueue(d, r); err != nil {
			return err
		} else if !own {
			continue
		}
		if err := l.declareRoute(d, r); err != nil {
			return err
		}
		l.own[r] = true
	}
	return nil
}

// hasQueue reports whether a route is to have a queue of its own: because no
// other one brings its events, or because it had one before.
func (l *link) hasQueue(d *declarer, r *Route) (bool, error) {
	if r.carrier == r {
		return true, nil
	}
	queue := QueueName(l.consumer.config.QueuePrefix, r)
	there, err := d.exists(queue)
	if err != nil {
		return false, fmt.Errorf("look for queue %s: %w", queue, err)
	}
	return there, nil
}

func (l *link) declareRoute(d *declarer, r *Route) error {
	c := l.consumer.config
	queue := QueueName(c.QueuePrefix, r)
	foreign, err := d.queue(queue, eventArgs(c.QueuePrefix))
	if err != nil {
		return fmt.Errorf("declare queue %s: %w", queue, err)
	}
	l.note(queue, foreign, "it may lack the order of a room across nodes (single active consumer), "+
		"the delivery limit and its dead letters; delete it when it is empty to have it made anew")
	for _, exchange := range c.Exchanges {
		foreign, err := d.bind(queue, r.Event, exchange)
		if err != nil {
			return fmt.Errorf("bind queue %s to %s: %w", queue, exchange, err)
		}
		l.note(queue+" bound to "+exchange, foreign, "the binding has to be there already")
	}
	return nil
}

// note keeps what was found in another form, and logs it the first time.
func (l *link) note(name string, foreign error, missing string) {
	if foreign == nil {
		return
	}
	l.foreign = append(l.foreign, name)
	if !l.consumer.warned[name] {
		l.consumer.warned[name] = true
		l.consumer.log.Warn("used as it was found on RabbitMQ: "+missing, "name", name, "reason", foreign)
	}
}
