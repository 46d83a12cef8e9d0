package upstream

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/brokertest"
)

// A well is rooms that take everything and keep nothing.
type well struct{ events atomic.Int64 }

func (w *well) Deliver(context.Context, rooms.Broadcast) (int, error) { w.events.Add(1); return 1, nil }
func (w *well) Sync(_ context.Context, done func()) error             { done(); return nil }

// benchBody has 256 bytes.
var benchBody = func() []byte {
	const rest = `{"conversationId":4711,"senderId":"12345","recipientId":"67890","timestamp":"2026-01-02T03:04:05.678Z","message":""}`
	return []byte(strings.Replace(rest, `""`, `"`+strings.Repeat("x", 256-len(rest))+`"`, 1))
}()

// fill publishes n events to the queue of message.sent.
func (w *world) fill(n int) {
	w.t.Helper()
	window := slices.Repeat([]amqp.Publishing{{Body: benchBody}}, 1000)
	for ; n > 0; n -= len(window) {
		if err := w.service.Publish(w.exchanges[0], "message.sent", window[:min(n, len(window))]...); err != nil {
			w.t.Fatal(err)
		}
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A cost is what taking events took, RabbitMQ's own part aside.
type cost struct {
	elapsed, cpu time.Duration
	allocs       uint64
}

// add measures take.
func (c *cost) add(take func()) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	started, used := time.Now(), cpu()
	take()
	c.elapsed += time.Since(started)
	c.cpu += cpu() - used
	runtime.ReadMemStats(&after)
	c.allocs += after.Mallocs - before.Mallocs
}

func (c cost) report(b *testing.B, who string, events int) {
	n := float64(events)
	b.ReportMetric(n/c.elapsed.Seconds(), who+"-events/s")
	b.ReportMetric(float64(c.cpu.Microseconds())/n, who+"-us-cpu/event")
	b.ReportMetric(float64(c.allocs)/n, who+"-allocs/event")
}

// BenchmarkConsume sets the whole way of an event, from the queue to the
// acknowledgement, beside an AMQP consumer that only counts. They take turns,
// so that a machine that gets slower or faster does so for both:
//
//	go test -run XXX -bench Consume -benchtime 400000x -count 3 ./upstream
func BenchmarkConsume(b *testing.B) {
	w := newWorld(b, brokertest.Shared(b)).start()
	w.stop() // there are queues now
	var bare, gateway cost
	const turns = 8
	turn := max(b.N/turns, 1)
	for i := range turns {
		w.fill(turn)
		if i%4 == 1 || i%4 == 2 {
			gateway.add(func() { consumeAsGateway(b, w, turn) })
		} else {
			bare.add(func() { consumeBare(b, w, turn) })
		}
	}
	bare.report(b, "bare", turns/2*turn)
	gateway.report(b, "gateway", turns/2*turn)
	b.ReportMetric(100*bare.elapsed.Seconds()/gateway.elapsed.Seconds(), "%-of-bare")
	b.ReportMetric(0, "ns/op")
}

func consumeAsGateway(b *testing.B, w *world, events int) {
	target := &well{}
	w.start(func(c *Config) { c.Rooms = target })
	for w.consumer.Totals().Acked < int64(events) {
		time.Sleep(time.Millisecond)
	}
	w.stop()
	if n := target.events.Load(); n != int64(events) {
		b.Errorf("%d events of %d", n, events)
	}
}

// consumeBare acknowledges every 64 events, with the gateway's prefetch.
func consumeBare(b *testing.B, w *world, events int) {
	conn, err := amqp.Dial(w.broker.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		b.Fatal(err)
	}
	if err := ch.Qos(defaultPrefetch, 0, false); err != nil {
		b.Fatal(err)
	}
	deliveries, err := ch.Consume(w.prefix+".message.sent", "", false, false, false, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 1; i <= events; i++ {
		d := <-deliveries
		if i%ackBatch == 0 || i == events {
			if err := d.Ack(true); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	enveloped := fmt.Appendf(nil, `{"eventName":"message.sent","source":"messages","data":%s}`, benchBody)
	for name, body := range map[string][]byte{"bare": benchBody, "enveloped": enveloped} {
		b.Run(name, func(b *testing.B) {
			e := NewEncoder(table(b), 10_000)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := e.Encode("message.sent", body, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPublishToClient publishes 1,000 events a second to a room and
// reports how long each is under way, through RabbitMQ and a gateway of its own
// process, to a client with a WebSocket:
//
//	go test -run XXX -bench PublishToClient -benchtime 20000x ./upstream
func BenchmarkPublishToClient(b *testing.B) {
	const pace = time.Millisecond
	w := newWorld(b, brokertest.Shared(b))
	g := gatewaytest.Start(b, "NODE_ENV=production", "USE_RABBITMQ=true", "RABBITMQ_URL="+w.broker.URL,
		"RABBITMQ_EXCHANGE="+w.exchanges[0], "RABBITMQ_QUEUE_PREFIX="+w.prefix)
	c, err := sioclient.Connect(b.Context(), g.URL, sioclient.Options{Token: gatewaytest.Token(b, "7")})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Next(b.Context()); err != nil { // connected
		b.Fatal(err)
	}
	go func() {
		for next := time.Now(); b.Context().Err() == nil; next = next.Add(pace) {
			time.Sleep(time.Until(next))
			body := fmt.Appendf(nil, `{"userId":7,"notificationId":%d}`, time.Now().UnixNano())
			if err := w.service.Channel.Publish(w.exchanges[0], "notification.created", false, false,
				amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}); err != nil {
				return // the end of the benchmark has cut it off
			}
		}
	}()
	took := make([]time.Duration, b.N)
	for i := range took {
		var body struct{ NotificationID int64 }
		e, err := c.Next(b.Context())
		if err == nil {
			err = e.Decode(&body)
		}
		if err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(time.Unix(0, body.NotificationID))
	}
	slices.Sort(took)
	for name, at := range map[string]int{"ms-p50": len(took) / 2, "ms-p99": len(took) * 99 / 100, "ms-max": len(took) - 1} {
		b.ReportMetric(took[at].Seconds()*1e3, name)
	}
	b.ReportMetric(0, "ns/op")
}
