package upstream

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/rabbitmq"
	"github.com/hometrip/gateway/upstream/routes"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 5e6, time.FixedZone("", 3600))

const patience = testkit.Patience

func TestMain(m *testing.M) {
	flag.Parse()
	amqp.Logger = quietLogger{} // tests cut connections on purpose, which the library would log
	code := gatewaytest.Main(m)
	brokertest.CloseShared()
	os.Exit(code)
}

type quietLogger struct{}

func (quietLogger) Printf(string, ...any) {}

// ownBroker starts a broker of its own for a test that stops it.
func ownBroker(t testing.TB) *brokertest.Broker {
	t.Helper()
	b, err := brokertest.Start()
	testkit.Need(t, err)
	t.Cleanup(b.Close)
	return b
}

// fakeRooms implements Rooms and records what it gets. It is safe for concurrent use.
type fakeRooms struct {
	mu     sync.Mutex // guards the following
	got    []delivered
	orders []rooms.Order
	passed uint64
	anew   int
	away   func(room string) bool // the room has no members here; nil: every room has members
	full   chan struct{}          // not nil: Wait blocks until it is closed
}

type delivered struct{ room, packet string }

func (h *fakeRooms) Holds(room []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.away == nil || !h.away(string(room))
}

func (h *fakeRooms) Wait(ctx context.Context) error {
	h.mu.Lock()
	full := h.full
	h.mu.Unlock()
	if full == nil {
		return ctx.Err()
	}
	select {
	case <-full:
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (h *fakeRooms) allOrders() []rooms.Order {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.orders)
}

func (h *fakeRooms) Deliver(b rooms.Broadcast) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, delivered{b.Room, packetOf(b.Message)})
	return 1
}

func (h *fakeRooms) Obey(o rooms.Order) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.orders = append(h.orders, o)
	return o.Check()
}

func (h *fakeRooms) Passed(position uint64) { h.set(func(h *fakeRooms) { h.passed = position }) }
func (h *fakeRooms) Anew(string, uint64)    { h.set(func(h *fakeRooms) { h.anew++ }) }
func (h *fakeRooms) Gap()                   {}

func (h *fakeRooms) set(change func(*fakeRooms)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *fakeRooms) all() []delivered {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]delivered(nil), h.got...)
}

func (h *fakeRooms) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.got)
}

// packetOf returns the payload of an event packet: [name, object].
func packetOf(m *codec.Message) string { return strings.TrimPrefix(string(m.AppendPayload(nil)), "42") }

// world is a consumer and a service with exchanges and queues of their own on a
// broker.
type world struct {
	t         testing.TB
	broker    *brokertest.Broker
	rooms     *fakeRooms
	consumer  *Consumer
	prefix    string
	exchanges []string
	stop      func() // stops the consumer and waits for its end
	service   *brokertest.Publisher
}

var names struct {
	mu sync.Mutex
	n  int
}

// newWorld chooses unused names and connects the service; start runs the consumer.
func newWorld(t testing.TB, b *brokertest.Broker) *world {
	t.Helper()
	names.mu.Lock()
	names.n++
	prefix := fmt.Sprintf("test%d", names.n)
	names.mu.Unlock()
	w := &world{t: t, broker: b, rooms: &fakeRooms{}, prefix: prefix, exchanges: []string{prefix + "-events"}}
	w.dial()
	t.Cleanup(func() { w.service.Close() })
	return w
}

// dial connects the service.
func (w *world) dial() {
	w.t.Helper()
	var err error
	if w.service, err = w.broker.Connect(); err != nil {
		w.t.Fatal(err)
	}
}

// start runs the consumer and waits until it is connected.
func (w *world) start(change ...func(*Config)) *world {
	w.t.Helper()
	w.launch(change...)
	w.awaitConnected()
	return w
}

// launch runs a consumer of this world's log, unless change sets another one.
func (w *world) launch(change ...func(*Config)) {
	w.t.Helper()
	c := Config{
		MaxBody: 100_000, Table: table(w.t), Rooms: w.rooms, Logger: quietLog(),
		RetryMin: 10 * time.Millisecond, RetryMax: 200 * time.Millisecond,
	}
	for _, f := range change {
		f(&c)
	}
	if c.Log == nil {
		c.Log = w.log(c.Table)
	}
	consumer, err := New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.consumer = consumer
	w.stop = runConsumer(consumer)
	w.t.Cleanup(w.stop)
}

func (w *world) logConfig(table *routes.Table) rabbitmq.Config {
	return rabbitmq.Config{
		Addresses: []string{w.broker.URL}, Exchanges: w.exchanges, Keys: table.Keys(), Prefix: w.prefix,
		Retention: time.Hour, MaxBytes: 1 << 30, Logger: quietLog(),
	}
}

// log opens this world's log.
func (w *world) log(table *routes.Table, change ...func(*rabbitmq.Config)) *rabbitmq.Log {
	w.t.Helper()
	c := w.logConfig(table)
	for _, f := range change {
		f(&c)
	}
	l, err := rabbitmq.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(l.Close)
	return l
}

func quietLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// table returns the built-in routes and these.
func table(t testing.TB, more ...routes.Route) *routes.Table {
	t.Helper()
	table, err := routes.NewTable(more)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func route(event, room string) routes.Route {
	return routes.Route{Event: event, Rooms: []string{room}, Emit: "x", All: true}
}

// runConsumer runs the consumer. stop ends it and waits for its end.
func runConsumer(c *Consumer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	return sync.OnceFunc(func() { cancel(); <-ended })
}

func (w *world) awaitConnected() {
	w.t.Helper()
	testkit.Await(w.t, "a connection", func() bool { return w.consumer.Status().Connected })
}

// publish publishes a message and waits for RabbitMQ's confirm.
func (w *world) publish(key, body string, change ...func(*amqp.Publishing)) {
	w.t.Helper()
	w.publishTo(w.exchanges[0], key, body, change...)
}

func (w *world) publishTo(exchange, key, body string, change ...func(*amqp.Publishing)) {
	w.t.Helper()
	m := amqp.Publishing{Body: []byte(body)}
	for _, f := range change {
		f(&m)
	}
	if err := w.service.Publish(exchange, key, m); err != nil {
		w.t.Fatal(err)
	}
}

// want waits for these deliveries and checks that there are no others.
func (w *world) want(want ...delivered) {
	w.t.Helper()
	testkit.Await(w.t, fmt.Sprintf("%d deliveries", len(want)), func() bool { return len(w.rooms.all()) >= len(want) })
	got := w.rooms.all()
	for i := range got {
		if i >= len(want) || got[i] != want[i] {
			w.t.Fatalf("deliveries:\n%v\nwant:\n%v", got, want)
		}
	}
}

// message is the delivery for message.sent of conversation 1 with text n.
func message(n int) delivered {
	return delivered{"conversation:1", fmt.Sprintf(`["new_message",{"conversationId":1,"message":"%d","timestamp":"t"}]`, n)}
}

func messageBody(n int) string {
	return fmt.Sprintf(`{"conversationId":1,"message":"%d","timestamp":"t"}`, n)
}
