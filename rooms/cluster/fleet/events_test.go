package fleet

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
)

// A service publishes numbered events to conversation 1.
type service struct {
	publisher *brokertest.Publisher
	name      string       // name of its exchange
	pad       string       // padding in each event
	opened    atomic.Int64 // the number of the next event
}

// unread is a setting for tests that publish as fast as RabbitMQ confirms.
// Their clients may have all events unread, and must not be disconnected for
// it.
const unread = "MAX_PENDING_BYTES=60000000"

// service returns a service whose exchange all gateways of the fleet read.
func (f *fleet) service(name string) *service {
	f.t.Helper()
	t := f.t
	broker := brokertest.Shared(t)
	publisher, err := broker.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(publisher.Close)
	f.listenTo(broker, name)
	f.events = &service{publisher: publisher, name: name}
	return f.events
}

// listenTo has the gateways of the fleet use an exchange and queues of that name.
func (f *fleet) listenTo(broker *brokertest.Broker, name string) {
	f.settings = append(f.settings,
		"USE_RABBITMQ=true", "RABBITMQ_URL="+broker.URL, "RABBITMQ_EXCHANGE="+name, "RABBITMQ_QUEUE_PREFIX="+name)
}

func (s *service) body(n int) []byte {
	return fmt.Appendf(nil, `{"conversationId":1,"message":%d,"senderId":"%s"}`, n, s.pad)
}

// send publishes the next events and waits for their confirms.
func (s *service) send(events int) error {
	from := int(s.opened.Add(int64(events))) - events
	var messages []amqp.Publishing
	for n := range events {
		messages = append(messages, amqp.Publishing{Body: s.body(from + n)})
	}
	return s.publisher.Publish(s.name, "message.sent", messages...)
}

// flow publishes at most 1,000 events a second in the background. stop ends it,
// and returns the number of events.
func (s *service) flow(t *testing.T) (stop func() int) {
	const each = 20
	end, result := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(each * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				result <- nil
				return
			case <-tick.C:
				if err := s.send(each); err != nil {
					result <- err
					return
				}
			}
		}
	}()
	return func() int {
		t.Helper()
		close(end)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		return int(s.opened.Load())
	}
}

// publish publishes the events [from, to) in the background, and sends the
// result on the channel.
func (s *service) publish(from, to int) <-chan error {
	const window = 1000 // events published before their confirms are awaited
	result := make(chan error, 1)
	go func() {
		for from < to {
			n := min(window, to-from)
			if err := s.send(n); err != nil {
				result <- err
				return
			}
			from += n
		}
		result <- nil
	}()
	return result
}

// A recorder is a client in conversation 1 that keeps which numbered events it
// gets. It must get every event that was published after its join, once and in
// order.
type recorder struct {
	*sioclient.Client
	name  string
	due   int           // the first event that was published after the join
	ended chan struct{} // closed when read has ended

	mu      sync.Mutex // guards the following
	first   int        // first number that has come; -1: none
	next    int        // the first number that has not come
	repeats int
	err     error
}

func (g *gateway) recorder(name string) *recorder {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: gatewaytest.Token(g.t, name)})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	w := &recorder{Client: c, name: name, ended: make(chan struct{}), first: -1}
	if _, err := c.EmitAck(ctx, "join_room", map[string]any{"roomType": "conversation", "roomId": 1}); err != nil {
		g.t.Fatal(err)
	}
	w.due = int(g.events.opened.Load())
	go w.read()
	return w
}

// read reads events until the connection ends or an event is missing. It is a
// goroutine.
func (w *recorder) read() {
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

// see records an event. w.mu is held.
func (w *recorder) see(n int) {
	if w.first < 0 {
		w.first, w.next = n, min(n, w.due)
	}
	switch {
	case n == w.next:
		w.next++
	case n < w.next:
		w.repeats++
	default:
		w.err = fmt.Errorf("%s got event %d, want event %d", w.name, n, w.next)
	}
}

func (w *recorder) saw() (first, next, repeats int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first, w.next, w.repeats, w.err
}

// await waits until all events below n have come, for as long as events come.
func (w *recorder) await(t *testing.T, n int) {
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
			t.Fatalf("%s has not got event %d", w.name, next)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// wantAll checks that the events from due up to n have come, once each.
func (w *recorder) wantAll(t *testing.T, n int) {
	t.Helper()
	w.await(t, n)
	if first, next, repeats, _ := w.saw(); first > w.due || next != n || repeats > 0 {
		t.Errorf("%s got events %d to %d with %d repeats, want %d to %d without repeats", w.name, first, next-1, repeats, w.due, n-1)
	}
}

// The members of a room are connected to three gateways. All must get all
// events in order, also when one of the gateways is killed.
func TestEventsKeepTheirOrderOnEveryNode(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := f.service("order")
	var gateways []*gateway
	var recorders [][]*recorder
	for i := range 3 {
		g := f.start(unread)
		gateways = append(gateways, g)
		recorders = append(recorders, []*recorder{g.recorder(fmt.Sprint("first of ", i)), g.recorder(fmt.Sprint("second of ", i))})
	}
	const calm = 5_000
	if err := <-s.publish(0, calm); err != nil {
		t.Fatal(err)
	}
	for _, members := range recorders {
		for _, w := range members {
			w.wantAll(t, calm)
		}
	}
	const all = 2 * calm
	published := s.publish(calm, all)
	recorders[1][0].await(t, calm+calm/4)
	gateways[0].Kill()
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	for _, members := range recorders[1:] {
		for _, w := range members {
			w.wantAll(t, all)
		}
	}
}

// One of two gateways is killed and started again three times while events are
// published. A client of the other one must get all events once. Clients of the
// killed one must get theirs without a gap while they are connected.
func TestNoEventIsLostWhileAGatewayIsKilledRepeatedly(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := f.service("killed")
	first, second := f.start(), f.start()
	stays := second.recorder("the one that stays")
	comeAndGo := []*recorder{first.recorder("the first of those that come and go")}
	stop := s.flow(t)
	for i := range 3 {
		for _, w := range []*recorder{stays, comeAndGo[i]} {
			w.await(t, int(s.opened.Load())+500)
		}
		first.Kill()
		first.Launch()
		comeAndGo = append(comeAndGo, first.recorder(fmt.Sprint("the one that came after kill ", i)))
	}
	comeAndGo[3].await(t, int(s.opened.Load())+500)
	all := stop()
	stays.wantAll(t, all)
	comeAndGo[3].await(t, all)
	for _, w := range comeAndGo[:3] {
		<-w.ended
		if first, next, repeats, err := w.saw(); first < 0 || first > w.due || repeats > 0 || err == nil || err != w.Err() {
			t.Errorf("%s got events %d to %d, want them from %d on until the connection ended: %v", w.name, first, next-1, w.due, err)
		}
	}
}

// While Redis is paused, a service publishes over HTTP to one gateway. The
// clients of both gateways must get the event.
func TestEventsDoNotNeedRedis(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.service("paused")
	a, ann, bob := f.pair()
	if err := f.redis.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := a.publish("1", "hi"); err != nil {
		t.Error(err)
	}
	want(t, ann, "new_message hi")
	want(t, bob, "new_message hi")
	if err := f.redis.Resume(); err != nil {
		t.Fatal(err)
	}
}
