package rabbitmq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A DeadLetter is an event that could not be delivered, with the reason.
type DeadLetter struct {
	ID       string // the same whenever it is looked at; equal letters share it
	Reason   string // of a Reason, or RabbitMQ's own: "delivery_limit"
	Detail   string
	Exchange string // where the event was published
	Key      string
	Queue    string // where it was read
	Time     time.Time
	Body     []byte
	Headers  map[string]any

	delivery amqp.Delivery
}

// DeadLetters is the queue of the dead letters, opened for maintenance. While
// it is open, others do not see the letters that were read. Not safe for
// concurrent use.
type DeadLetters struct {
	queue    string
	stream   string // of the log
	forward  string // queue on the way to a log elsewhere
	conn     *link
	channel  *amqp.Channel
	returned chan amqp.Return
	held     int    // letters read and neither replayed nor dropped
	last     uint64 // number of the delivery read last
}

// putBackTimeout is how long RabbitMQ may take to make letters available again
// that were only read.
const (
	putBackTimeout = 2 * time.Second
	putBackPause   = 10 * time.Millisecond
)

// OpenDeadLetters connects to the first address that answers.
func OpenDeadLetters(ctx context.Context, addresses []string, prefix string) (*DeadLetters, error) {
	conn, err := dialFirst(ctx, addresses, "maintenance", stepMax)
	if err != nil {
		return nil, err
	}
	l := &DeadLetters{queue: letterQueue(prefix), stream: StreamName(prefix), forward: forwardQueue(prefix), conn: conn}
	if l.channel, l.returned, err = confirming(conn, maxReturns); err != nil {
		conn.hangUp()
		return nil, err
	}
	return l, nil
}

// Close puts back every letter that was neither replayed nor dropped, and waits up
// to putBackTimeout until RabbitMQ makes them available to others.
func (l *DeadLetters) Close() {
	defer l.conn.hangUp()
	if l.held == 0 || l.channel.Nack(l.last, true, true) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), putBackTimeout)
	defer cancel()
	for {
		if n, err := l.Count(); err != nil || n >= l.held || ctx.Err() != nil {
			return
		}
		time.Sleep(putBackPause)
	}
}

// Count returns the number of letters that no consumer has unacknowledged.
func (l *DeadLetters) Count() (int, error) {
	q, err := l.channel.QueueDeclarePassive(l.queue, true, false, false, false, nil)
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Code == amqp.NotFound {
		return 0, fmt.Errorf("there is no queue %s: no gateway has made it yet", l.queue)
	}
	return q.Messages, err
}

// Next returns the oldest letter that was not read yet; ok is false when there
// are no more.
func (l *DeadLetters) Next() (letter DeadLetter, ok bool, err error) {
	d, ok, err := l.channel.Get(l.queue, false)
	if err != nil || !ok {
		return DeadLetter{}, false, err
	}
	l.held++
	l.last = d.DeliveryTag
	return letterFrom(d), true, nil
}

// Drop removes a letter from the queue.
func (l *DeadLetters) Drop(letter DeadLetter) error {
	l.held--
	return letter.delivery.Ack(false)
}

// Replay appends the event to the log again, waits for the confirm, and removes the
// letter.
func (l *DeadLetters) Replay(ctx context.Context, letter DeadLetter) error {
	m := copyOf(&letter.delivery)
	for _, header := range []string{headerReason, headerDetail, headerQueue, headerTime, "x-death", "x-delivery-count",
		"x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"} {
		delete(m.Headers, header)
	}
	m.Headers[headerFrom], m.Headers[headerKey] = letter.Exchange, letter.Key
	m.MessageId, _ = m.Headers[headerID].(string) // the event's own again, if it had one
	delete(m.Headers, headerID)
	err := send(ctx, l.channel, l.returned, "", l.stream, m)
	if errors.Is(err, errNoQueue) { // without streams
		err = send(ctx, l.channel, l.returned, "", l.forward, m)
	}
	if err != nil {
		return fmt.Errorf("letter %s: %w", letter.ID, err)
	}
	return l.Drop(letter)
}

// letterFrom reads the gateway's headers, or those that RabbitMQ adds to messages
// that it dead-letters itself.
func letterFrom(d amqp.Delivery) DeadLetter {
	text := func(name string) string { s, _ := d.Headers[name].(string); return s }
	letter := DeadLetter{
		Reason: text(headerReason), Detail: text(headerDetail), Exchange: text(headerFrom),
		Key: text(headerKey), Queue: text(headerQueue), Body: d.Body, Headers: d.Headers, delivery: d,
	}
	letter.Time, _ = time.Parse(timeLayout, text(headerTime))
	if letter.Reason == "" {
		letter.readDeath(d.Headers)
	}
	letter.ID = letter.identity()
	return letter
}

// readDeath reads the newest entry of the header x-death (RabbitMQ, "Dead
// Letter Exchanges").
func (l *DeadLetter) readDeath(headers amqp.Table) {
	deaths, _ := headers["x-death"].([]any)
	if len(deaths) == 0 {
		l.Reason = "unknown"
		return
	}
	death, _ := deaths[0].(amqp.Table)
	l.Reason, _ = death["reason"].(string)
	l.Queue, _ = death["queue"].(string)
	l.Time, _ = death["time"].(time.Time)
	if l.Key != "" { // replayed before
		return
	}
	l.Exchange, _ = death["exchange"].(string)
	if keys, _ := death["routing-keys"].([]any); len(keys) > 0 {
		l.Key, _ = keys[0].(string)
	}
}

const identityLen = 5 // bytes of a hash; short enough to type

func (l *DeadLetter) identity() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00%d\x00", l.Queue, l.Key, l.delivery.MessageId, l.Time.UnixMilli())
	h.Write(l.Body)
	return hex.EncodeToString(h.Sum(nil)[:identityLen])
}
