package rabbitmodel

import (
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit/brokertest"
)

const (
	maxBytes     = 60_000
	segmentBytes = 20_000
	bodyBytes    = 1000
	published    = 300
)

// A reader that begins at the first position must begin at the same place, give
// or take a segment: what a chunk costs beside its messages is only known
// roughly.
func TestRetentionRemovesSegmentsAsTheBrokerDoes(t *testing.T) {
	broker := brokertest.Shared(t)
	name := "retention." + time.Now().Format("150405.000000")
	real := firstKept(t, broker, name)
	model := New()
	ch := model.Connect().Channel()
	ch.QueueDeclare(name, Args{Type: Stream, MaxBytes: maxBytes, SegmentBytes: segmentBytes})
	for range published {
		ch.Publish(Message{Key: name, Body: strings.Repeat("x", bodyBytes)}, false)
		model.Queue(name).Flush()
	}
	first := model.Queue(name).First()
	if slack := int64(segmentBytes / bodyBytes); first < real-slack || first > real+slack || first == 0 {
		t.Errorf("the model keeps %d to %d, the broker begins at %d", first, published, real)
	}
}

// firstKept publishes to a stream of a real broker and returns where a reader
// begins.
func firstKept(t *testing.T, broker *brokertest.Broker, name string) int64 {
	t.Helper()
	p, err := broker.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	args := amqp.Table{"x-queue-type": "stream", "x-max-length-bytes": maxBytes, "x-stream-max-segment-size-bytes": segmentBytes}
	if _, err := p.Channel.QueueDeclare(name, true, false, false, false, args); err != nil {
		t.Fatal(err)
	}
	for range published {
		if err := p.Publish("", name, amqp.Publishing{Body: []byte(strings.Repeat("x", bodyBytes))}); err != nil {
			t.Fatal(err)
		}
	}
	var first int64
	for end := time.Now().Add(patience); first == 0 && time.Now().Before(end); { // retention comes a moment later
		first = begin(t, p.Conn, name)
	}
	return first
}

func begin(t *testing.T, conn *amqp.Connection, name string) int64 {
	t.Helper()
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Qos(1, 0, false)
	}
	var list <-chan amqp.Delivery
	if err == nil {
		list, err = ch.Consume(name, "", false, false, false, false, amqp.Table{"x-stream-offset": "first"})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	d := <-list
	return d.Headers["x-stream-offset"].(int64)
}
