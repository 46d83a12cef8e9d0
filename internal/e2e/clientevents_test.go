package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// The client events that are declared in deploy/routes.example.yaml work with
// unmodified clients, and are published to RabbitMQ for services.
func TestClientEventsOfTheExampleFile(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no routes file")
	text, err := os.ReadFile("../../deploy/routes.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	h := newFixture(t, "clientevents", string(text))
	ch, err := h.publisher.Conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	const queue = "clientevents-service"
	if _, err := ch.QueueDeclare(queue, false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(queue, "client.#", h.name, false, nil); err != nil {
		t.Fatal(err)
	}
	clients(t, h.gateway, "clientevents.mjs")
	t.Cleanup(func() { // runs when the parallel subtests have ended
		h.wantForServices(queue, map[string]int{"client.mark_read": len(transportSettings), "client.reaction": 2 * len(transportSettings)})
	})
}

// wantForServices reads a queue until it has brought all wanted events, each with a
// message id of its own. want has the number of events for each routing key.
func (h *fixture) wantForServices(queue string, want map[string]int) {
	h.t.Helper()
	ch, err := h.publisher.Conn.Channel()
	if err != nil {
		h.t.Fatal(err)
	}
	all := 0
	for _, n := range want {
		all += n
	}
	got, ids := map[string]int{}, map[string]bool{}
	gatewaytest.Await(h.t, "the events of clients", func() bool {
		m, ok, err := ch.Get(queue, true)
		if err != nil {
			h.t.Fatal(err)
		}
		if !ok {
			return len(ids) == all
		}
		var body struct {
			EventName, Source, SocketID, UserID, Room string
			Timestamp                                 time.Time
			Data                                      struct{ ConversationID string }
		}
		if err := json.Unmarshal(m.Body, &body); err != nil {
			h.t.Fatalf("event %s is not JSON: %v", m.Body, err)
		}
		if body.EventName != m.RoutingKey || body.Source != "websocket-gateway" || body.UserID != "ann" && body.UserID != "ben" ||
			len(body.SocketID) != 20 || body.Room != "conversation:"+body.Data.ConversationID || body.Timestamp.IsZero() {
			h.t.Errorf("event %s has a wrong name, source, user, socket, room or time", m.Body)
		}
		got[m.RoutingKey]++
		ids[m.MessageId] = true
		return false
	})
	for key, n := range want {
		if got[key] != n {
			h.t.Errorf("%d events %s, want %d", got[key], key, n)
		}
	}
	if text := h.Out.String(); strings.Contains(text, "panic") {
		h.t.Error(text)
	}
	if n := h.Metric(`gateway_outgoing_events_total{kind="client_events",result="confirmed"}`); int(n) != all {
		h.t.Errorf("%v client events counted as confirmed, want %d", n, all)
	}
}

// The console shows the client events that the routes file declares, and emits them.
func TestConsoleEmitsDeclaredEvents(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no console")
	text, err := os.ReadFile("../../deploy/routes.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	h := newFixture(t, "consoleevents", string(text), "NODE_ENV=development", "PUBLISH_TOKEN=")
	ch, err := h.publisher.Conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	const queue = "consoleevents-service" // RabbitMQ does not confirm an event that no queue takes
	if _, err := ch.QueueDeclare(queue, false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(queue, "client.#", h.name, false, nil); err != nil {
		t.Fatal(err)
	}
	runCases(t, browserScript(t, h.gateway, "emit.mjs"))
}
