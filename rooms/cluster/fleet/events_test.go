package fleet

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
	"github.com/hometrip/gateway/upstream/brokertest"
)

// prefetch is RABBITMQ_PREFETCH's default: how many events a gateway has and
// has not acknowledged, at most, and so how many come twice when it dies.
const prefetch = 500

// A service publishes numbered events to conversation 1.
type service struct {
	publisher *brokertest.Publisher
	name      string   // of its exchange
	settings  []string // of gateways that listen to it
}

func newService(t *testing.T, name string) *service {
	t.Helper()
	broker := brokertest.Shared(t)
	publisher, err := broker.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(publisher.Close)
	return &service{publisher, name, []string{
		"USE_RABBITMQ=true", "RABBITMQ_URL=" + broker.URL, "RABBITMQ_EXCHANGE=" + name, "RABBITMQ_QUEUE_PREFIX=" + name,
	}}
}

// publish publishes the events from one number up to another in the
// background; the channel has the result.
func (s *service) publish(from, to int) <-chan error {
	const window = 1000 // events published before their confirms are awaited
	result := make(chan error, 1)
	go func() {
		for from < to {
			var messages []amqp.Publishing
			for ; from < to && len(messages) < window; from++ {
				messages = append(messages, amqp.Publishing{Body: fmt.Appendf(nil, `{"conversationId":1,"message":%d}`, from)})
			}
			if err := s.publisher.Publish(s.name, "message.sent", messages...); err != nil {
				result <- err
				return
			}
		}
		result <- nil
	}()
	return result
}

// A witness is a client in conversation 1 that notes which numbered events
// reach it. The first may have any number; from there on each number must come
// for the first time in its turn, and may come again at any time.
type witness struct {
	*sioclient.Client
	name  string
	ended chan struct{} // closed when nothing more can come

	mu      sync.Mutex // guards the following
	first   int        // -1: nothing has come
	next    int        // the first number that has not come
	repeats int
	err     error
}

func (g *gateway) witness(name string) *witness {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: gatewaytest.Token(g.t, name)})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	w := &witness{Client: c, name: name, ended: make(chan struct{}), first: -1}
	if _, err := c.EmitAck(ctx, "join_room", map[string]any{"roomType": "conversation", "roomId": 1}); err != nil {
		g.t.Fatal(err)
	}
	go w.read()
	return w
}

// read is a goroutine.
func (w *witness) read() {
	defer close(w.ended)
	for {
		e, err := w.Next(context.Background())
		var body struct{ Message int }
		if err == nil && e.Name == "new_message" {
			err = e.Decode(&body)
		}
		w.mu.Lock()
		if err == nil && e.Name == "new_message" {
			w.see(body.Message)
		} else if err != nil && w.err == nil {
			w.err = err
		}
		over := w.err != nil
		w.mu.Unlock()
		if over {
			return
		}
	}
}

// see notes an event. w.mu is held.
func (w *witness) see(n int) {
	if w.first < 0 {
		w.first, w.next = n, n
	}
	switch {
	case n == w.next:
		w.next++
	case n < w.next:
		w.repeats++
	default:
		w.err = fmt.Errorf("%s got event %d, and %d has not come", w.name, n, w.next)
	}
}

func (w *witness) saw() (first, next, repeats int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first, w.next, w.repeats, w.err
}

// await waits until all numbers below n have come, as long as there is
// progress.
func (w *witness) await(t *testing.T, n int) {
	t.Helper()
	last, deadline := -1, time.Now()
	for {
		_, next, _, err := w.saw()
		switch {
		case err != nil:
			t.Fatalf("%s, before event %d: %v", w.name, n, err)
		case next >= n:
			return
		case next > last:
			last, deadline = next, time.Now().Add(patience)
		case time.Now().After(deadline):
			t.Fatalf("%s waits for event %d in vain", w.name, next)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// wantAll wants the events from 0 to n, which came twice at most so often.
func (w *witness) wantAll(t *testing.T, n, mostRepeats int) {
	t.Helper()
	w.await(t, n)
	if first, next, repeats, _ := w.saw(); first != 0 || next != n || repeats > mostRepeats {
		t.Errorf("%s got events %d to %d, %d of them again, want 0 to %d and at most %d again", w.name, first, next-1, repeats, n-1, mostRepeats)
	}
}

// taken is how many events of RabbitMQ a gateway has got.
func (g *gateway) taken() float64 { return g.Metric(`gateway_service_events_total{what="received"}`) }

// theOneThatTakes returns the gateway that has the queue.
func theOneThatTakes(t *testing.T, gateways []*gateway, least int) (index int) {
	t.Helper()
	index = -1
	for i, g := range gateways {
		switch n := g.taken(); {
		case n == 0:
		case index >= 0 || n < float64(least):
			t.Fatalf("gateway %d has taken %v events beside another, or of %d", i, n, least)
		default:
			index = i
		}
	}
	return index
}

// TestEventsKeepTheirOrderOnEveryNode: three gateways share a queue, which one
// of them takes; the members of a room sit on all three. Then that one dies.
func TestEventsKeepTheirOrderOnEveryNode(t *testing.T) {
	f := newFleet(t)
	s := newService(t, "order")
	var gateways []*gateway
	var witnesses [][]*witness
	for i := range 3 {
		g := f.start(s.settings...)
		gateways = append(gateways, g)
		witnesses = append(witnesses, []*witness{g.witness(fmt.Sprint("first of ", i)), g.witness(fmt.Sprint("second of ", i))})
	}
	const calm = 5_000
	if err := <-s.publish(0, calm); err != nil {
		t.Fatal(err)
	}
	for _, members := range witnesses {
		for _, w := range members {
			w.wantAll(t, calm, 0)
		}
	}
	dies := theOneThatTakes(t, gateways, calm)

	const all = 2 * calm
	published := s.publish(calm, all)
	heir := (dies + 1) % len(gateways)
	witnesses[heir][0].await(t, calm+calm/4)
	gateways[dies].Kill()
	if _, next, _, _ := witnesses[heir][0].saw(); next >= all {
		t.Error("the gateway was killed when all was over")
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	left := append(append([]*gateway{}, gateways[:dies]...), gateways[dies+1:]...)
	for i, members := range witnesses {
		for _, w := range members {
			if i != dies {
				w.wantAll(t, all, prefetch)
			}
		}
	}
	theOneThatTakes(t, left, 1)
}

// TestNoEventIsLostWhileAGatewayIsKilledAgainAndAgain: the only gateway that
// takes events is killed in mid-stream and comes back, three times. A client
// of another one stays connected and gets them all; those of the first get
// theirs without a gap as long as they are connected.
func TestNoEventIsLostWhileAGatewayIsKilledAgainAndAgain(t *testing.T) {
	const all = 100_000
	f := newFleet(t)
	s := newService(t, "killed")
	first, second := f.start(s.settings...), f.start()
	stays := second.witness("the one that stays")
	comeAndGo := []*witness{first.witness("the first of those that come and go")}
	published := s.publish(0, all)
	for _, at := range []int{all / 5, 2 * all / 5, 3 * all / 5} {
		stays.await(t, at)
		first.Kill()
		if _, next, _, err := stays.saw(); next >= all || err != nil {
			t.Fatalf("event %d came before the kill at %d; %v", next, at, err)
		}
		first.Launch()
		comeAndGo = append(comeAndGo, first.witness(fmt.Sprint("the one that came after event ", at)))
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	stays.wantAll(t, all, 3*prefetch)
	comeAndGo[3].await(t, all)
	for _, w := range comeAndGo[:3] {
		<-w.ended
		if first, next, _, err := w.saw(); first < 0 || err == nil || err != w.Err() {
			t.Errorf("%s got events %d to %d: %v", w.name, first, next-1, err)
		}
	}
	_, _, repeats, _ := stays.saw()
	t.Logf("%d events came twice", repeats)
}

// TestPublishingOverHTTPWaitsForTheOtherNodes: 202 means that the event is
// published, not that it will be.
func TestPublishingOverHTTPWaitsForTheOtherNodes(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, ann, bob := f.pair()
	if err := f.redis.Pause(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan int, 1)
	go func() {
		status, _, _ := a.Post("message.sent", `{"conversationId":1,"message":"hi"}`)
		answered <- status
	}()
	want(t, ann, "new_message hi")
	select {
	case status := <-answered:
		t.Errorf("status %d while Redis is paused", status)
	default:
	}
	if err := f.redis.Resume(); err != nil {
		t.Fatal(err)
	}
	if status := <-answered; status != http.StatusAccepted {
		t.Errorf("status %d, want 202", status)
	}
	want(t, bob, "new_message hi")
	if n := a.Metric(`gateway_cluster_directory_lookups_total{result="miss"}`); n < 1 {
		t.Errorf("%v lookups missed memory, want the first", n)
	}
}
