package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// RabbitMQ has no streams, as before 3.9 or in a cluster upgraded from there. The
// error must say so and how to enable them. The nodes must use the log in Redis, and
// one node at a time forwards messages to it.
func TestRabbitMQWithoutStreams(t *testing.T) {
	t.Parallel()
	b, err := brokertest.Start("RABBITMQ_FEATURE_FLAGS=quorum_queue")
	testkit.Need(t, err)
	t.Cleanup(b.Close)
	w, r := newWorld(t, b), newRedisWorld(t, 0)
	stream := w.log(table(t))
	_, err = stream.Open(t.Context(), eventlog.Start{From: eventlog.FromNext, Window: 1})
	if !errors.Is(err, eventlog.ErrNoLog) || !strings.Contains(err.Error(), "enable_feature_flag stream_queue") {
		t.Errorf("Open returned %v, want ErrNoLog with the command that enables streams", err)
	}
	if _, err := stream.Append(t.Context(), eventlog.Entry{Key: "message.sent"})(); !errors.Is(err, eventlog.ErrNoLog) {
		t.Errorf("Append returned %v, want ErrNoLog", err)
	}

	var nodes []*fakeRooms
	for range 2 {
		choice := NewChoice(stream, r.log, quietLog())
		w.rooms = &fakeRooms{}
		w.start(func(c *Config) { c.Log = choice })
		if !choice.Other() {
			t.Fatal("the log is not in Redis")
		}
		nodes = append(nodes, w.rooms)
	}
	var stops []func()
	for range 2 {
		stops = append(stops, runForwarder(t, w, r.log))
	}
	const events = 2000
	for n := range events {
		w.publish("message.sent", messageBody(n), func(m *amqp.Publishing) { m.MessageId = fmt.Sprint(n) })
		if n == events/2 {
			stops[0]() // the other forwarder takes over
		}
	}
	for _, h := range nodes {
		w.rooms = h
		w.wantAll(events)
	}

	seen, err := rabbitmq.Inspect(t.Context(), w.logConfig(table(t)))
	if err != nil || seen.Found[0].Instead != w.prefix+".forward" {
		t.Errorf("Inspect returned %+v, %v; want the forward queue", seen, err)
	}

	stops[1]()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream.MoveQueues(ctx)
	w.publish("message.sent", messageBody(0)) // RabbitMQ would return it if the queue were not bound any more
}

// A broker without streams has a queue of an old version. Two nodes start at the same
// time. Its messages must be forwarded once and in order, and the queue be deleted.
func TestOldQueuesOfABrokerWithoutStreamsAreForwarded(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t, brokertest.Shared(t)), newRedisWorld(t, 0)
	ch := w.service.Channel
	if err := ch.ExchangeDeclare(w.exchanges[0], amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	name, key := w.prefix+".message.sent", "message.sent"
	args := amqp.Table{"x-queue-type": "quorum", "x-single-active-consumer": true}
	if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(name, key, w.exchanges[0], false, nil); err != nil {
		t.Fatal(err)
	}
	const old, events = 50, 60
	for n := range old {
		w.publish(key, messageBody(n))
	}
	w.start(func(c *Config) { c.Log = r.log })
	for range 2 {
		runForwarder(t, w, r.log)
	}
	testkit.Await(t, "the end of the queue", func() bool {
		check, err := w.broker.Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer check.Close()
		_, err = check.Channel.QueueDeclarePassive(name, true, false, false, false, nil)
		return err != nil
	})
	var want []delivered
	for n := range old {
		want = append(want, message(n))
	}
	w.want(want...)
	for n := old; n < events; n++ {
		w.publish(key, messageBody(n))
		want = append(want, message(n))
	}
	w.want(want...)
}

// runForwarder runs a forwarder and returns when RabbitMQ has its queue with a
// consumer. stop ends it.
func runForwarder(t *testing.T, w *world, to rabbitmq.Appender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	f := rabbitmq.NewForwarder(w.logConfig(table(t)), to)
	go func() { f.Run(ctx); close(ended) }()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	conn, err := w.broker.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { conn.Close() }()
	testkit.Await(t, "the queue and its consumer", func() bool {
		q, err := conn.Channel.QueueDeclarePassive(w.prefix+".forward", true, false, false, false, nil)
		if err != nil {
			conn.Close()
			conn, err = w.broker.Connect()
		}
		return err == nil && q.Consumers > 0
	})
	return stop
}

// refusingLog is a log that accepts nothing.
type refusingLog struct{}

func (refusingLog) Append(context.Context, eventlog.Entry) func() (eventlog.Position, error) {
	return func() (eventlog.Position, error) { return 0, errors.New("no") }
}

// retryLog is a log that fails the first Appends.
type retryLog struct {
	mu      sync.Mutex
	refuses int // number of Appends that still fail
	took    []eventlog.Entry
}

func (l *retryLog) Append(_ context.Context, e eventlog.Entry) func() (eventlog.Position, error) {
	return func() (eventlog.Position, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.refuses--; l.refuses >= 0 {
			return 0, errors.New("not yet")
		}
		l.took = append(l.took, e)
		return 0, nil
	}
}

func (l *retryLog) entries() []eventlog.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.took
}

// The log fails twice. The forwarder must keep the messages and append them in order:
// returning them would make RabbitMQ count deliveries, and drop them in the end.
func TestAFailingLogCausesNoRedeliveries(t *testing.T) {
	t.Parallel()
	w, log := newWorld(t, brokertest.Shared(t)), &retryLog{refuses: 2}
	runForwarder(t, w, log)
	const events = 10
	for n := range events {
		w.publish("message.sent", messageBody(n))
	}
	testkit.Await(t, "all messages in the log", func() bool { return len(log.entries()) >= events })
	for n, e := range log.entries() {
		if string(e.Body) != messageBody(n) {
			t.Errorf("message %d in the log is %s", n, e.Body)
		}
		if count, again := e.Headers["x-delivery-count"]; again {
			t.Errorf("message %d was delivered again: %v", n, count)
		}
	}
}

// Messages wait to be forwarded, and RabbitMQ has streams now. They must be moved into
// the stream, and the queue be deleted.
func TestForwardQueueIsMovedIntoTheStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	stop := runForwarder(t, w, refusingLog{})
	for n := range 10 {
		w.publish("message.sent", messageBody(n))
	}
	stop()
	w.start()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w.log(table(t)).MoveQueues(ctx)
	var want []delivered
	for n := range 10 {
		want = append(want, message(n))
	}
	w.want(want...)
	if _, err := w.service.Channel.QueueDeclarePassive(w.prefix+".forward", true, false, false, false, nil); err == nil {
		t.Error("the forward queue still exists, want it deleted")
	}
}
