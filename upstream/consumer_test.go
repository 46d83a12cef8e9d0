package upstream

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream/brokertest"
)

var errAway = errors.New("redis is away")

func TestEventsOfRabbitMQReachTheirRooms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.exchanges = append(w.exchanges, w.prefix+"-second")
	w.start(func(c *Config) {
		c.Table = table(t, Route{Event: "*.end", Rooms: []string{"user:{id}"}, Emit: "end", All: true}, route("trip.#", "user:{ids[]}"))
	})
	at := func(m *amqp.Publishing) { m.Timestamp = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	w.publish("message.sent", `{"conversationId":42,"senderId":7,"message":"hi","extra":1}`, at)
	w.want(delivered{"conversation:42", `["new_message",{"conversationId":42,"senderId":7,"message":"hi","timestamp":"2026-01-02T03:04:05.000Z"}]`})
	w.publish("booking.confirmed", `{"eventType":"booking.confirmed","data":{"userId":"9","reservationId":5,"status":"ok"},"timestamp":"T"}`)
	await(t, "the booking", func() bool { return len(w.house.all()) == 2 })
	w.publishTo(w.exchanges[1], "notification.created", `{"userId":"9","data":{},"timestamp":"T"}`)
	await(t, "the notification", func() bool { return len(w.house.all()) == 3 })
	w.publish("trip.start", `{"ids":[1,2],"timestamp":"T"}`)
	await(t, "the trip", func() bool { return len(w.house.all()) == 5 })
	w.publish("trip.end", `{"id":1,"timestamp":"T"}`)
	w.want(
		delivered{"conversation:42", `["new_message",{"conversationId":42,"senderId":7,"message":"hi","timestamp":"2026-01-02T03:04:05.000Z"}]`},
		delivered{"user:9", `["booking_update",{"bookingId":5,"status":"ok","type":"booking_confirmed","timestamp":"T"}]`},
		delivered{"user:9", `["new_notification",{"data":{},"timestamp":"T"}]`},
		delivered{"user:1", `["x",{"ids":[1,2],"timestamp":"T"}]`},
		delivered{"user:2", `["x",{"ids":[1,2],"timestamp":"T"}]`},
		delivered{"user:1", `["end",{"id":1,"timestamp":"T"}]`},
	)
	// trip.end went to the queue of trip.# too, which leaves it to the other one.
	await(t, "all acknowledgements", func() bool { return w.consumer.Totals().Acked == 6 })
	if n := w.consumer.Totals(); n.PassedOver != 1 || n.Delivered != 5 || n.Rooms != 6 {
		t.Errorf("counted %+v", n)
	}
	w.stop()
	for _, r := range w.consumer.config.Table.Routes() {
		if n := w.depth(QueueName(w.prefix, r)); n != 0 {
			t.Errorf("%d events left in the queue of %s", n, r.Event)
		}
	}
}

// Several libraries write milliseconds where AMQP wants seconds.
func TestATimestampInMillisecondsIsRecognised(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	sent := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	milliseconds := func(m *amqp.Publishing) { m.Timestamp = time.Unix(sent.UnixMilli(), 0) }
	w.publish("message.sent", `{"conversationId":42}`, milliseconds)
	w.want(delivered{"conversation:42", `["new_message",{"conversationId":42,"timestamp":"` + sent.UTC().Format(timeLayout) + `"}]`})
	for n, stamp := range []func(*amqp.Publishing){
		milliseconds, func(m *amqp.Publishing) { m.Timestamp = time.Unix(0, 0) }, func(m *amqp.Publishing) { m.Timestamp = time.Unix(1, 0) },
	} {
		before := time.Now()
		w.publish("user.logout", `{"userId":"ann"}`, stamp)
		await(t, "the order", func() bool { return len(w.house.allOrders()) == n+1 })
		issued := w.house.allOrders()[n].Issued
		if n == 0 && !issued.Equal(sent) || n > 0 && (issued.Before(before) || issued.After(time.Now())) {
			t.Errorf("order %d is of %v, sent at %v", n, issued, sent)
		}
	}
	await(t, "the counter", func() bool { return w.consumer.Totals().BadTimestamps == 4 })
}

func TestANewRouteUnderAPatternLosesNothingThatWaited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	w.stop()
	w.publish("booking.paid", `{"userId":1,"timestamp":"0"}`)
	w.publish("booking.confirmed", `{"userId":1,"timestamp":"1"}`)
	exact := route("booking.confirmed", "user:{userId}")
	w.start(func(c *Config) { c.Table = table(t, exact) })
	w.publish("booking.confirmed", `{"userId":1,"timestamp":"2"}`)
	w.publish("booking.paid", `{"userId":1,"timestamp":"3"}`)
	paid := func(n int) delivered {
		return delivered{"user:1", fmt.Sprintf(`["booking_update",{"type":"booking_paid","timestamp":"%d"}]`, n)}
	}
	confirmed := func(n int) delivered {
		return delivered{"user:1", fmt.Sprintf(`["x",{"userId":1,"timestamp":"%d"}]`, n)}
	}
	w.want(paid(0), confirmed(1), confirmed(2), paid(3)) // one queue, one order
	await(t, "all acknowledgements", func() bool { return w.consumer.Totals().Acked == 4 })
	if n := w.consumer.Totals().PassedOver; n != 0 {
		t.Errorf("%d events passed over", n)
	}
}

func TestANewPatternLeavesTheQueuesUnderItInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	exact := route("trip.end", "user:{id}")
	w.start(func(c *Config) { c.Table = table(t, exact) })
	w.stop()
	w.publish("trip.end", `{"id":1,"timestamp":"0"}`)
	w.start(func(c *Config) { c.Table = table(t, exact, route("trip.#", "user:{who}")) })
	w.publish("trip.end", `{"id":1,"timestamp":"1"}`)
	w.publish("trip.start", `{"who":2,"timestamp":"2"}`)
	await(t, "all acknowledgements", func() bool { return w.consumer.Totals().Acked == 4 })
	got := w.house.all()
	slices.SortStableFunc(got, func(a, b delivered) int { return strings.Compare(a.room, b.room) }) // two queues
	want := []delivered{
		{"user:1", `["x",{"id":1,"timestamp":"0"}]`}, {"user:1", `["x",{"id":1,"timestamp":"1"}]`},
		{"user:2", `["x",{"who":2,"timestamp":"2"}]`},
	}
	if !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
}

func TestQueuesAreDeclaredAsTheContractSays(t *testing.T) {
	t.Parallel()
	b := brokertest.Shared(t)
	w := newWorld(t, b).start()
	out, err := b.Ctl("list_queues", "name", "type", "durable", "arguments")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(out) {
		name, rest, _ := strings.Cut(line, "\t")
		var want []string
		switch name {
		case w.prefix + ".message.sent", w.prefix + ".booking.*", w.prefix + ".notification.created":
			want = []string{"quorum", "true", "x-single-active-consumer\",true", "x-delivery-limit\",20", "x-dead-letter-routing-key\",\"" + w.prefix + ".dead-letter", "at-least-once"}
		case w.prefix + ".dead-letter":
			want = []string{"quorum", "true", "x-delivery-limit\",1000000000"}
		default:
			continue
		}
		found++
		for _, word := range want {
			if !strings.Contains(rest, word) {
				t.Errorf("queue %s has no %s: %s", name, word, rest)
			}
		}
	}
	if found != 4 {
		t.Errorf("%d queues, want 4:\n%s", found, out)
	}
	if s := w.consumer.Status(); len(s.Foreign) != 0 || s.Host == "" || s.Connections != 1 || s.Attempts != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestOneOfSeveralNodesTakesAQueueInOrderAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	first := newWorld(t, brokertest.Shared(t)).start()
	second := newWorld(t, brokertest.Shared(t))
	second.prefix, second.exchanges = first.prefix, first.exchanges
	second.start()
	const events = 400
	for n := range events / 2 {
		first.publish("message.sent", messageBody(n))
	}
	await(t, "the first half", func() bool { return len(first.house.all())+len(second.house.all()) == events/2 })
	if n := len(second.house.all()); n != 0 {
		t.Errorf("the second node took %d events beside the first", n)
	}
	first.stop() // acknowledges what it has delivered
	for n := events / 2; n < events; n++ {
		second.publish("message.sent", messageBody(n))
	}
	await(t, "the second half", func() bool { return len(first.house.all())+len(second.house.all()) == events })
	for n, d := range append(first.house.all(), second.house.all()...) {
		if d != message(n) {
			t.Fatalf("event %d is %v", n, d)
		}
	}
}

func TestEventsAreAcknowledgedOnlyWhenAllHaveThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.house.stuck = true
	w.start()
	for n := range 3 {
		w.publish("message.sent", messageBody(n))
	}
	var waiting []func()
	await(t, "the barrier", func() bool {
		w.house.set(func(h *house) { waiting = h.waits })
		return len(w.house.all()) == 3 && len(waiting) > 0
	})
	if n := w.consumer.Totals().Acked; n != 0 {
		t.Fatalf("%d acknowledged before the receivers had them", n)
	}
	w.house.set(func(h *house) { h.stuck = false })
	for _, done := range waiting {
		done()
	}
	await(t, "acknowledgements", func() bool { return w.consumer.Totals().Acked == 3 })
}

func TestWhatIsNotAcknowledgedComesAgainToTheNextNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.house.stuck = true
	w.start()
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
	w.stop() // the receivers never have it
	next := newWorld(t, brokertest.Shared(t))
	next.prefix, next.exchanges = w.prefix, w.exchanges
	next.start()
	next.want(message(0))
}

func TestRedeliveredEventsAreNotDeliveredTwiceByOneNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	w.house.stuck = true
	w.start()
	id := func(m *amqp.Publishing) { m.MessageId = "one" }
	w.publish("message.sent", messageBody(0), id)
	w.publish("message.sent", `{"conversationId":1,"message":"1","timestamp":"t","eventId":"two"}`)
	w.publish("message.sent", messageBody(2)) // has nothing to know it by
	w.want(message(0), message(1), message(2))
	w.cut(t)
	w.want(message(0), message(1), message(2), message(2))
	w.house.set(func(h *house) {
		h.stuck = false
		for _, done := range h.waits { // those of the first connection must do no harm
			go done()
		}
	})
	w.publish("booking.x", "poison") // on another channel, whose numbers begin at 1 too
	await(t, "acknowledgements", func() bool { return w.consumer.Totals().Acked == 4 })
	if s := w.consumer.Status(); s.Connections != 2 {
		t.Errorf("%d connections, want 2: %s", s.Connections, s.LastError)
	}
	if n := w.consumer.Totals().Duplicates; n != 2 {
		t.Errorf("%d duplicates counted, want 2", n)
	}
	w.publish("message.sent", messageBody(3), id) // a new event, whatever its id
	w.want(message(0), message(1), message(2), message(2), message(3))
}

// cut makes RabbitMQ end the consumer's connections.
func (w *world) cut(t *testing.T) {
	t.Helper()
	before := w.consumer.Status().Connections
	out, err := w.broker.Ctl("list_connections", "pid", "client_properties")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		pid, properties, _ := strings.Cut(line, "\t")
		if !strings.Contains(properties, "websocket-gateway events "+w.prefix+" ") {
			continue
		}
		if _, err := w.broker.Ctl("close_connection", pid, "test"); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the next connection", func() bool {
		s := w.consumer.Status()
		return s.Connected && s.Connections > before
	})
}

func TestTransientTroubleIsWaitedOutInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	w.house.set(func(h *house) { h.fail = errAway })
	for n := range 5 {
		w.publish("message.sent", messageBody(n))
	}
	w.publish("message.sent", "poison")
	await(t, "attempts", func() bool { return w.consumer.Totals().Retries >= 3 })
	if n := w.consumer.Totals(); n.Acked != 0 || n.Delivered != 0 {
		t.Errorf("while nothing can be delivered: %+v", n)
	}
	w.house.set(func(h *house) { h.fail = nil })
	w.want(message(0), message(1), message(2), message(3), message(4))
	await(t, "acknowledgements", func() bool { return w.consumer.Totals().Acked == 6 })
}

func TestExistingQueueWithOtherArgumentsIsUsedAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	if _, err := w.service.Channel.QueueDeclare(w.prefix+".message.sent", true, false, false, false, amqp.Table{"x-max-length": 1000}); err != nil {
		t.Fatal(err)
	}
	if err := w.service.Channel.ExchangeDeclare(w.exchanges[0], "direct", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
	if got := fmt.Sprint(w.consumer.Status().Foreign); got != fmt.Sprint([]string{w.exchanges[0], w.prefix + ".message.sent"}) {
		t.Errorf("foreign: %s", got)
	}
}

func TestDeletedQueueIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	if _, err := w.service.Channel.QueueDelete(w.prefix+".message.sent", false, false, false); err != nil {
		t.Fatal(err)
	}
	await(t, "another connection", func() bool {
		s := w.consumer.Status()
		return s.Connected && s.Connections == 2
	})
	if s := w.consumer.Status(); !strings.Contains(s.LastError, "was the queue deleted?") {
		t.Errorf("last error %q", s.LastError)
	}
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
}

func TestTheFirstAddressThatAnswersIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start(func(c *Config) {
		c.Addresses = []string{"amqp://guest:secret@127.0.0.1:1/", c.Addresses[0]}
	})
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
}

// behindTLS puts TLS in front of the broker, and its certificate into a file.
func behindTLS(t *testing.T, w *world) (address, certificate string) {
	t.Helper()
	lender := httptest.NewTLSServer(nil) // whose certificate is for 127.0.0.1
	lender.Close()
	outside, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: lender.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	(&proxy{listener: outside, target: hostOf(w.broker.URL)}).start(t)
	certificate = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: lender.Certificate().Raw})
	if err := os.WriteFile(certificate, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("amqps://guest:guest@%s/", outside.Addr()), certificate
}

func TestTLSIsSpokenAndTheCertificateLookedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t))
	address, certificate := behindTLS(t, w)
	w.start(func(c *Config) { c.Addresses = []string{address, address + "?cacertfile=" + certificate} })
	if s := w.consumer.Status(); s.Attempts != 0 || "amqps://guest:guest@"+s.Host+"/" != address {
		t.Errorf("status %+v", s)
	}
	w.publish("message.sent", "poison") // which takes the same way back
	w.letters(1)
	w.publish("message.sent", messageBody(0))
	w.want(message(0))
	w.stop()

	w.launch(func(c *Config) { c.Addresses = []string{address} })
	await(t, "a refusal", func() bool {
		return strings.Contains(w.consumer.Status().LastError, "certificate signed by unknown authority")
	})
}

func TestWithoutRabbitMQItKeepsTryingAndSaysSo(t *testing.T) {
	t.Parallel()
	c, err := New(Config{
		Addresses: []string{"amqp://guest:secret@127.0.0.1:1/"}, Exchanges: []string{"e"}, QueuePrefix: "p", MaxBody: 1,
		Table: table(t), Rooms: &house{}, Log: quietLog(), RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	before := c.Status()
	stop := runConsumer(c)
	defer stop()
	await(t, "attempts", func() bool { return c.Status().Attempts >= 5 })
	s := c.Status()
	if s.Connected || s.Host != "127.0.0.1:1" || !s.Since.Equal(before.Since) || s.LastError == "" || strings.Contains(s.LastError, "secret") {
		t.Errorf("status %+v", s)
	}
}
