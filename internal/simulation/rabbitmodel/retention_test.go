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

// A stream with a size limit gets more than fits, in the model and in a real
// broker. A reader must begin at the same first position in both. A difference of
// one segment is allowed, because the model estimates the overhead of a chunk.
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
		t.Errorf("the first position of the model is %d, that of the broker %d, want a difference of %d at most, and not 0", first, real, slack)
	}
}

// firstKept publishes to a stream of a real broker until retention removes
// messages, and returns the position at which a reader begins.
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
	for end := time.Now().Add(patience); first == 0 && time.Now().Before(end); { // retention runs a moment later
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
