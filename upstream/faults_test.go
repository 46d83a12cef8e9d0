package upstream

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream/brokertest"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// A proxy stands between consumer and broker and cuts connections in the
// middle of what they carry.
type proxy struct {
	listener net.Listener
	target   string
	budget   int64 // bytes from the broker before a connection is cut; 0: no cut

	mu    sync.Mutex // guards the following
	conns []net.Conn
	cuts  int
}

// between starts a proxy in front of the broker.
func between(t *testing.T, b *brokertest.Broker, budget int64) (p *proxy, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &proxy{listener: l, target: b.Addr, budget: budget}
	p.start(t)
	return p, fmt.Sprintf("amqp://guest:guest@%s/", l.Addr())
}

func (p *proxy) start(t *testing.T) {
	go p.serve()
	t.Cleanup(func() { p.listener.Close(); p.cutAll() })
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		budget := p.budget
		p.mu.Unlock()
		go func() { _, _ = io.Copy(server, client); server.Close() }()
		go func() {
			if budget > 0 {
				_, _ = io.CopyN(client, server, budget)
				p.mu.Lock()
				p.cuts++
				p.mu.Unlock()
			} else {
				_, _ = io.Copy(client, server)
			}
			client.Close()
			server.Close()
		}()
	}
}

func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *proxy) setBudget(n int64) {
	p.mu.Lock()
	p.budget = n
	p.mu.Unlock()
	p.cutAll()
}

// stream publishes numbered events, in windows, and publishes those again of
// which it is not known that RabbitMQ has them. Each has an id.
func (w *world) stream(events int) {
	w.t.Helper()
	const window = 100
	deadline := time.Now().Add(2 * patience)
	for n := 0; n < events; {
		if time.Now().After(deadline) {
			w.t.Errorf("only %d events could be published", n)
			return
		}
		if w.publishWindow(n, min(n+window, events)) {
			n += window
			continue
		}
		await(w.t, "the broker", func() bool {
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

// wantAll wants every event once, in the order in which they were published.
// Where windows were published again, those of their events that RabbitMQ had
// are duplicates, and the order may step back.
func (w *world) wantAll(events int) {
	w.t.Helper()
	deadline := time.Now().Add(2 * patience)
	for len(w.house.all()) < events {
		if time.Now().After(deadline) {
			w.t.Fatalf("%d events came, want %d; %+v, %+v", len(w.house.all()), events, w.consumer.Status(), w.consumer.Totals())
		}
		time.Sleep(50 * time.Millisecond)
	}
	got := w.house.all()
	if len(got) != events {
		w.t.Fatalf("%d events came, want %d", len(got), events)
	}
	for n, d := range got {
		if d != message(n) {
			w.t.Fatalf("%v is number %d", d, n)
		}
	}
}

func TestNothingIsLostWhenConnectionsAreCutInMidFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	const events = 5000
	p, address := between(t, w.broker, 0)
	w.start(func(c *Config) {
		c.Log = w.log(c.Table, func(c *rabbitmq.Config) { c.Addresses = []string{address} })
	})
	p.setBudget(150_000) // somewhere in a frame; some 700 events
	w.stream(events)
	w.wantAll(events)
	p.mu.Lock()
	cuts := p.cuts
	p.mu.Unlock()
	if cuts < 5 {
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
	await(t, "the first events", func() bool { return len(w.house.all()) > events/10 })
	w.broker.Kill()
	await(t, "attempts in vain", func() bool {
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
	await(w.t, "the second connection", func() bool {
		s := w.consumer.Status()
		return s.Connected && s.Connections > 1
	})
	w.dial()
}

func TestAConsumerEndsAlsoWhileNothingCanBeDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.house.full = make(chan struct{})
	w.start()
	w.publish("message.sent", messageBody(0))
	w.stop()
}
