package upstream

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// RabbitMQ removes entries that a node has not read, because the node was cut off or
// its rooms accepted nothing. The node must count them as missed and call Missed for
// each gap. A node that kept up must miss nothing.
func TestRetention(t *testing.T) {
	t.Parallel()
	for _, why := range []string{"cut off", "full"} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, brokertest.Shared(t))
			w.smallStream()
			late, missed := w.rooms, atomic.Int64{}
			way, err := testkit.NewProxy(w.broker.Addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(way.Close)
			w.start(func(c *Config) {
				c.Log = w.log(c.Table, func(c *rabbitmq.Config) { c.Addresses = []string{"amqp://guest:guest@" + way.Addr + "/"} })
				c.Missed = func() { missed.Add(1) }
			})
			behind := w.consumer
			w.rooms = &fakeRooms{}
			w.start() // a node that keeps up
			w.publishLarge(0, 100)
			testkit.Await(t, "the first events at the first node", func() bool { return len(late.all()) == 100 })

			full := make(chan struct{})
			if why == "full" {
				late.set(func(h *fakeRooms) { h.full = full })
			} else {
				way.Cut()
			}
			const last = 4000 // four times what the stream keeps
			w.publishLarge(100, last)
			close(full)
			way.Heal()

			testkit.Await(t, "the newest event", func() bool { got := late.all(); return got[len(got)-1].packet == large(last-1) })
			got, n := late.all(), behind.Totals()
			const segments = 4_000_000 / 100_000 // each begins with an entry of RabbitMQ itself
			if sum := int64(len(got)) + n.Missed; sum < last || sum > last+2*segments ||
				n.Missed < last/2 || n.Gaps == 0 || missed.Load() != n.Gaps || n.Logs != 0 {
				t.Errorf("%d events were delivered; Missed was called %d times; counted %+v", len(got), missed.Load(), n)
			}
			if n := w.consumer.Totals(); n.Gaps != 0 { // including positions where segments begin
				t.Errorf("the other node has missed %d events in %d gaps", n.Missed, n.Gaps)
			}
		})
	}
}

// smallStream declares the log's stream with small segments: RabbitMQ removes whole
// segments.
func (w *world) smallStream() {
	w.t.Helper()
	if _, err := w.service.Channel.QueueDeclare(rabbitmq.StreamName(w.prefix), true, false, false, false, amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeStream, "x-max-length-bytes": int64(1_000_000), "x-stream-max-segment-size-bytes": int64(100_000),
	}); err != nil {
		w.t.Fatal(err)
	}
}

var kilobyte = strings.Repeat("x", 1000)

// large is the packet for the n'th event of publishLarge.
func large(n int) string {
	return fmt.Sprintf(`["new_message",{"conversationId":1,"message":"%d%s","timestamp":"t"}]`, n, kilobyte)
}

// publishLarge publishes numbered events of a kilobyte. RabbitMQ may confirm them
// faster than a node reads them. Therefore w.rooms must have got each window, a tenth
// of what the stream keeps, before the next one is published.
func (w *world) publishLarge(from, to int) {
	w.t.Helper()
	const window = 100
	for ; from < to; from += window {
		var messages []amqp.Publishing
		for n := from; n < from+window; n++ {
			messages = append(messages, amqp.Publishing{
				Body: fmt.Appendf(nil, `{"conversationId":1,"message":"%d%s","timestamp":"t"}`, n, kilobyte),
			})
		}
		if err := w.service.Publish(w.exchanges[0], "message.sent", messages...); err != nil {
			w.t.Fatal(err)
		}
		testkit.Await(w.t, fmt.Sprintf("event %d at the node that keeps up", from+window-1), func() bool { return w.rooms.count() == from+window })
	}
}
