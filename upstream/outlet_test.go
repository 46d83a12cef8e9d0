package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// startOutlet runs an outlet until the test ends.
func startOutlet(t *testing.T, b *brokertest.Broker, change ...func(*rabbitmq.OutletConfig)) *rabbitmq.Outlet {
	t.Helper()
	c := rabbitmq.OutletConfig{Addresses: []string{b.URL}, Exchange: t.Name(), Purpose: "test", Logger: quietLog()}
	for _, f := range change {
		f(&c)
	}
	o := rabbitmq.NewOutlet(c)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { o.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return o
}

// bound declares a queue that gets everything published to the test's exchange.
func bound(t *testing.T, b *brokertest.Broker) (queue string) {
	t.Helper()
	channel := channelOf(t, b)
	name := t.Name() + "-queue"
	if err := channel.ExchangeDeclare(t.Name(), "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := channel.QueueDeclare(name, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := channel.QueueBind(name, "#", t.Name(), false, nil); err != nil {
		t.Fatal(err)
	}
	return name
}

func channelOf(t *testing.T, b *brokertest.Broker) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return channel
}

// published reads all messages of a queue.
func published(t *testing.T, b *brokertest.Broker, queue string) (list []amqp.Delivery) {
	t.Helper()
	channel := channelOf(t, b)
	for {
		m, ok, err := channel.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return list
		}
		list = append(list, m)
	}
}

func numbered(n int) rabbitmq.Message {
	return rabbitmq.Message{
		Key: fmt.Sprint("client.", n%3), ID: fmt.Sprint("m", n), Type: "mark_read",
		Body: fmt.Appendf(nil, `{"n":%d}`, n), Published: noon,
	}
}

// An outlet publishes 2,000 messages. RabbitMQ must get all of them once, in order,
// with their properties, and the callbacks must get no error.
func TestOutletPublishesInOrder(t *testing.T) {
	t.Parallel()
	const all, awaited = 2000, 10 // only the last ones have callbacks, which fail after 5 s
	b := brokertest.Shared(t)
	queue := bound(t, b)
	o := startOutlet(t, b)
	for n := range all - awaited {
		if !o.Publish(numbered(n), nil) {
			t.Fatal("the outlet is full")
		}
	}
	testkit.Await(t, "confirms", func() bool { return o.Stats().Waiting == 0 })
	answers := make(chan error, awaited)
	for n := range awaited {
		if !o.Publish(numbered(all-awaited+n), func(err error) { answers <- err }) {
			t.Fatal("full")
		}
	}
	for range awaited {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	list := published(t, b, queue)
	if len(list) != all {
		t.Fatalf("%d messages, want %d", len(list), all)
	}
	for n, m := range list {
		want := numbered(n)
		if m.RoutingKey != want.Key || m.MessageId != want.ID || string(m.Body) != string(want.Body) || m.Type != want.Type ||
			m.AppId != "websocket-gateway" || m.DeliveryMode != amqp.Persistent || m.ContentType != "application/json" || !m.Timestamp.Equal(noon.Truncate(time.Second)) {
			t.Fatalf("message %d has wrong properties: %+v", n, m)
		}
	}
	if s := o.Stats(); s.Waiting != 0 || s.Confirmed != all {
		t.Errorf("stats %+v, want all confirmed and none waiting", s)
	}
}

// RabbitMQ is killed and restarted while an outlet has unconfirmed messages. All
// messages must arrive in order; some may arrive twice.
func TestOutletResumesAfterRabbitMQWasKilled(t *testing.T) {
	t.Parallel()
	b := ownBroker(t)
	queue := bound(t, b)
	if err := b.Sync(); err != nil {
		t.Fatal(err)
	}
	o := startOutlet(t, b)
	n := 0
	say := func(count int) {
		for range count {
			if !o.Publish(numbered(n), nil) {
				t.Fatal("full")
			}
			n++
		}
	}
	say(100)
	testkit.Await(t, "confirms", func() bool { return o.Stats().Waiting == 0 })
	say(1000)
	b.Kill()
	say(1000)
	if err := b.Launch(); err != nil {
		t.Fatal(err)
	}
	say(100)
	testkit.Await(t, "confirms", func() bool { return o.Stats().Waiting == 0 })
	var firsts []string // in order of their first arrival
	seen := make(map[string]bool)
	for _, m := range published(t, b, queue) {
		if !seen[m.MessageId] {
			seen[m.MessageId] = true
			firsts = append(firsts, m.MessageId)
		}
	}
	for i, id := range firsts {
		if id != fmt.Sprint("m", i) {
			t.Fatalf("message %d has id %s", i, id)
		}
	}
	if len(firsts) != n {
		t.Errorf("%d messages, want %d", len(firsts), n)
	}
}

// RabbitMQ cannot be reached. A callback must get an error after 5 s, and the outlet
// must accept no more than its limit of bytes.
func TestOutletWithoutRabbitMQ(t *testing.T) {
	testkit.Slow(t, "it waits 5 s for a confirmation")
	t.Parallel()
	o := startOutlet(t, &brokertest.Broker{URL: "amqp://guest:guest@127.0.0.1:1/"})
	answer := make(chan error, 1)
	if !o.Publish(numbered(0), func(err error) { answer <- err }) {
		t.Fatal("full")
	}
	if err := <-answer; err == nil || !strings.Contains(err.Error(), "not confirmed") {
		t.Errorf("callback got %v, want an error that it is not confirmed", err)
	}
	big := rabbitmq.Message{Body: make([]byte, 1<<20)}
	taken := 0
	for o.Publish(big, nil) {
		taken++
	}
	if s := o.Stats(); taken != 31 || s.Full != 1 {
		t.Errorf("%d messages of 1 MiB accepted, want 31; stats %+v, want Full 1", taken, s)
	}
}

func TestOutletReportsMessagesThatNoQueueTakes(t *testing.T) {
	t.Parallel()
	o := startOutlet(t, brokertest.Shared(t), func(c *rabbitmq.OutletConfig) { c.Required, c.Eager = true, true })
	testkit.Await(t, "a connection", o.Connected) // otherwise the callbacks would get another error after 5 s
	const all = 600                               // more than may be unconfirmed at once
	answers := make(chan error, all)
	for n := range all {
		o.Publish(numbered(n), func(err error) { answers <- err })
	}
	for range all {
		if err := <-answers; err == nil || !strings.Contains(err.Error(), "no queue takes it") {
			t.Fatalf("callback got %v, want an error that no queue takes it", err)
		}
	}
	if s := o.Stats(); s.NoQueue != all || s.Confirmed != 0 {
		t.Errorf("stats %+v, want NoQueue 600 and none confirmed", s)
	}
}

func TestOutletFailsPendingMessagesWhenItEnds(t *testing.T) {
	t.Parallel()
	o := rabbitmq.NewOutlet(rabbitmq.OutletConfig{Addresses: []string{"amqp://127.0.0.1:1/"}, Exchange: "x", Logger: quietLog()})
	var answers []error
	for n := range 3 {
		o.Publish(numbered(n), func(err error) { answers = append(answers, err) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Flush returned %v, want context.Canceled", err)
	}
	o.Run(ctx)
	if len(answers) != 3 || slices.Contains(answers, nil) {
		t.Errorf("callbacks got %v, want three errors", answers)
	}
}
