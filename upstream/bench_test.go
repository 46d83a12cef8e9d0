package upstream

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

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

// measure reports what taking b.N events costs, RabbitMQ's own part aside.
func measure(b *testing.B, take func()) {
	b.ReportAllocs()
	before := cpu()
	b.ResetTimer()
	take()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "us-cpu/event")
}

// BenchmarkConsume sets the whole way of an event, from the queue to the
// acknowledgement, beside an AMQP consumer that only counts:
//
//	go test -run XXX -bench Consume -benchtime 100000x -count 5 ./upstream
func BenchmarkConsume(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		w := newWorld(b, brokertest.Shared(b)).start()
		w.stop() // there are queues now
		w.fill(b.N)
		measure(b, func() { consumeBare(b, w) })
	})
	b.Run("gateway", func(b *testing.B) {
		w := newWorld(b, brokertest.Shared(b)).start()
		w.stop()
		w.fill(b.N)
		target := &well{}
		measure(b, func() {
			w.start(func(c *Config) { c.Rooms = target })
			for w.consumer.Totals().Acked < int64(b.N) {
				time.Sleep(time.Millisecond)
			}
		})
		if n := target.events.Load(); n != int64(b.N) {
			b.Errorf("%d events of %d", n, b.N)
		}
	})
}

// consumeBare acknowledges every 64 events, with the gateway's prefetch.
func consumeBare(b *testing.B, w *world) {
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
	for i := 1; i <= b.N; i++ {
		d := <-deliveries
		if i%ackBatch == 0 || i == b.N {
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
