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

// presenceReceiver has the presence events that a service received, in order and without
// duplicates, as "key user".
type presenceReceiver struct {
	t          *testing.T
	deliveries <-chan amqp.Delivery
	ids        map[string]bool
	heard      []string
}

func receivePresence(t *testing.T, exchange string) *presenceReceiver {
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
	return &presenceReceiver{t: t, deliveries: deliveries, ids: make(map[string]bool)}
}

// want waits for the events and checks that the service has received these and no
// others.
func (h *presenceReceiver) want(want ...string) {
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
			h.t.Fatalf("received presence events %q, want %q", h.heard, want)
		}
	}
	if !slices.Equal(h.heard, want) {
		h.t.Fatalf("received presence events %q, want %q", h.heard, want)
	}
}

// A process takes over from another one, twice. No presence event may be sent for
// clients that stay connected, and a user who disconnects after the hand-over must go
// offline.
func TestHandOverCausesNoPresenceEvents(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	settings, _ := fleetSettings(t, "rabbitmq")
	exchange := "presence-of-a-hand-over"
	h := receivePresence(t, exchange)
	g := start(t, append(settings, handoverSocket(t), "PRESENCE_EVENTS=true", "PRESENCE_EXCHANGE="+exchange, "PRESENCE_GRACE=0", "NODE_LEASE=1500")...)
	g.AwaitReady()
	ann := g.dial(t, "ann", false)
	h.want("user.online ann")
	ben := g.dial(t, "ben", true)
	h.want("user.online ann", "user.online ben")
	for range 2 {
		g = g.succeed(t)
		// The former process' entries are removed when its lease ends.
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
	// A user who disconnects before that goes offline when the entries are removed.
	g = g.succeed(t)
	ben.Close()
	h.want("user.online ann", "user.online ben", "user.online bob", "user.offline bob", "user.offline ann", "user.offline ben")
	if got := g.user(t, "ben"); got != "0 sockets, 0 nodes" {
		t.Errorf("ben has %s, want 0 sockets, 0 nodes", got)
	}
}

// user asks GET /users/ID how many sockets a user has, on how many nodes.
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

func TestUsersEndpointRequiresAToken(t *testing.T) {
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
