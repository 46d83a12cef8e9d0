package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/publish"
	"github.com/hometrip/gateway/upstream/routes"
)

// publisher accepts events for a log, on a node without members.
func publisher(table *routes.Table, log publish.Appender) *publish.Publisher {
	return &publish.Publisher{
		Table: table, Log: log, MaxBody: 1000, Local: true,
		Reach: func(context.Context, []string) publish.Reach { return publish.Reach{} },
	}
}

// post sends a message.sent event to the handler, with this Idempotency-Key.
func post(p *publish.Publisher, body, id string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, "/events/message.sent", strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:5555"
	r.SetPathValue("key", "message.sent")
	if id != "" {
		r.Header.Set("Idempotency-Key", id)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// POST /events returns the position that the event has in the log.
func TestPublishingOverHTTPReturnsThePosition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, brokertest.Shared(t)).start()
	p := publisher(w.consumer.config.Table, w.consumer.config.Log)
	for n := range 3 {
		status, answer := post(p, messageBody(n), "")
		testkit.Await(t, "the event", func() bool { return len(w.rooms.all()) == n+1 })
		position := w.consumer.Totals().Position
		if want := fmt.Sprintf(`{"position":"%v","rooms":1,"sockets":0}`, position); status != 202 || answer != want {
			t.Errorf("status %d, body %s; want 202 %s", status, answer, want)
		}
	}
	w.want(message(0), message(1), message(2))
}

// An event posted again with the same Idempotency-Key and body is delivered once.
func TestAnEventRepeatedWithItsIdempotencyKeyIsDeliveredOnce(t *testing.T) {
	log := eventlog.NewMemory(1 << 20)
	p := publisher(table(t), log)
	w := &world{t: t, rooms: &fakeRooms{}}
	w.start(func(c *Config) { c.Log, c.Table = log, p.Table })
	for n, id := range []string{"a", "a", "b", "a"} {
		if status, answer := post(p, messageBody(n/3), id); status != http.StatusAccepted {
			t.Fatalf("status %d, body %s; want 202", status, answer)
		}
	}
	testkit.Await(t, "all events", func() bool { return w.consumer.Totals().Received == 4 })
	w.want(message(0), message(0), message(1)) // events a and b, and the event with id a and another body
}
