package upstream

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// sort runs a sorter, as a node of its own. A sorter publishes undeliverable events as
// dead letters; one node at a time does so.
func (w *world) sort() (s *Sorter, stop func()) {
	w.t.Helper()
	routes := table(w.t)
	letters := rabbitmq.NewLetters(w.logConfig(routes))
	w.t.Cleanup(letters.Close)
	s, err := NewSorter(Config{
		Log: w.log(routes), MaxBody: 100_000, Table: routes, Logger: quietLog(),
		RetryMin: 10 * time.Millisecond, RetryMax: 200 * time.Millisecond,
	}, letters, w.log(routes).MoveQueues)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	stop = func() { cancel(); <-ended }
	w.t.Cleanup(stop)
	return s, stop
}

// startActiveSorter runs a sorter and waits until it is the active one.
func (w *world) startActiveSorter() (s *Sorter, stop func()) {
	w.t.Helper()
	s, stop = w.sort()
	testkit.Await(w.t, "the turn", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.reading != nil && s.reading.board.snapshot().Connected
	})
	return s, stop
}

const letterQueue = ".dead-letter"

// letters waits for n dead letters and takes them out of their queue.
func (w *world) letters(n int) (list []amqp.Delivery) {
	w.t.Helper()
	testkit.Await(w.t, fmt.Sprintf("%d dead letters", n), func() bool {
		for {
			d, ok, err := w.service.Channel.Get(w.prefix+letterQueue, true)
			if err != nil {
				w.t.Fatal(err)
			}
			if !ok {
				return len(list) >= n
			}
			list = append(list, d)
		}
	})
	if len(list) != n {
		w.t.Fatalf("%d dead letters, want %d", len(list), n)
	}
	return list
}

// Several nodes read undeliverable events between others. Each undeliverable event
// must become one dead letter with its reason and properties, and the other events
// must be delivered.
func TestUndeliverableEventsBecomeOneDeadLetterEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	for range 2 {
		w.start(func(c *Config) { c.Rooms = &fakeRooms{} })
	}
	w.startActiveSorter()
	w.sort() // two more nodes, which are not active
	w.sort()
	w.publish("message.sent", messageBody(0))
	w.publish("message.sent", "{", func(m *amqp.Publishing) {
		m.MessageId, m.AppId, m.Headers = "m1", "messages", amqp.Table{"tenant": "t1"}
	})
	w.publish("message.sent", messageBody(1))
	w.publish("user.logout", `{"jti":"x"}`)
	w.publish("message.sent", messageBody(2))
	letters := w.letters(2)
	d := letters[0]
	for name, want := range map[string]any{
		"x-gateway-reason": "not_json", "x-gateway-key": "message.sent", "x-gateway-exchange": w.exchanges[0],
		"x-gateway-message-id": "m1", "tenant": "t1", "x-stream-offset": nil,
	} {
		if got := d.Headers[name]; got != want {
			t.Errorf("header %s is %v, want %v", name, got, want)
		}
	}
	if string(d.Body) != "{" || d.AppId != "messages" || !strings.Contains(d.MessageId, ".") || d.MessageId == letters[1].MessageId {
		t.Errorf("dead letter %q of app %q with id %q", d.Body, d.AppId, d.MessageId)
	}
	if r := letters[1].Headers["x-gateway-reason"]; r != "no_room" {
		t.Errorf("reason %v, want no_room", r)
	}
	testkit.Await(t, "the good events", func() bool { return len(w.rooms.all()) == 3 })
}

// The active sorter stops, and another one takes over. It must go on with the first
// event that the former did not handle.
func TestTheNextSorterResumesAtTheFormerOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	_, stop := w.startActiveSorter()
	w.publish("message.sent", "a")
	w.letters(1)
	stop()
	w.publish("message.sent", "b") // while no sorter runs
	w.publish("message.sent", "c")
	w.sort()
	for i, d := range w.letters(2) {
		if want := []string{"b", "c"}[i]; string(d.Body) != want {
			t.Errorf("dead letter %q, want %q", d.Body, want)
		}
	}
}

// The queue of dead letters is full. Other events must be delivered meanwhile, and the
// dead letter be written when there is room.
func TestAFullDeadLetterQueueDoesNotDelayEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	name := w.prefix + letterQueue
	testkit.Await(t, "a queue of its own", func() bool { // the sorter may declare the queue in between
		_, err := w.service.Channel.QueueDelete(name, false, false, false)
		if err == nil {
			_, err = w.service.Channel.QueueDeclare(name, true, false, false, false,
				amqp.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
		}
		if err != nil {
			w.service.Close()
			w.dial()
		}
		return err == nil
	})
	if err := w.service.Channel.PublishWithContext(t.Context(), "", name, false, false, amqp.Publishing{}); err != nil {
		t.Fatal(err)
	}
	testkit.Await(t, "a full queue", func() bool {
		q, err := w.service.Channel.QueueDeclarePassive(name, true, false, false, false, nil)
		return err == nil && q.Messages == 1
	})
	s, _ := w.startActiveSorter()
	w.publish("message.sent", "{")
	testkit.Await(t, "trouble", func() bool { return s.Trouble() != nil })
	const events = 1000
	w.stream(events)
	w.wantAll(events)
	// Deleting the queue could delete a dead letter that arrives at that moment.
	if _, ok, err := w.service.Channel.Get(name, true); !ok || err != nil {
		t.Fatal(ok, err)
	}
	w.letters(1)
	testkit.Await(t, "no trouble", func() bool { return s.Trouble() == nil })
}

// The headers of a message are too large to be sent together with the reason. The dead
// letter must leave them out and say so.
func TestDeadLettersLeaveOutHeadersThatAreTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	w.startActiveSorter()
	w.publish("message.sent", "{", func(m *amqp.Publishing) {
		m.Headers = amqp.Table{"long": strings.Repeat("x", 120_000)}
	})
	d := w.letters(1)[0]
	if detail, _ := d.Headers["x-gateway-detail"].(string); !strings.Contains(detail, "bytes of headers were left out") || d.Headers["long"] != nil {
		t.Errorf("detail %q, want the note that headers were left out", detail)
	}
}

// Headers are nested deeper than the library's limit of 32. RabbitMQ leaves them out
// of the stream, and the event must be delivered.
func TestUnreadableHeadersDoNotStopTheConsumer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	var deep any = "x"
	for range 40 {
		deep = []any{deep}
	}
	w.publish("message.sent", messageBody(0), func(m *amqp.Publishing) { m.Headers = amqp.Table{"deep": deep, "x-deep": deep} })
	w.publish("message.sent", messageBody(1))
	w.want(message(0), message(1))
}

// A dead letter is replayed. As it still has no room, it must become a dead letter
// again with the same properties.
func TestDeadLettersAreReplayedIntoTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	w.startActiveSorter()
	w.publish("message.sent", `{"message":"0"}`)
	l, err := rabbitmq.OpenDeadLetters(t.Context(), []string{w.broker.URL}, w.prefix)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var letter rabbitmq.DeadLetter
	testkit.Await(t, "the letter", func() (ok bool) {
		letter, ok, err = l.Next()
		return ok
	})
	if letter.Reason != "no_room" || letter.Key != "message.sent" || letter.Exchange != w.exchanges[0] {
		t.Errorf("dead letter %+v, want no_room for message.sent", letter)
	}
	letter.Body = nil // the stored body must be used
	if err := l.Replay(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	testkit.Await(t, "the letter again", func() bool {
		again, ok, _ := l.Next()
		return ok && again.Reason == "no_room" && again.Key == "message.sent" && again.Exchange == w.exchanges[0]
	})
}

// Orders are published while no node runs. When nodes start, the orders that stay in
// effect must be executed, once; a disconnect has no effect any more.
func TestOrdersPublishedWhileNoNodeRunsAreExecutedLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	s, stop := w.startActiveSorter()
	w.publish("user.logout", `{"userId":1}`)
	testkit.Await(t, "the order", func() bool { return w.rooms.ordered() == "1" })
	w.awaitNote(s)
	w.stop()
	stop()

	w.publish("user.disconnect", `{"userId":2}`) // its sockets are closed already
	w.publish("user.logout", `{"userId":3}`, func(m *amqp.Publishing) { m.Timestamp = noon })
	w.rooms = &fakeRooms{}
	w.start()
	s, stop = w.startActiveSorter()
	testkit.Await(t, "the order", func() bool { return w.rooms.ordered() != "" })
	w.awaitNote(s)
	w.rooms.set(func(h *fakeRooms) {
		if issued := h.orders[0].Issued; !issued.Equal(noon.Truncate(time.Second)) {
			t.Errorf("the order is for tokens issued up to %v, want %v", issued, noon)
		}
	})
	stop()
	w.startActiveSorter() // the next active sorter must not repeat orders
	w.publish("user.logout", `{"userId":4}`)
	testkit.Await(t, "the order", func() bool { return strings.HasSuffix(w.rooms.ordered(), "4") })
	if got := w.rooms.ordered(); got != "3 4" {
		t.Errorf("orders for %s, want 3 and 4", got)
	}
}

// ordered returns the users of the received orders.
func (h *fakeRooms) ordered() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var users []string
	for _, o := range h.orders {
		users = append(users, o.User)
	}
	return strings.Join(users, " ")
}

// awaitNote waits until the sorter has noted the position that the consumer has read.
func (w *world) awaitNote(s *Sorter) {
	w.t.Helper()
	testkit.Await(w.t, "the note", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.noted == w.consumer.Totals().Position
	})
}

// Versions before the log had a queue for each key. The messages in these queues must
// be moved to the log, and the queues be deleted, unless an old version still consumes
// from them.
func TestMessagesInQueuesOfOldVersionsAreMoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	ch := w.service.Channel
	if err := ch.ExchangeDeclare(w.exchanges[0], amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"message.sent", "booking.*"} {
		args := amqp.Table{"x-queue-type": "quorum", "x-single-active-consumer": true}
		if _, err := ch.QueueDeclare(w.prefix+"."+key, true, false, false, false, args); err != nil {
			t.Fatal(err)
		}
		if err := ch.QueueBind(w.prefix+"."+key, key, w.exchanges[0], false, nil); err != nil {
			t.Fatal(err)
		}
	}
	old, err := w.broker.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := old.Channel.Consume(w.prefix+".booking.*", "", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		w.publish("message.sent", messageBody(n))
	}
	w.start()
	w.startActiveSorter()
	w.want(message(0), message(1), message(2))
	gone := func() bool {
		check, err := w.broker.Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer check.Close()
		_, err = check.Channel.QueueDeclarePassive(w.prefix+".message.sent", true, false, false, false, nil)
		return err != nil
	}
	testkit.Await(t, "the end of the queue", gone)
	if _, err := ch.QueueDeclarePassive(w.prefix+".booking.*", true, false, false, false, nil); err != nil {
		t.Errorf("the queue with a consumer was deleted: %v", err)
	}
	w.publish("message.sent", messageBody(3))
	w.want(message(0), message(1), message(2), message(3))
}
