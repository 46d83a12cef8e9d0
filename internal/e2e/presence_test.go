package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
)

// heardPresence is what a service hears of presence, duplicates dropped: "key
// who", in order.
type heardPresence struct {
	t          *testing.T
	deliveries <-chan amqp.Delivery
	ids        map[string]bool
	heard      []string
}

func hearPresence(t *testing.T, exchange string) *heardPresence {
	t.Helper()
	publisher, err := brokertest.Shared(t).Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(publisher.Close)
	ch := publisher.Channel
	if err := ch.ExchangeDeclare(exchange, "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(q.Name, "user.*", exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &heardPresence{t: t, deliveries: deliveries, ids: make(map[string]bool)}
}

// want waits until the service has heard this, and nothing else.
func (h *heardPresence) want(want ...string) {
	h.t.Helper()
	deadline := time.After(gatewaytest.Patience)
	for len(h.heard) < len(want) {
		select {
		case m := <-h.deliveries:
			var e struct{ Data struct{ UserID string } }
			if err := json.Unmarshal(m.Body, &e); err != nil {
				h.t.Fatal(err)
			}
			if !h.ids[m.MessageId] {
				h.ids[m.MessageId] = true
				h.heard = append(h.heard, m.RoutingKey+" "+e.Data.UserID)
			}
		case <-deadline:
			h.t.Fatalf("heard %q, want %q", h.heard, want)
		}
	}
	if !slices.Equal(h.heard, want) {
		h.t.Fatalf("heard %q, want %q", h.heard, want)
	}
}

// TestPresenceOverAHandOver: nobody goes and comes back when a process takes the
// place of another, and who goes later is told to be gone.
func TestPresenceOverAHandOver(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	settings, _ := fleetSettings(t, "rabbitmq")
	exchange := "presence-of-a-hand-over"
	h := hearPresence(t, exchange)
	g := start(t, append(settings, handoverSocket(t), "PRESENCE_EVENTS=true", "PRESENCE_EXCHANGE="+exchange, "PRESENCE_GRACE=0", "NODE_LEASE=1500")...)
	g.AwaitReady()
	ann := g.dial(t, "ann", false)
	h.want("user.online ann")
	ben := g.dial(t, "ben", true)
	h.want("user.online ann", "user.online ben")
	for range 2 {
		g = g.succeed(t)
		// What is left of the process before is removed when its lease ends.
		gatewaytest.Await(t, "the process before to be forgotten", func() bool {
			return g.user(t, "ann") == "1 sockets, 1 nodes" && g.user(t, "ben") == "1 sockets, 1 nodes"
		})
	}
	bob := g.dial(t, "bob", false)
	h.want("user.online ann", "user.online ben", "user.online bob")
	bob.Close()
	h.want("user.online ann", "user.online ben", "user.online bob", "user.offline bob")
	ann.Close()
	h.want("user.online ann", "user.online ben", "user.online bob", "user.offline bob", "user.offline ann")
	// Who goes before that is told to be gone when it is removed.
	g = g.succeed(t)
	ben.Close()
	h.want("user.online ann", "user.online ben", "user.online bob", "user.offline bob", "user.offline ann", "user.offline ben")
	if got := g.user(t, "ben"); got != "0 sockets, 0 nodes" {
		t.Errorf("ben has %s", got)
	}
}

// user asks how many sockets a user has.
func (g *gateway) user(t *testing.T, id string) string {
	t.Helper()
	header := http.Header{"Authorization": {"Bearer " + gatewaytest.PublishToken}}
	status, body, err := request(http.MethodGet, g.URL+"/users/"+id, header, "")
	var u struct{ Sockets, Nodes int }
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &u) != nil {
		return fmt.Sprint(status, " ", string(body), " ", err)
	}
	return fmt.Sprintf("%d sockets, %d nodes", u.Sockets, u.Nodes)
}

func TestWhoMayAskForUsers(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no GET /users")
	token := http.Header{"Authorization": {"Bearer " + gatewaytest.PublishToken}}
	g := start(t, "NODE_ENV=production")
	for _, c := range []struct {
		method, path, body string
		header             http.Header
		status             int
	}{
		{"GET", "/users/42", "", nil, http.StatusUnauthorized},
		{"GET", "/users/42", "", http.Header{"Authorization": {"Bearer guess"}}, http.StatusUnauthorized},
		{"GET", "/users/42", "", token, http.StatusNotFound}, // PRESENCE_EVENTS is false
		{"POST", "/users", `{"users":[42]}`, nil, http.StatusUnauthorized},
		{"POST", "/users", `{"users":[42]}`, token, http.StatusNotFound},
	} {
		if status, body, err := request(c.method, g.URL+c.path, c.header, c.body); status != c.status || err != nil {
			t.Errorf("%s %s %v: %d %s %v, want %d", c.method, c.path, c.header, status, body, err, c.status)
		}
	}
}
