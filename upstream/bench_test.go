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
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// nullRooms implements Rooms: it accepts every event and keeps nothing.
type nullRooms struct {
	held   bool // every room has members on this node
	passed atomic.Uint64
}

func (w *nullRooms) Holds([]byte) bool           { return w.held }
func (w *nullRooms) Wait(context.Context) error  { return nil }
func (w *nullRooms) Deliver(rooms.Broadcast) int { return 1 }
func (w *nullRooms) Obey(rooms.Order) error      { return nil }
func (w *nullRooms) Passed(position uint64)      { w.passed.Store(position) }
func (w *nullRooms) Anew(string, uint64)         {}
func (w *nullRooms) Gap()                        {}

// benchBody has 256 bytes.
var benchBody = func() []byte {
	const rest = `{"conversationId":4711,"senderId":"12345","recipientId":"67890","timestamp":"2026-01-02T03:04:05.678Z","message":""}`
	return []byte(strings.Replace(rest, `""`, `"`+strings.Repeat("x", 256-len(rest))+`"`, 1))
}()

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cost is the time, CPU and allocations of this process for reading events.
type cost struct {
	elapsed, cpu time.Duration
	allocs       uint64
}

// add calls read and adds its cost.
func (c *cost) add(read func()) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	started, used := time.Now(), cpu()
	read()
	c.elapsed += time.Since(started)
	c.cpu += cpu() - used
	runtime.ReadMemStats(&after)
	c.allocs += after.Mallocs - before.Mallocs
}

func (c cost) report(b *testing.B, who string, events int) {
	n := float64(events)
	b.ReportMetric(n/c.elapsed.Seconds(), who+"-events/s")
	b.ReportMetric(float64(c.cpu.Nanoseconds())/1e3/n, who+"-us-cpu/event")
	b.ReportMetric(float64(c.allocs)/n, who+"-allocs/event")
}

// BenchmarkRead compares three readers of the same stream: a plain AMQP consumer that
// only counts (bare), the gateway with events of rooms without members here
// (elsewhere), and the gateway with events of rooms with members here (held). They
// alternate, so that a change of the machine's speed affects all of them.
//
//	go test -run XXX -bench 'Read$' -benchtime 120000x ./upstream
func BenchmarkRead(b *testing.B) {
	w := newWorld(b, brokertest.Shared(b)).start()
	w.stop()
	for n := b.N; n > 0; n -= 1000 {
		messages := slices.Repeat([]amqp.Publishing{{Body: benchBody}}, min(n, 1000))
		if err := w.service.Publish(w.exchanges[0], "message.sent", messages...); err != nil {
			b.Fatal(err)
		}
	}
	last := uint64(b.N + 1) // one more for the mark of the first start
	const turns = 4
	var bare, elsewhere, held cost
	for range turns {
		bare.add(func() { readBare(b, w, b.N) })
		elsewhere.add(func() { readAsGateway(b, w, &nullRooms{}, last) })
		held.add(func() { readAsGateway(b, w, &nullRooms{held: true}, last) })
	}
	bare.report(b, "bare", turns*b.N)
	elsewhere.report(b, "elsewhere", turns*b.N)
	held.report(b, "held", turns*b.N)
	b.ReportMetric(0, "ns/op")
}

func readAsGateway(b *testing.B, w *world, target *nullRooms, last uint64) {
	c, err := New(Config{Log: w.log(table(b)), MaxBody: 10_000, Table: table(b), Rooms: target, Logger: quietLog()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { c.follower.run(ctx, eventlog.Start{From: eventlog.FromFirst}); close(ended) }()
	for target.passed.Load() < last {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
}

// readBare reads with the gateway's prefetch and acknowledges every 64 events.
func readBare(b *testing.B, w *world, events int) {
	conn, err := amqp.Dial(w.broker.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		b.Fatal(err)
	}
	if err := ch.Qos(defaultWindow, 0, false); err != nil {
		b.Fatal(err)
	}
	deliveries, err := ch.Consume(rabbitmq.StreamName(w.prefix), "", false, false, false, false, amqp.Table{"x-stream-offset": "first"})
	if err != nil {
		b.Fatal(err)
	}
	for i := 1; i <= events; i++ {
		d := <-deliveries
		if i%64 == 0 || i == events {
			if err := d.Ack(true); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkIntake measures one entry from the log's reader to the rooms.
func BenchmarkIntake(b *testing.B) {
	for name, held := range map[string]bool{"elsewhere": false, "held": true} {
		b.Run(name, func(b *testing.B) {
			in := newIntake(&Config{Table: table(b), MaxBody: 10_000, Rooms: &nullRooms{held: held}, Logger: quietLog()}, &counters{})
			e := eventlog.Entry{Key: "message.sent", Body: benchBody}
			b.ReportAllocs()
			for b.Loop() {
				e.Position++
				if err := in.take(&e, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPublishToClient publishes 1,000 events a second to a room. It reports the
// delay of each through RabbitMQ and a gateway process to a WebSocket client.
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
				return // the benchmark has ended
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
