package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	// maxLetterHeaders is how many bytes of its publisher's headers a dead
	// letter keeps: with the gateway's own they have to fit into one frame of
	// 128 KiB.
	maxLetterHeaders = 64 << 10

	leadRetry = time.Second // pause before the next attempt to have the turn
)

// Letters implements upstream.Letters: the queue of the dead letters, and the
// choice of the node that fills it. Safe for concurrent use.
//
// The node is chosen by a queue with a single active consumer,
// PREFIX.dead-letter-turn. RabbitMQ delivers its messages to one node, and to
// another one when the first has gone. Each message has the position in the log up
// to which letters were written. The active node keeps the newest message
// unacknowledged, so that the next active node gets it.
type Letters struct {
	addresses []string
	queue     string
	turn      string
	log       *slog.Logger

	dialer dialer

	mu       sync.Mutex // guards the following; held while something is published
	conn     *link
	channel  *amqp.Channel
	returned chan amqp.Return
}

// NewLetters returns the dead letters; it connects when it is used.
func NewLetters(c Config) *Letters {
	return &Letters{
		addresses: c.Addresses, queue: letterQueue(c.Prefix), turn: turnQueue(c.Prefix), log: c.Logger,
	}
}

// turnQueue is the queue whose consumer fills the dead letters.
func turnQueue(prefix string) string { return letterQueue(prefix) + "-turn" }

func turnArgs() amqp.Table {
	return amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-single-active-consumer": true, "x-delivery-limit": int32(letterLimit),
	}
}

// Lead implements upstream.Letters.
func (l *Letters) Lead(ctx context.Context, lead func(context.Context, eventlog.Offset)) {
	for logged := false; ctx.Err() == nil; {
		if err := l.await(ctx, lead); err != nil && ctx.Err() == nil && !logged {
			logged = true
			l.log.Warn("the dead letters cannot be read, retrying", "error", err)
		}
		select {
		case <-time.After(leadRetry):
		case <-ctx.Done():
		}
	}
}

// await consumes the turn over one connection, and leads while it has it.
func (l *Letters) await(ctx context.Context, lead func(context.Context, eventlog.Offset)) error {
	conn, notes, err := l.subscribe(ctx)
	if err != nil {
		return err
	}
	defer conn.hangUp()
	stop := context.AfterFunc(ctx, conn.hangUp)
	defer stop()
	if err := l.note(ctx, ""); err != nil { // so that there is a message
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var leading sync.WaitGroup
	defer leading.Wait()
	defer cancel()
	t := eventlog.Turn{}
	settled := time.NewTimer(eventlog.TurnSettles)
	settled.Stop()
	for {
		select {
		case d, ok := <-notes:
			if !ok {
				return errClosed
			}
			letGo, first := t.Take(d.DeliveryTag, string(d.Body))
			if letGo != 0 {
				if err := d.Acknowledger.Ack(letGo, false); err != nil {
					return err
				}
			}
			if first {
				settled.Reset(eventlog.TurnSettles)
			}
		case <-settled.C:
			done := t.Done
			leading.Go(func() { lead(ctx, done) })
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// subscribe connects and consumes the turn.
func (l *Letters) subscribe(ctx context.Context) (conn *link, notes <-chan amqp.Delivery, err error) {
	conn, err = l.dialer.open(ctx, l.addresses, "turn at dead letters", func(conn *link) error {
		d := &declarer{conn: conn}
		if foreign, err := d.queue(l.turn, turnArgs()); err != nil {
			return fmt.Errorf("declare queue %s: %w", l.turn, errors.Join(err, foreign))
		}
		return d.do(func(ch *amqp.Channel) (err error) {
			notes, err = ch.Consume(l.turn, "", false, false, false, false, nil)
			return err
		})
	})
	return conn, notes, err
}

// Done implements upstream.Letters.
func (l *Letters) Done(ctx context.Context, o eventlog.Offset) error { return l.note(ctx, o.String()) }

func (l *Letters) note(ctx context.Context, text string) error {
	return l.publish(ctx, l.turn, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(text)})
}

// PutAside implements upstream.Letters.
func (l *Letters) PutAside(ctx context.Context, letter eventlog.Letter) error {
	return l.publish(ctx, l.queue, messageOf(&letter, time.Now()))
}

// publish publishes to a queue and waits until RabbitMQ has it there. After an
// error the next call connects anew.
func (l *Letters) publish(ctx context.Context, queue string, m amqp.Publishing) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.connect(ctx)
	if err == nil {
		err = send(ctx, l.channel, l.returned, "", queue, m)
	}
	if err != nil {
		l.disconnect()
	}
	return err
}

func (l *Letters) connect(ctx context.Context) (err error) {
	if l.conn != nil && !l.conn.IsClosed() && !l.channel.IsClosed() {
		return nil
	}
	l.disconnect()
	l.conn, err = l.dialer.open(ctx, l.addresses, "dead letters", func(conn *link) (err error) {
		d := declarer{conn: conn}
		defer d.close()
		if _, err := d.queue(l.queue, letterArgs()); err != nil {
			return fmt.Errorf("declare queue %s: %w", l.queue, err)
		}
		l.channel, l.returned, err = confirming(conn, maxReturns)
		return err
	})
	return err
}

// disconnect ends the connection. l.mu is held.
func (l *Letters) disconnect() {
	if l.conn != nil {
		l.conn.hangUp()
	}
	l.conn, l.channel, l.returned = nil, nil, nil
}

// Close ends the connection, if there is one.
func (l *Letters) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disconnect()
}

// messageOf returns the message that keeps a letter. Its id is the place of the
// event in the log.
func messageOf(l *eventlog.Letter, now time.Time) amqp.Publishing {
	e := &l.Entry
	headers, detail := amqp.Table(maps.Clone(e.Headers)), l.Detail
	if size := sizeOf(headers); size > maxLetterHeaders {
		headers, detail = nil, fmt.Sprintf("%s (%d bytes of headers were left out)", detail, size)
	}
	if headers == nil {
		headers = amqp.Table{}
	}
	for _, name := range []string{"CC", "BCC", headerOffset, headerAppend, headerMark} {
		delete(headers, name)
	}
	headers[headerReason], headers[headerDetail] = l.Reason, detail
	headers[headerFrom], headers[headerKey] = e.Exchange, e.Key
	headers[headerQueue] = "log " + l.Log + " at " + e.Position.String()
	headers[headerTime] = now.UTC().Format(timeLayout)
	if e.MessageID != "" {
		headers[headerID] = e.MessageID
	}
	return amqp.Publishing{
		Headers: headers, DeliveryMode: amqp.Persistent, AppId: e.AppID, Body: e.Body,
		MessageId: eventlog.Offset{Log: l.Log, Position: e.Position}.String(),
	}
}

// sizeOf returns about how many bytes headers have.
func sizeOf(headers amqp.Table) (n int) {
	for name, value := range headers {
		n += len(name) + len(fmt.Sprint(value))
	}
	return n
}
