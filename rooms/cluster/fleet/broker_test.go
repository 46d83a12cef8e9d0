package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
)

// A ledger is a service that publishes numbered events to conversation 1, and
// keeps which of them RabbitMQ has confirmed. It belongs to the goroutine of
// run, except published and down.
type ledger struct {
	broker    *brokertest.Broker
	exchange  string
	confirmed []bool // by number
	published atomic.Int64
	down      atomic.Bool // RabbitMQ is down
}

// run publishes at most 1,000 events a second until ctx is cancelled.
// Unconfirmed events are not published again.
func (l *ledger) run(ctx context.Context) {
	const each = 10
	tick := time.NewTicker(each * time.Millisecond)
	defer tick.Stop()
	var p *brokertest.Publisher
	for ctx.Err() == nil {
		<-tick.C
		if p == nil && !l.down.Load() {
			p = l.connect()
		}
		if p != nil && !l.batch(p, each) {
			_ = p.Conn.CloseDeadline(time.Now().Add(time.Second))
			p = nil
		}
	}
	if p != nil {
		p.Close()
	}
}

// answerTimeout is the time that RabbitMQ has to answer the service. RabbitMQ
// 3.10 may never answer right after its start; then another connection is
// opened.
const answerTimeout = 3 * time.Second

// connect returns nil if no connection was made within answerTimeout.
func (l *ledger) connect() *brokertest.Publisher {
	made := make(chan *brokertest.Publisher, 1)
	go func() {
		p, err := l.broker.Connect()
		if err != nil {
			p = nil
		}
		made <- p
	}()
	select {
	case p := <-made:
		return p
	case <-time.After(answerTimeout):
		go func() {
			if p := <-made; p != nil {
				p.Close()
			}
		}()
		return nil
	}
}

// batch publishes events, and reports whether the last one was confirmed.
func (l *ledger) batch(p *brokertest.Publisher, events int) bool {
	first := len(l.confirmed)
	returned := p.Channel.NotifyReturn(make(chan amqp.Return, events))
	var confirms []*amqp.DeferredConfirmation
	for n := first; n < first+events; n++ {
		confirm, err := p.Channel.PublishWithDeferredConfirm(l.exchange, "message.sent", true, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Body: fmt.Appendf(nil, `{"conversationId":1,"message":%d}`, n),
		})
		if err != nil {
			l.confirmed = append(l.confirmed, false)
			break
		}
		l.confirmed = append(l.confirmed, false)
		confirms = append(confirms, confirm)
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	for i, confirm := range confirms {
		ok, err := confirm.WaitContext(ctx)
		l.confirmed[first+i] = ok && err == nil
	}
	for { // right after its start RabbitMQ also confirms events that it has returned as unroutable
		select {
		case m, ok := <-returned:
			var body struct{ Message int }
			if ok && json.Unmarshal(m.Body, &body) == nil {
				l.confirmed[body.Message] = false
				continue
			}
		default:
		}
		break
	}
	l.published.Store(int64(len(l.confirmed)))
	return l.confirmed[len(l.confirmed)-1]
}

// A reader is a client in conversation 1 that keeps the numbers of the events
// it gets.
type reader struct {
	*client
	gateway *gateway
	name    string
	got     []int
}

// until reads events up to a number.
func (r *reader) until(t *testing.T, last int) {
	t.Helper()
	for len(r.got) == 0 || r.got[len(r.got)-1] < last {
		ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
		e, err := r.Next(ctx)
		cancel()
		var body struct{ Message int }
		if err == nil && e.Name == "new_message" {
			err = e.Decode(&body)
		}
		if err != nil {
			t.Fatalf("%s got %d events while it waited for number %d: %v", r.name, len(r.got), last, err)
		}
		if e.Name == "new_message" {
			r.got = append(r.got, body.Message)
		}
	}
}

// wantOnce checks that each confirmed event has come once, and each other one
// at most once, in order. It returns how many unconfirmed events have come.
func (r *reader) wantOnce(t *testing.T, confirmed []bool) (unsure int) {
	t.Helper()
	next := 0
	for _, n := range r.got {
		if n < next || n >= len(confirmed) {
			t.Fatalf("%s got event %d, want %d or a later one", r.name, n, next)
		}
		for ; next < n; next++ {
			if confirmed[next] {
				t.Fatalf("%s got event %d, and not the confirmed event %d before it", r.name, n, next)
			}
		}
		if !confirmed[n] {
			unsure++
		}
		next++
	}
	return unsure
}

// RabbitMQ is killed twice while 1,000 events a second are published. Each
// client of two gateways must get each confirmed event once, in order.
func TestConfirmedEventsArriveOnceWhenRabbitMQIsKilled(t *testing.T) {
	t.Parallel()
	broker, err := brokertest.Start()
	testkit.Need(t, err)
	t.Cleanup(broker.Close)
	f := newFleet(t)
	f.listenTo(broker, "killed-broker")
	var readers []*reader
	for i := range 2 {
		g := f.start()
		for _, user := range []string{"ann", "bob"} {
			r := &reader{client: connect(t, g, user), gateway: g, name: fmt.Sprintf("%s on gateway %d", user, i)}
			if err := r.do("join_room", "1"); err != nil {
				t.Fatal(err)
			}
			readers = append(readers, r)
		}
	}
	for _, command := range []string{"stop_app", "start_app"} { // without a restart RabbitMQ 3.10 hangs after a kill if a stream was created just before
		if out, err := broker.Ctl(command); err != nil {
			t.Fatal(out, err)
		}
	}
	for _, r := range readers {
		r.gateway.AwaitReady()
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := &ledger{broker: broker, exchange: "killed-broker"}
	ended := make(chan struct{})
	go func() { defer close(ended); l.run(ctx) }()
	more := func(events int64) {
		t.Helper()
		from := l.published.Load()
		// RabbitMQ 3.10 may not answer for a while after its start.
		for until := time.Now().Add(4 * patience); l.published.Load() < from+events; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("only %d of %d events could be published", l.published.Load()-from, events)
			}
		}
	}
	for range 2 {
		more(1_000)
		l.down.Store(true)
		broker.Kill()
		if err := broker.Launch(); err != nil {
			t.Fatal(err)
		}
		l.down.Store(false)
	}
	more(500)
	stop()
	<-ended
	last := len(l.confirmed) - 1
	for !l.confirmed[last] {
		last--
	}
	for _, r := range readers {
		r.until(t, last)
		unsure := r.wantOnce(t, l.confirmed)
		t.Logf("%s got %d of %d events, %d of them unconfirmed", r.name, len(r.got), len(l.confirmed), unsure)
	}
}
