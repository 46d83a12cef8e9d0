package upstream

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/rooms/cluster/redistest"
	"github.com/hometrip/gateway/upstream/brokertest"
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
	p = &proxy{listener: l, target: hostOf(b.URL), budget: budget}
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
// which it is not known that RabbitMQ has them; connect gives it a channel.
func (w *world) stream(events int) {
	w.t.Helper()
	const window = 100
	for n := 0; n < events; {
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
		window = append(window, amqp.Publishing{Body: []byte(messageBody(n))})
	}
	return w.service.Publish(w.exchanges[0], "message.sent", window...) == nil
}

// wantAll wants every number at least once, and between repetitions the order
// in which they were published: what comes is the number after the last, or a
// step back to something that came before.
func (w *world) wantAll(events int) (repeated int) {
	w.t.Helper()
	next := func() (next int) {
		repeated = 0
		last := -1
		for _, d := range w.house.all() {
			n := numberOf(w.t, d)
			if n > last+1 {
				w.t.Fatalf("event %d comes after %d", n, last)
			}
			if n < next {
				repeated++
			}
			last = n
			next = max(next, n+1)
		}
		return next
	}
	deadline := time.Now().Add(2 * patience)
	for next() < events {
		if time.Now().After(deadline) {
			w.t.Fatalf("events up to %d came, want %d; %+v", next(), events, w.consumer.Status())
		}
		time.Sleep(50 * time.Millisecond)
	}
	return repeated
}

func TestNothingIsLostWhenConnectionsAreCutInMidFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	const events = 5000
	p, address := between(t, w.broker, 0)
	w.start(func(c *Config) { c.Addresses = []string{address} })
	p.setBudget(150_000) // somewhere in a frame; some 700 events
	w.stream(events)
	repeated := w.wantAll(events)
	p.mu.Lock()
	cuts := p.cuts
	p.mu.Unlock()
	if cuts < 5 {
		t.Errorf("only %d cuts", cuts)
	}
	t.Logf("%d events, %d cuts, %d came twice", events, cuts, repeated)
	if n := w.consumer.Totals().Poison; fmt.Sprint(n) != fmt.Sprint(nothingCounted().Poison) {
		t.Errorf("poison %v", n)
	}
	p.setBudget(0)
	w.stopWhenAcknowledged()
	if n := w.depth(letterQueue(w.prefix)); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// nothingCounted is what a consumer has counted that has done nothing.
func nothingCounted() Totals { var c counters; return c.totals() }

// stopWhenAcknowledged waits until RabbitMQ has nothing left for the consumer.
func (w *world) stopWhenAcknowledged() {
	w.t.Helper()
	await(w.t, "an empty queue", func() bool { return w.depth(w.prefix+".message.sent") == 0 })
	w.stop()
	if n := w.depth(w.prefix + ".message.sent"); n != 0 {
		w.t.Errorf("%d events were not acknowledged", n)
	}
}

func TestNothingIsLostWhenRabbitMQIsKilledAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ownBroker(t)).start()
	w.restart() // RabbitMQ 3.10 hangs over a queue that was made right before it is killed
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
	repeated := w.wantAll(events)
	w.awaitConnected()
	s := w.consumer.Status()
	if s.Connections < 3 || s.Attempts != 0 {
		t.Errorf("status %+v", s)
	}
	t.Logf("%d events, %d came twice", events, repeated)
	w.stopWhenAcknowledged()
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
	w.house.fail = errAway
	w.start()
	w.publish("message.sent", messageBody(0))
	await(t, "an attempt", func() bool { return w.consumer.Totals().Retries > 0 })
	w.stop()
	w.house.set(func(h *house) { h.fail = nil })
	w.start()
	w.want(message(0))
}

// TestWhoPublishesDoesNotWaitForEver: a RabbitMQ that has just started may keep
// a connection and never answer on it.
func TestWhoPublishesDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	p, err := redistest.NewProxy(brokertest.Shared(t).Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	conn, err := dial(t.Context(), "amqp://guest:guest@"+p.Addr+"/", "test")
	if err != nil {
		t.Fatal(err)
	}
	p.Hold()
	if _, _, err := confirming(conn); err == nil || !strings.Contains(err.Error(), "no answer in 10s") {
		t.Errorf("got %v, want to hear that there was no answer", err)
	}
}
