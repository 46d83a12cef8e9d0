package upstream

import (
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/rabbitmq"
	"github.com/hometrip/gateway/upstream/routes"
)

// Services publish events of built-in routes and of two more routes to two exchanges.
// Each event must reach its rooms as its route says, in order, and orders must reach
// the rooms, too.
func TestEventsFromRabbitMQReachTheirRooms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.exchanges = append(w.exchanges, w.prefix+"-second")
	w.start(func(c *Config) {
		c.Table = table(t, routes.Route{Event: "*.end", Rooms: []string{"user:{id}"}, Emit: "end", All: true}, route("trip.#", "user:{ids[]}"))
	})
	at := func(m *amqp.Publishing) { m.Timestamp = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	w.publish("message.sent", `{"conversationId":42,"senderId":7,"message":"hi","extra":1}`, at)
	w.publish("booking.confirmed", `{"eventType":"booking.confirmed","data":{"userId":"9","reservationId":5,"status":"ok"},"timestamp":"T"}`)
	w.publishTo(w.exchanges[1], "notification.created", `{"userId":"9","data":{},"timestamp":"T"}`)
	w.publish("trip.start", `{"ids":[1,2],"timestamp":"T"}`)
	w.publish("trip.end", `{"id":1,"timestamp":"T"}`) // matches two bindings, must be stored once
	w.publish("user.disconnect", `{"userId":1}`)
	w.publish("message.sent", messageBody(0))
	w.want(
		delivered{"conversation:42", `["new_message",{"conversationId":42,"senderId":7,"message":"hi","timestamp":"2026-01-02T03:04:05.000Z"}]`},
		delivered{"user:9", `["booking_update",{"bookingId":5,"status":"ok","type":"booking_confirmed","timestamp":"T"}]`},
		delivered{"user:9", `["new_notification",{"data":{},"timestamp":"T"}]`},
		delivered{"user:1", `["x",{"ids":[1,2],"timestamp":"T"}]`},
		delivered{"user:2", `["x",{"ids":[1,2],"timestamp":"T"}]`},
		delivered{"user:1", `["end",{"id":1,"timestamp":"T"}]`},
		message(0),
	)
	n := w.consumer.Totals()
	w.rooms.set(func(h *fakeRooms) {
		if len(h.orders) != 1 || h.orders[0] != (rooms.Order{User: "1", Reason: "disconnected"}) {
			t.Errorf("orders %v, want one that disconnects user 1", h.orders)
		}
		if h.passed != uint64(n.Position) || h.anew != 1 {
			t.Errorf("passed %d in %d logs, want %d in one", h.passed, h.anew, n.Position)
		}
	})
	if n.Delivered != 7 || n.Rooms != 7 || n.Received != 7 {
		t.Errorf("counted %+v, want 7 received and delivered", n)
	}
}

// A timestamp property in milliseconds instead of seconds is recognised, and one far
// in the past is replaced by the time of arrival. Several libraries write milliseconds
// although AMQP wants seconds.
func TestATimestampInMillisecondsIsRecognised(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	sent := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	milliseconds := func(m *amqp.Publishing) { m.Timestamp = time.Unix(sent.UnixMilli(), 0) }
	w.publish("message.sent", `{"conversationId":42}`, milliseconds)
	w.want(delivered{"conversation:42", `["new_message",{"conversationId":42,"timestamp":"` + sent.UTC().Format("2006-01-02T15:04:05.000Z") + `"}]`})
	for n, stamp := range []func(*amqp.Publishing){
		milliseconds, func(m *amqp.Publishing) { m.Timestamp = time.Unix(0, 0) }, func(m *amqp.Publishing) { m.Timestamp = time.Unix(1, 0) },
	} {
		before := time.Now()
		w.publish("user.logout", `{"userId":"ann"}`, stamp)
		testkit.Await(t, "the order", func() bool { return len(w.rooms.allOrders()) == n+1 })
		issued := w.rooms.allOrders()[n].Issued
		if n == 0 && !issued.Equal(sent) || n > 0 && (issued.Before(before) || issued.After(time.Now())) {
			t.Errorf("order %d is issued at %v, sent at %v", n, issued, sent)
		}
	}
	testkit.Await(t, "the counter", func() bool { return w.consumer.Totals().BadTimestamps == 4 })
}

// Three nodes read the same stream. Each must get all events, in order.
func TestEveryNodeReadsEveryEventInTheSameOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	nodes := []*fakeRooms{w.rooms}
	for range 2 {
		h := &fakeRooms{}
		nodes = append(nodes, h)
		w.start(func(c *Config) { c.Rooms = h })
	}
	const events = 2000
	w.stream(events)
	for i, h := range nodes {
		testkit.Await(t, "all events", func() bool { return len(h.all()) >= events })
		for n, d := range h.all() {
			if d != message(n) {
				t.Fatalf("node %d: got %v as event %d", i, d, n)
			}
		}
	}
}

// The mailboxes of one node are full. The other node must get all events meanwhile,
// and the slow node must get them when its mailboxes have room again.
func TestASlowNodeDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	slow := &fakeRooms{full: make(chan struct{})}
	w.start(func(c *Config) { c.Rooms = slow })
	const events = 2000
	w.stream(events)
	testkit.Await(t, "all events", func() bool { return len(w.rooms.all()) == events })
	if n := len(slow.all()); n != 0 {
		t.Fatalf("%d events were delivered to rooms with full mailboxes", n)
	}
	slow.set(func(h *fakeRooms) { close(h.full); h.full = nil })
	testkit.Await(t, "all events", func() bool { return len(slow.all()) == events })
	for n, d := range slow.all() {
		if d != message(n) {
			t.Fatalf("got %v as event %d", d, n)
		}
	}
}

// A node that starts reads only the events published after its start.
func TestAStartingNodeReadsNewEventsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
	before := w.consumer.Totals().Position
	w.stop()
	w.rooms.set(func(h *fakeRooms) { h.got = nil })
	w.start()
	if p := w.consumer.follower.reader.Last(); p <= before {
		t.Errorf("the reader starts after position %d, want more than %d", p, before)
	}
	w.publish("message.sent", messageBody(1))
	w.want(message(1))
}

// An event for a room without members on this node is counted as elsewhere and not
// delivered.
func TestEventsForRoomsOfOtherNodesAreNotEncoded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.rooms.away = func(room string) bool { return room != "conversation:1" }
	w.start()
	w.publish("message.sent", `{"conversationId":2}`)
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
	if n := w.consumer.Totals(); n.Elsewhere != 1 || n.Delivered != 1 {
		t.Errorf("counted %+v, want one elsewhere and one delivered", n)
	}
}

// An event that a service publishes again, because it did not see the confirm, is
// delivered once. Ids are unique only within one service, and events without an id are
// not duplicates.
func TestEventsPublishedTwiceAreDeliveredOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	id := func(app string) func(*amqp.Publishing) {
		return func(m *amqp.Publishing) { m.MessageId, m.AppId = "7", app }
	}
	w.publish("message.sent", messageBody(0), id("messages"))
	w.publish("message.sent", messageBody(1), id("messages")) // same id, another body
	w.publish("message.sent", messageBody(0), id("messages"))
	w.publish("message.sent", messageBody(0), id("archive"))
	w.publish("message.sent", messageBody(2))
	w.publish("message.sent", messageBody(2)) // without an id both are delivered
	w.publish("message.sent", `{"eventId":1,"conversationId":1,"timestamp":"t","message":"3"}`)
	w.publish("message.sent", `{"eventId":1,"conversationId":1,"timestamp":"t","message":"3"}`)
	w.publish("message.sent", messageBody(4))
	w.want(message(0), message(1), message(0), message(2), message(2), message(3), message(4))
	if n := w.consumer.Totals().Duplicates; n != 2 {
		t.Errorf("%d duplicates, want 2", n)
	}
}

// The stream is deleted while a node reads it. The node must declare it again and read
// the new stream from its first entry.
func TestADeletedStreamIsDeclaredAgainAndReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	for n := range 5 {
		w.publish("message.sent", messageBody(n))
	}
	testkit.Await(t, "the events", func() bool { return len(w.rooms.all()) == 5 })
	first := w.consumer.Status().Log
	if _, err := w.service.Channel.QueueDelete(rabbitmq.StreamName(w.prefix), false, false, false); err != nil {
		t.Fatal(err)
	}
	testkit.Await(t, "another log", func() bool {
		s := w.consumer.Status()
		return s.Connected && s.Log != first
	})
	if s := w.consumer.Status(); !strings.Contains(s.LastError, "was the stream deleted?") {
		t.Errorf("last error %q, want the question whether the stream was deleted", s.LastError)
	}
	for n := 5; n < 8; n++ {
		w.publish("message.sent", messageBody(n))
	}
	testkit.Await(t, "the events", func() bool { return len(w.rooms.all()) == 8 })
	if d := w.rooms.all()[7]; d != message(7) {
		t.Errorf("last %v", d)
	}
	w.rooms.set(func(h *fakeRooms) {
		if h.anew != 2 || h.passed != 3 {
			t.Errorf("%d logs, passed %d; want 2 logs and position 3", h.anew, h.passed)
		}
	})
}

// The first of two broker addresses does not answer, so the second one is used.
func TestTheFirstReachableAddressIsUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.start(func(c *Config) {
		c.Log = w.log(c.Table, func(c *rabbitmq.Config) {
			c.Addresses = []string{"amqp://guest:secret@127.0.0.1:1/", c.Addresses[0]}
		})
	})
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
}

// RabbitMQ cannot be reached. The consumer must keep trying, and its status must have
// the host, the start of the outage and the last error without the password.
func TestTheConsumerKeepsTryingWithoutRabbitMQ(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.launch(func(c *Config) {
		c.RetryMin, c.RetryMax = time.Millisecond, 10*time.Millisecond
		c.Log = w.log(c.Table, func(c *rabbitmq.Config) { c.Addresses = []string{"amqp://guest:secret@127.0.0.1:1/"} })
	})
	since := w.consumer.Status().Since
	testkit.Await(t, "attempts", func() bool { return w.consumer.Status().Attempts >= 5 })
	s := w.consumer.Status()
	if s.Connected || s.Host != "127.0.0.1:1" || !s.Since.Equal(since) || s.LastError == "" || strings.Contains(s.LastError, "secret") {
		t.Errorf("status %+v, want it disconnected from 127.0.0.1:1, with an error", s)
	}
}
