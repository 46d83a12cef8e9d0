package upstream

import (
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/upstream/brokertest"
)

func TestPoisonGoesToTheDeadLettersWhileGoodEventsFlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start(func(c *Config) { c.MaxBody = 1000 })
	poison := []struct {
		key, body string
		reason    Reason
	}{
		{"message.sent", "hello", ReasonNotJSON},
		{"message.sent", "", ReasonNotJSON},
		{"message.sent", "[1]", ReasonNotObject},
		{"message.sent", `{"message":"for nobody"}`, ReasonNoRoom},
		{"booking.confirmed", `{"userId":{}}`, ReasonBadID},
		{"message.sent", `{"conversationId":1,"message":"` + strings.Repeat("x", 1000) + `"}`, ReasonTooLarge},
	}
	var good []delivered
	for i, p := range poison {
		for range 20 {
			w.publish("message.sent", messageBody(len(good)))
			good = append(good, message(len(good)))
		}
		w.publish(p.key, p.body, func(m *amqp.Publishing) {
			m.MessageId = fmt.Sprint("bad", i)
			m.UserId = "guest" // which RabbitMQ lets only this connection say
			m.Expiration = "600000"
			m.Headers = amqp.Table{"CC": []any{w.prefix + ".elsewhere"}, "trace": "abc"}
		})
	}
	w.want(good...)
	for _, d := range w.letters(len(poison)) {
		var i int
		if _, err := fmt.Sscanf(d.MessageId, "bad%d", &i); err != nil {
			t.Fatal(err)
		}
		p := poison[i]
		queue := w.prefix + "." + strings.Replace(p.key, "confirmed", "*", 1)
		for header, want := range map[string]any{
			headerReason: p.reason.String(), headerExchange: w.exchanges[0], headerKey: p.key, headerQueue: queue, "trace": "abc", "CC": nil,
		} {
			if got := d.Headers[header]; got != want {
				t.Errorf("letter %d: header %s is %v, want %v", i, header, got, want)
			}
		}
		if letter := letterFrom(d); letter.Time.IsZero() || letter.Detail == "" {
			t.Errorf("letter %d: time %v, detail %q", i, letter.Time, letter.Detail)
		}
		if string(d.Body) != p.body || d.Expiration != "" || d.DeliveryMode != amqp.Persistent {
			t.Errorf("letter %d: body %q, expiration %q, mode %d", i, d.Body, d.Expiration, d.DeliveryMode)
		}
		poison[i].body = "seen"
	}
	await(t, "all acknowledgements", func() bool { return w.consumer.Totals().Acked == int64(len(good)+len(poison)) })
	counted := w.consumer.Totals()
	if counted.DeadLetters != 6 || counted.Poison["not_json"] != 2 || counted.Poison["bad_id"] != 1 || counted.Poison["too_large"] != 1 {
		t.Errorf("counted %+v", counted)
	}
}

func TestAFloodOfPoisonLosesNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	const events = 1000
	for n := range events {
		body := fmt.Sprint("poison ", n)
		if n%10 == 0 {
			body = messageBody(n / 10)
		}
		if err := w.service.Channel.Publish(w.exchanges[0], "message.sent", false, false, amqp.Publishing{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]bool)
	for _, d := range w.letters(events * 9 / 10) {
		seen[string(d.Body)] = true
	}
	if len(seen) != events*9/10 || len(w.house.all()) != events/10 {
		t.Errorf("%d different letters and %d good events", len(seen), len(w.house.all()))
	}
}

func TestPoisonWaitsUntilItsQueueIsThereAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	w.publish("message.sent", "first")
	w.letters(1)
	if _, err := w.service.Channel.QueueDelete(letterQueue(w.prefix), false, false, false); err != nil {
		t.Fatal(err)
	}
	w.publish("message.sent", "second")
	await(t, "the queue", func() bool {
		ch, err := w.service.Conn.Channel() // asking in vain closes it
		if err != nil {
			t.Fatal(err)
		}
		defer ch.Close()
		q, err := ch.QueueDeclarePassive(letterQueue(w.prefix), true, false, false, false, nil)
		return err == nil && q.Messages == 1
	})
	if d := w.letters(1)[0]; string(d.Body) != "second" {
		t.Errorf("letter %q", d.Body)
	}
}

func (w *world) openLetters() *DeadLetters {
	w.t.Helper()
	l, err := OpenDeadLetters(w.t.Context(), []string{w.broker.URL}, w.prefix)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// read returns all letters there are.
func (w *world) read(l *DeadLetters) (list []DeadLetter) {
	w.t.Helper()
	for {
		letter, ok, err := l.Next()
		if err != nil {
			w.t.Fatal(err)
		}
		if !ok {
			return list
		}
		list = append(list, letter)
	}
}

func TestDeadLettersAreReadReplayedAndDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	w.publish("booking.confirmed", `{"bookingId":1,"timestamp":"T"}`, func(m *amqp.Publishing) { m.MessageId = "m" })
	w.publish("booking.paid", `nonsense`)
	w.publish("booking.paid", `other nonsense`)
	await(t, "letters", func() bool { return w.consumer.Totals().DeadLetters == 3 })

	l := w.openLetters()
	first := w.read(l)
	if n, err := l.Count(); err != nil || len(first) != 3 {
		t.Fatalf("%d letters read, %d counted, %v", len(first), n, err)
	}
	l.Close()
	if first[0].Reason != "no_room" || first[0].Key != "booking.confirmed" || first[0].Queue != w.prefix+".booking.*" ||
		first[0].Exchange != w.exchanges[0] || string(first[0].Body) != `{"bookingId":1,"timestamp":"T"}` {
		t.Errorf("letter %+v", first[0])
	}

	// A gateway that knows more makes sense of it.
	w.stop()
	w.start(func(c *Config) {
		c.Table = table(t, Route{Event: "booking.*", Rooms: []string{"user:{bookingId}"}, Emit: "b",
			Fields: []Field{{Name: "type", From: []string{FromKey}}}})
	})
	l = w.openLetters()
	again := w.read(l)
	for i := range again {
		if again[i].ID != first[i].ID {
			t.Errorf("letter %d is %s and was %s", i, again[i].ID, first[i].ID)
		}
	}
	if again[1].ID == again[2].ID {
		t.Error("two letters share an id")
	}
	if err := l.Replay(t.Context(), again[0]); err != nil {
		t.Fatal(err)
	}
	if err := l.Replay(t.Context(), again[1]); err != nil {
		t.Fatal(err)
	}
	if err := l.Drop(again[2]); err != nil {
		t.Fatal(err)
	}
	w.want(delivered{"user:1", `["b",{"type":"booking_confirmed"}]`})
	await(t, "the letter that is poison still", func() bool { return w.consumer.Totals().DeadLetters == 1 })
	l.Close()
	left := w.letters(1)
	if letter := letterFrom(left[0]); letter.Reason != "not_json" || letter.Key != "booking.paid" || letter.Exchange != w.exchanges[0] ||
		letter.Queue != w.prefix+".booking.*" || string(letter.Body) != "nonsense" {
		t.Errorf("letter after its replay: %+v", letter)
	}
}

func TestReplayReachesARouteThatWasAddedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start(func(c *Config) { c.Table = table(t, route("*.b", "user:{id}")) })
	w.publish("a.b", `{"who":1,"timestamp":"T"}`)
	await(t, "the letter", func() bool { return w.consumer.Totals().DeadLetters == 1 })
	w.stop()
	w.start(func(c *Config) { c.Table = table(t, route("a.*", "user:{who}"), route("*.b", "user:{id}")) })
	l := w.openLetters()
	if err := l.Replay(t.Context(), w.read(l)[0]); err != nil {
		t.Fatal(err)
	}
	l.Close()
	w.want(delivered{"user:1", `["x",{"who":1,"timestamp":"T"}]`})
}

func TestReplayWithoutAQueueKeepsTheLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	w.publish("message.sent", "poison")
	await(t, "the letter", func() bool { return w.consumer.Totals().DeadLetters == 1 })
	w.stop()
	if _, err := w.service.Channel.QueueDelete(w.prefix+".message.sent", false, false, false); err != nil {
		t.Fatal(err)
	}
	l := w.openLetters()
	letter := w.read(l)[0]
	if err := l.Replay(t.Context(), letter); err == nil || !strings.Contains(err.Error(), "no queue takes") {
		t.Errorf("got %v", err)
	}
	l.Close()
	w.letters(1)
}

func TestWhatRabbitMQSortsOutItselfIsReadAndReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	w.stop()
	w.publish("message.sent", messageBody(0))
	deliveries, err := w.service.Channel.Consume(w.prefix+".message.sent", "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range deliveryLimit + 1 { // a consumer that dies of it
		d := <-deliveries
		if err := d.Nack(false, true); err != nil {
			t.Fatal(err)
		}
	}
	l := w.openLetters()
	var list []DeadLetter
	await(t, "the letter", func() bool { list = append(list, w.read(l)...); return len(list) == 1 })
	if got := list[0]; got.Reason != "delivery_limit" || got.Key != "message.sent" || got.Exchange != w.exchanges[0] ||
		got.Queue != w.prefix+".message.sent" || got.Time.IsZero() {
		t.Errorf("letter %+v", got)
	}
	if err := l.Replay(t.Context(), list[0]); err != nil {
		t.Fatal(err)
	}
	l.Close()
	w.service.Conn.Close() // and with it the consumer
	w.start()
	w.want(message(0))
}

func TestPublishSaysWhenNobodyTakesTheEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	addresses := []string{"amqp://127.0.0.1:1", w.broker.URL}
	sender := NewSender(addresses, w.exchanges[0])
	defer sender.Close()
	if err := sender.Send(t.Context(), "message.sent", []byte(messageBody(0)), "id"); err != nil {
		t.Error(err)
	}
	w.want(message(0))
	if err := sender.Send(t.Context(), "message.read", []byte("{}"), ""); err == nil || !strings.Contains(err.Error(), "no queue takes") {
		t.Errorf("got %v", err)
	}
	nowhere := NewSender(addresses, w.prefix+"-nothing")
	defer nowhere.Close()
	if err := nowhere.Send(t.Context(), "message.sent", []byte("{}"), ""); err == nil {
		t.Error("published to an exchange that does not exist")
	}
}
