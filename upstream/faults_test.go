package upstream

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// between starts a proxy in front of the broker and returns it with its AMQP address.
func between(t *testing.T, b *brokertest.Broker) (p *testkit.Proxy, address string) {
	t.Helper()
	p, err := testkit.NewProxy(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, fmt.Sprintf("amqp://guest:guest@%s/", p.Addr)
}

// streamWindow is the number of events that stream publishes before it waits for their
// confirms.
const streamWindow = 100

// stream publishes numbered events in windows, each event with an id. A window that
// was not confirmed completely is published again.
func (w *world) stream(events int) {
	w.t.Helper()
	deadline := time.Now().Add(2 * patience)
	for n := 0; n < events; {
		if time.Now().After(deadline) {
			w.t.Errorf("only %d events could be published", n)
			return
		}
		if w.publishWindow(n, min(n+streamWindow, events)) {
			n += streamWindow
			continue
		}
		testkit.Await(w.t, "the broker", func() bool {
			conn, err := amqp.Dial(w.broker.URL)
			if err != nil {
				return false
			}
			conn.Close()
			return true
		})
		w.dial()
	}
}

func (w *world) publishWindow(from, to int) bool {
	var window []amqp.Publishing
	for n := from; n < to; n++ {
		window = append(window, amqp.Publishing{MessageId: fmt.Sprint(n), Body: []byte(messageBody(n))})
	}
	return w.service.Publish(w.exchanges[0], "message.sent", window...) == nil
}

// wantAll waits until every event was delivered exactly once, with the windows in the
// order of publishing. Within a window that was published again the order may differ:
// RabbitMQ may have accepted some of its events at the first attempt.
func (w *world) wantAll(events int) {
	w.t.Helper()
	deadline := time.Now().Add(2 * patience)
	for len(w.rooms.all()) < events {
		if time.Now().After(deadline) {
			w.t.Fatalf("%d events were delivered, want %d; status %+v, counted %+v", len(w.rooms.all()), events, w.consumer.Status(), w.consumer.Totals())
		}
		time.Sleep(50 * time.Millisecond)
	}
	got := w.rooms.all()
	if len(got) != events {
		w.t.Fatalf("%d events were delivered, want %d", len(got), events)
	}
	for from := 0; from < events; from += streamWindow {
		to := min(from+streamWindow, events)
		for n := from; n < to; n++ {
			if !slices.Contains(got[from:to], message(n)) {
				w.t.Fatalf("%v is not among the delivered events %d to %d", message(n), from, to)
			}
		}
	}
}

// Connections to RabbitMQ are cut every 150,000 bytes. Every event must be delivered
// once.
func TestNoEventIsLostWhenConnectionsAreCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	const events = 5000
	p, address := between(t, w.broker)
	w.start(func(c *Config) {
		c.Log = w.log(c.Table, func(c *rabbitmq.Config) { c.Addresses = []string{address} })
	})
	p.Limit(150_000) // about 700 events; the cut is inside of a frame
	w.stream(events)
	w.wantAll(events)
	if cuts := p.Cuts(); cuts < 5 {
		t.Errorf("only %d cuts, want 5 or more", cuts)
	}
	n := w.consumer.Totals()
	if fmt.Sprint(n.Poison) != fmt.Sprint(nothingCounted().Poison) || n.Gaps != 0 || n.Logs != 0 {
		t.Errorf("counted %+v", n)
	}
}

// nothingCounted returns the totals of a new consumer.
func nothingCounted() Totals { var c counters; return c.totals() }

// RabbitMQ is killed and restarted while events are published and read. Every event
// must be delivered once.
func TestNoEventIsLostWhenRabbitMQIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ownBroker(t)).start()
	w.restart() // RabbitMQ 3.10 hangs if it is killed right after a stream was declared
	const events = 10_000
	done := make(chan struct{})
	go func() { defer close(done); w.stream(events) }()
	testkit.Await(t, "the first events", func() bool { return len(w.rooms.all()) > events/10 })
	w.broker.Kill()
	testkit.Await(t, "failed attempts", func() bool {
		s := w.consumer.Status()
		return !s.Connected && s.Attempts >= 2 && s.LastError != ""
	})
	if err := w.broker.Launch(); err != nil {
		t.Fatal(err)
	}
	<-done
	w.wantAll(events)
	w.awaitConnected()
	s, n := w.consumer.Status(), w.consumer.Totals()
	if s.Connections < 3 || s.Attempts != 0 || n.Gaps != 0 || n.Logs != 0 {
		t.Errorf("status %+v, counted %+v", s, n)
	}
	t.Logf("%d events, %d published twice", events, n.Duplicates)
}

// restart stops and starts RabbitMQ's application and waits until the consumer is
// connected again.
func (w *world) restart() {
	w.t.Helper()
	for _, command := range []string{"stop_app", "start_app"} {
		if _, err := w.broker.Ctl(command); err != nil {
			w.t.Fatal(err)
		}
	}
	testkit.Await(w.t, "the second connection", func() bool {
		s := w.consumer.Status()
		return s.Connected && s.Connections > 1
	})
	w.dial()
}

// A consumer can be stopped while the rooms accept nothing.
func TestAConsumerStopsWhileNothingCanBeDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.rooms.full = make(chan struct{})
	w.start()
	w.publish("message.sent", messageBody(0))
	w.stop()
}

// A connection to RabbitMQ becomes silent at several points of opening the log, as
// those to a starting RabbitMQ may. The consumer must give up each one within the 30 s
// that start waits; the AMQP library alone would wait 30 s for each.
func TestASilentConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, bytes := range []int64{1, 300, 800, 850} { // 300: in the handshake; 800: some declarations are answered
		w := newWorld(t, brokertest.Shared(t))
		p, address := between(t, w.broker)
		p.Mute(2, bytes)
		w.start(func(c *Config) {
			c.Log = w.log(c.Table, func(c *rabbitmq.Config) { c.Addresses = []string{address} })
			c.RetryMin, c.RetryMax = 0, 0
		})
		if s := w.consumer.Status(); s.LastError == "" {
			t.Errorf("no connection failed although it was muted after %d bytes", bytes)
		}
		w.publish("message.sent", messageBody(0))
		w.want(message(0))
	}
}

// RabbitMQ is away for a long time. The consumer must keep trying at the same pace and
// read again soon after RabbitMQ is back.
func TestReadingResumesSoonAfterAnOutageOfRabbitMQ(t *testing.T) {
	t.Parallel()
	const attempts = 8
	w := newWorld(t, ownBroker(t))
	w.start(func(c *Config) { c.RetryMin, c.RetryMax = 0, 0 })
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
	if out, err := w.broker.Ctl("stop_app"); err != nil {
		t.Fatal(out, err)
	}
	testkit.Await(t, "failed attempts", func() bool { return w.consumer.Status().Attempts >= attempts })
	// If the pauses doubled, this many more attempts would take minutes.
	testkit.Await(t, "more attempts at the same pace", func() bool { return w.consumer.Status().Attempts >= 2*attempts })
	if out, err := w.broker.Ctl("start_app"); err != nil {
		t.Fatal(out, err)
	}
	w.awaitConnected()
	w.dial()
	w.publish("message.sent", messageBody(1))
	w.want(message(0), message(1))
}

// RabbitMQ raises a memory alarm, during which it reads nothing from connections that
// publish. The log must be opened and read nevertheless.
func TestTheLogIsOpenedDuringAMemoryAlarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ownBroker(t))
	watermark := func(share string) {
		t.Helper()
		if out, err := w.broker.Ctl("set_vm_memory_high_watermark", share); err != nil {
			t.Fatal(out, err)
		}
	}
	watermark("0.00001")
	testkit.Await(t, "an alarm", func() bool {
		out, err := w.broker.Ctl("eval", "rabbit_alarm:get_alarms().")
		return err == nil && strings.Contains(out, "memory")
	})
	w.start()
	watermark("0.9")
	testkit.Await(t, "the end of the alarm", func() bool {
		out, err := w.broker.Ctl("eval", "rabbit_alarm:get_alarms().")
		return err == nil && !strings.Contains(out, "memory")
	})
	w.dial()
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
}
