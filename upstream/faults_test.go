package upstream

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/upstream/brokertest"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// between starts a proxy in front of the broker.
func between(t *testing.T, b *brokertest.Broker) (p *testkit.Proxy, address string) {
	t.Helper()
	p, err := testkit.NewProxy(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, fmt.Sprintf("amqp://guest:guest@%s/", p.Addr)
}

// streamWindow is how many events stream publishes before it waits for their
// confirmations.
const streamWindow = 100

// stream publishes numbered events, in windows, and publishes those again of
// which it is not known that RabbitMQ has them. Each has an id.
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

// wantAll wants every event once, and the windows in the order in which they
// were published. Where a window was published again, RabbitMQ may have taken
// some of its events, and not the first, at the first time.
func (w *world) wantAll(events int) {
	w.t.Helper()
	deadline := time.Now().Add(2 * patience)
	for len(w.rooms.all()) < events {
		if time.Now().After(deadline) {
			w.t.Fatalf("%d events came, want %d; %+v, %+v", len(w.rooms.all()), events, w.consumer.Status(), w.consumer.Totals())
		}
		time.Sleep(50 * time.Millisecond)
	}
	got := w.rooms.all()
	if len(got) != events {
		w.t.Fatalf("%d events came, want %d", len(got), events)
	}
	for from := 0; from < events; from += streamWindow {
		to := min(from+streamWindow, events)
		for n := from; n < to; n++ {
			if !slices.Contains(got[from:to], message(n)) {
				w.t.Fatalf("%v is not among the events %d to %d that came", message(n), from, to)
			}
		}
	}
}

func TestNothingIsLostWhenConnectionsAreCutInMidFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	const events = 5000
	p, address := between(t, w.broker)
	w.start(func(c *Config) {
		c.Log = w.log(c.Table, func(c *rabbitmq.Config) { c.Addresses = []string{address} })
	})
	p.Limit(150_000) // somewhere in a frame; some 700 events
	w.stream(events)
	w.wantAll(events)
	if cuts := p.Cuts(); cuts < 5 {
		t.Errorf("only %d cuts", cuts)
	}
	n := w.consumer.Totals()
	if fmt.Sprint(n.Poison) != fmt.Sprint(nothingCounted().Poison) || n.Gaps != 0 || n.Logs != 0 {
		t.Errorf("counted %+v", n)
	}
}

// nothingCounted is what a consumer has counted that has done nothing.
func nothingCounted() Totals { var c counters; return c.totals() }

func TestNothingIsLostWhenRabbitMQIsKilledAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ownBroker(t)).start()
	w.restart() // RabbitMQ 3.10 hangs over a stream that was made right before it is killed
	const events = 10_000
	done := make(chan struct{})
	go func() { defer close(done); w.stream(events) }()
	testkit.Await(t, "the first events", func() bool { return len(w.rooms.all()) > events/10 })
	w.broker.Kill()
	testkit.Await(t, "attempts in vain", func() bool {
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

// restart stops RabbitMQ in an orderly way and starts it again.
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

func TestAConsumerEndsAlsoWhileNothingCanBeDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.rooms.full = make(chan struct{})
	w.start()
	w.publish("message.sent", messageBody(0))
	w.stop()
}

// TestASilentConnectionIsSoonGivenUp: a RabbitMQ that is starting takes
// connections on which it answers nothing any more, at some point of opening
// the log. The library by itself gives each connection 30 s, and start waits no
// longer than that for both.
func TestASilentConnectionIsSoonGivenUp(t *testing.T) {
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
			t.Errorf("no connection was silent behind %d bytes", bytes)
		}
		w.publish("message.sent", messageBody(0))
		w.want(message(0))
	}
}

// TestReadingGoesOnSoonAfterRabbitMQIsBack, also when it was away for so long
// that attempts follow each other slowly.
func TestReadingGoesOnSoonAfterRabbitMQIsBack(t *testing.T) {
	t.Parallel()
	const attempts = 8
	w := newWorld(t, ownBroker(t))
	w.start(func(c *Config) { c.RetryMin, c.RetryMax = 0, 0 })
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
	if out, err := w.broker.Ctl("stop_app"); err != nil {
		t.Fatal(out, err)
	}
	testkit.Await(t, "attempts in vain", func() bool { return w.consumer.Status().Attempts >= attempts })
	// With pauses that double, so many more would take minutes.
	testkit.Await(t, "more attempts at the same pace", func() bool { return w.consumer.Status().Attempts >= 2*attempts })
	if out, err := w.broker.Ctl("start_app"); err != nil {
		t.Fatal(out, err)
	}
	w.awaitConnected()
	w.dial()
	w.publish("message.sent", messageBody(1))
	w.want(message(0), message(1))
}

// TestTheLogIsReadWhileRabbitMQIsShortOfMemory: it reads nothing from connections
// that publish then.
func TestTheLogIsReadWhileRabbitMQIsShortOfMemory(t *testing.T) {
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
