package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	markTimeout = 3 * time.Second // for a mark to be read back
	batchMost   = 64              // entries that Next returns at once
)

// A source reads the stream over a connection of its own. It implements
// eventlog.Source. Owned by one goroutine.
type source struct {
	log  *Log
	info eventlog.Info

	conn       *link
	channel    *amqp.Channel
	deliveries <-chan amqp.Delivery
	lost       chan *amqp.Error // the connection
	closed     chan *amqp.Error // the channel
	cancelled  chan string

	batch []eventlog.Entry
	sent  []sent // entries that were not acknowledged yet, the oldest at head
	head  int
}

// sent is an entry and the number of its delivery.
type sent struct {
	position eventlog.Position
	tag      uint64
}

func (s *source) Info() eventlog.Info { return s.info }

func (s *source) Close() { s.conn.hangUp() }

// begin starts to consume. mark: it also finds the end of the log.
func (s *source) begin(ctx context.Context, at eventlog.Start, mark bool) error {
	s.lost = s.conn.NotifyClose(make(chan *amqp.Error, 1))
	switch at.From {
	case eventlog.FromFirst:
		return s.consume("first", at.Window)
	case eventlog.FromPosition:
		return s.consume(int64(at.Position)-1, at.Window)
	}
	if !mark {
		return s.consume("next", at.Window)
	}
	if err := s.consume("last", max(at.Window, batchMost)); err != nil {
		return err
	}
	err := s.mark(ctx)
	switch {
	case err == nil:
		return nil
	case s.conn.IsClosed() || ctx.Err() != nil:
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", errUnmarked, err)
	}
	s.conn.end(s.channel)
	return s.consume("next", at.Window)
}

// errUnmarked says that RabbitMQ did not confirm a mark. When RabbitMQ is short of
// memory or disk it stops reading from a connection that has published, so the log
// must be opened over another connection.
var errUnmarked = errors.New("RabbitMQ takes no mark")

// consume opens a channel and starts to consume at an offset.
func (s *source) consume(offset any, window int) error {
	return s.conn.inTime(func() (err error) {
		if s.channel, err = s.conn.Channel(); err != nil {
			return err
		}
		s.closed = s.channel.NotifyClose(make(chan *amqp.Error, 1))
		s.cancelled = s.channel.NotifyCancel(make(chan string, 1))
		if err := s.channel.Qos(max(window, 1), 0, false); err != nil {
			return err
		}
		s.deliveries, err = s.channel.Consume(s.log.name, "", false, false, false, false, amqp.Table{headerOffset: offset})
		if err != nil {
			return fmt.Errorf("consume from %s: %w", s.log.name, err)
		}
		return nil
	})
}

// mark appends an entry that is not an event, and skips everything up to it. Its
// position is the end of the log; AMQP has no other way to find that out.
func (s *source) mark(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	channel, returned, err := confirming(s.conn, maxReturns)
	if err != nil {
		return err
	}
	text := rand.Text()
	m := amqp.Publishing{DeliveryMode: amqp.Persistent, Headers: amqp.Table{headerMark: text}}
	if err := send(ctx, channel, returned, "", s.log.name, m); err != nil {
		return err
	}
	for {
		select {
		case d, ok := <-s.deliveries:
			if !ok {
				return s.why()
			}
			if err := d.Ack(false); err != nil {
				return err
			}
			if found, _ := d.Headers[headerMark].(string); found == text {
				s.conn.end(channel)
				s.info.Behind, err = positionOf(&d)
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Next implements eventlog.Source.
func (s *source) Next(ctx context.Context, wait time.Duration) ([]eventlog.Entry, error) {
	clear(s.batch)
	s.batch = s.batch[:0]
	select {
	case d, ok := <-s.deliveries:
		return s.gather(d, ok)
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case d, ok := <-s.deliveries:
		return s.gather(d, ok)
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, nil
}

// gather returns a delivery and those that have already arrived after it.
func (s *source) gather(d amqp.Delivery, ok bool) ([]eventlog.Entry, error) {
	for ok {
		position, err := positionOf(&d)
		if err != nil {
			return nil, err
		}
		s.sent = append(s.sent, sent{position, d.DeliveryTag})
		s.batch = append(s.batch, entryOf(&d, position))
		if token, mine := d.Headers[headerAppend].(string); mine {
			s.log.appender.passed(token, position)
		}
		if len(s.batch) == batchMost {
			return s.batch, nil
		}
		select {
		case d, ok = <-s.deliveries:
		default:
			return s.batch, nil
		}
	}
	if len(s.batch) > 0 {
		return s.batch, nil // the next call says why
	}
	return nil, s.why()
}

// why returns why deliveries have ended.
func (s *source) why() error {
	select {
	case <-s.cancelled:
		return fmt.Errorf("RabbitMQ has ended the reading of %s: was the stream deleted?", s.log.name)
	default:
	}
	err := <-s.closed
	if s.conn.IsClosed() {
		select {
		case lost := <-s.lost:
			err = lost
		default:
		}
	}
	if undecodable(err) {
		return errors.Join(eventlog.ErrUndecodable, err)
	}
	return linkError(err)
}

// Taken implements eventlog.Source: an acknowledgement lets RabbitMQ send as
// many more entries.
func (s *source) Taken(position eventlog.Position) {
	var tag uint64
	for s.head < len(s.sent) && s.sent[s.head].position <= position {
		tag = s.sent[s.head].tag
		s.head++
	}
	if tag == 0 {
		return
	}
	if s.head*2 > len(s.sent) {
		s.sent = append(s.sent[:0], s.sent[s.head:]...)
		s.head = 0
	}
	_ = s.channel.Ack(tag, true) // an error ends the deliveries, too
}
