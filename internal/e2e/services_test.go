package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
)

// fixture is a gateway with RabbitMQ and a service that publishes to its exchange.
type fixture struct {
	*gateway
	name      string // name of the exchange, and prefix of the queues
	publisher *brokertest.Publisher
}

// newFixture starts a gateway with these routes and waits until it is ready.
func newFixture(t *testing.T, name, routes string, settings ...string) *fixture {
	t.Helper()
	notOnReference(t, "it has no RabbitMQ")
	broker := brokertest.Shared(t)
	publisher, err := broker.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(publisher.Close)
	h := &fixture{name: name, publisher: publisher}
	h.gateway = &gateway{Gateway: gatewaytest.New(t, append([]string{
		"NODE_ENV=production", "USE_RABBITMQ=true", "RABBITMQ_URL=" + broker.URL,
		"RABBITMQ_EXCHANGE=" + name + "," + name + "-second", "RABBITMQ_QUEUE_PREFIX=" + name,
	}, settings...)...), t: t}
	h.routes(routes)
	h.Launch()
	h.AwaitReady()
	return h
}

// routes sets the routes file that the gateway reads when it starts.
func (h *fixture) routes(text string) {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), "routes.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.Set("ROUTES_FILE=" + path)
}

func (h *fixture) publish(key string, messages ...amqp.Publishing) {
	h.t.Helper()
	if err := h.publisher.Publish(h.name, key, messages...); err != nil {
		h.t.Fatal(err)
	}
}

// command runs a subcommand of the gateway and returns its output.
func (h *fixture) command(args ...string) string {
	h.t.Helper()
	out, err := h.Run(args...)
	if err != nil {
		h.t.Fatalf("gateway %v: %v\n%s", args, err, out)
	}
	return out
}

// listener is a client of listen.mjs.
type listener struct {
	User  string   `json:"user"`
	Rooms []string `json:"rooms,omitempty"`
}

// audience has the same listeners once for each transport setting, in one process
// each.
type audience struct {
	crowds []*crowd
	each   int
}

func (g *gateway) audience(t *testing.T, listeners ...listener) audience {
	t.Helper()
	args := []string{"listen.mjs"}
	for _, l := range listeners {
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, string(text))
	}
	a := audience{each: len(listeners)}
	for _, transport := range transportSettings {
		a.crowds = append(a.crowds, g.crowd(t, transport, args...))
	}
	a.joined()
	return a
}

func (a audience) joined() {
	for _, c := range a.crowds {
		c.want("joined", a.each)
	}
}

// want checks that the next events on every transport are these, in any order between
// listeners. Each is the listener's number, the event and its arguments.
func (a audience) want(t *testing.T, what string, want ...string) {
	t.Helper()
	slices.Sort(want)
	for i, c := range a.crowds {
		var got []string
		for _, s := range c.want("event", len(want)) {
			got = append(got, fmt.Sprint(s.Member, " ", s.Event, " ", s.Args))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%s, %s clients got\n%s\nwant\n%s", what, transportSettings[i], strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
