package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/rooms/cluster/clustertest"
)

// Gateways and clients start, act and stop at random, and what clients get is
// compared with a model.
func TestFleetAgreesWithAModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			f.service(fmt.Sprint("model", seed))
			m := clustertest.Model{Log: t.Logf, Start: f.modelNode}
			if seed == 1 {
				m.Fault = func() error { _, err := f.redis.CLI("FLUSHALL"); return err }
			}
			if err := m.Run(seed, 40); err != nil {
				t.Fatal(err)
			}
		})
	}
}

type modelNode struct {
	*gateway
	f       *fleet
	channel string
}

// modelNode starts a gateway, finds its channel in Redis, and waits until the
// gateways know each other.
func (f *fleet) modelNode() (clustertest.Node, error) {
	before := f.channels()
	n := modelNode{gateway: f.start("NODE_LEASE=4000"), f: f}
	f.alive = append(f.alive, n.gateway)
	for _, g := range f.alive {
		gatewaytest.Await(f.t, "the gateways to know each other", func() bool { return g.figures().Cluster.Nodes >= len(f.alive) })
	}
	for _, name := range f.channels() {
		if !slices.Contains(before, name) {
			n.channel = name
			return n, nil
		}
	}
	return nil, fmt.Errorf("the gateway has opened no channel in addition to %q", before)
}

func (f *fleet) channels() []string {
	out, err := f.redis.CLI("PUBSUB", "CHANNELS", keyPrefix+"*:to:*")
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.Fields(out)
}

func (n modelNode) Connect(user string) (clustertest.Client, error) {
	c, err := n.connect(user)
	return &modelClient{client: c}, err
}

func (n modelNode) Publish(room, text string) error {
	return n.publish(strings.TrimPrefix(room, "conversation:"), text)
}

// Sent also publishes an event to an empty room. After it all gateways have the
// same position in the log, including those that have just started.
func (n modelNode) Sent() error {
	n.AwaitListed()
	return n.publish("nobody", "mark")
}

// Received publishes a malformed message on the gateway's channel, and waits
// until the gateway has counted it, after all earlier messages.
func (n modelNode) Received() error {
	const malformed = `gateway_cluster_dropped_total{reason="malformed"}`
	before := n.Metric(malformed)
	if _, err := n.f.redis.CLI("PUBLISH", n.channel, "x"); err != nil {
		return err
	}
	gatewaytest.Await(n.t, "the end of the gateway's channel", func() bool { return n.Metric(malformed) > before })
	gatewaytest.Await(n.t, "all events of services", func() bool {
		mine := n.figures().EventBus.Position
		return !slices.ContainsFunc(n.f.alive, func(g *gateway) bool { return g.figures().EventBus.Position != mine })
	})
	n.AwaitListed()
	return nil
}

func (n modelNode) Kill() {
	n.f.alive = slices.DeleteFunc(n.f.alive, func(g *gateway) bool { return g == n.gateway })
	n.gateway.Kill()
}

// A modelClient keeps the events it has received.
type modelClient struct {
	*client
	log []string
}

func (m *modelClient) Do(event, room string) error { return m.do(event, room) }
func (m *modelClient) Close()                      { m.Client.Close() }

func (m *modelClient) Heard() []string {
	for {
		event, err := m.next(0)
		if err != nil { // nothing more
			return m.log
		}
		m.log = append(m.log, event)
	}
}

// Settle sends an unknown event twice. The second answer comes after everything
// that was queued for the client at the first.
func (m *modelClient) Settle() {
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, _ = m.EmitAck(ctx, "nothing")
		cancel()
	}
}

// redisOf returns the state of Redis according to /health, and the status of
// /ready.
func (g *gateway) redisOf() (redis string, ready int) {
	g.t.Helper()
	var health struct{ Redis string }
	_, body, err := g.Get("/health")
	if err == nil {
		err = json.Unmarshal(body, &health)
	}
	if err != nil {
		g.t.Fatalf("/health: %v %s", err, body)
	}
	ready, _, err = g.Get("/ready")
	if err != nil {
		g.t.Fatal(err)
	}
	return health.Redis, ready
}

func TestHealthFollowsRedis(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	g := f.start()
	if redis, ready := g.redisOf(); redis != "connected" || ready != http.StatusOK {
		t.Errorf("redis %s, ready %d, want connected and 200", redis, ready)
	}
	off := f.launch("USE_REDIS=false", "ROOM_POLICY=claims") // the warning about "open" contains the word redis
	if redis, ready := off.redisOf(); redis != "disabled" || ready != http.StatusOK || off.figures().Cluster != nil {
		t.Errorf("USE_REDIS=false: redis %s, ready %d, figures %+v; want disabled and 200", redis, ready, off.figures())
	}
	if text := off.Out.String(); strings.Contains(text, "redis") {
		t.Errorf("USE_REDIS=false, and the log mentions redis: %s", text)
	}
	f.redis.Kill()
	gatewaytest.Await(t, "a gateway that is not ready", func() bool {
		redis, ready := g.redisOf()
		return redis == "disconnected" && ready == http.StatusServiceUnavailable
	})
	late, dev := f.launch(), f.launch("NODE_ENV=development")
	if redis, ready := late.redisOf(); redis != "disconnected" || ready != http.StatusServiceUnavailable {
		t.Errorf("started without Redis: redis %s, ready %d, want disconnected and 503", redis, ready)
	}
	if redis, ready := dev.redisOf(); redis != "disconnected" || ready != http.StatusOK {
		t.Errorf("development without Redis: redis %s, ready %d", redis, ready)
	}
	gatewaytest.Await(t, "the warning that Redis is away", func() bool { return strings.Contains(dev.Out.String(), "redis is away") })
	failures := dev.Metric("gateway_cluster_failures_total")
	gatewaytest.Await(t, "some more attempts", func() bool { return dev.Metric("gateway_cluster_failures_total") >= failures+3 })
	// One is about the other nodes, and one about the log of the services' events.
	if n := strings.Count(dev.Out.String(), `"level":"WARN"`); n != 2 {
		t.Errorf("%d warnings, want two:\n%s", n, dev.Out)
	}
	if err := f.redis.Launch(); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*gateway{g, late, dev} {
		g.AwaitReady()
	}
	gatewaytest.Await(t, "three nodes", func() bool { return g.figures().Cluster.Nodes == 3 })
}

// pair starts two gateways with a client each in conversation 1. It returns the
// first gateway and the clients.
func (f *fleet) pair() (a *gateway, ann, bob *client) {
	f.t.Helper()
	a, b := f.start(), f.start()
	ann, bob = connect(f.t, a, "ann"), connect(f.t, b, "bob")
	if err := ann.do("join_room", "1"); err != nil {
		f.t.Fatal(err)
	}
	a.AwaitListed()
	if err := bob.do("join_room", "1"); err != nil {
		f.t.Fatal(err)
	}
	want(f.t, ann, "user_joined bob 1")
	return a, ann, bob
}

func connect(t *testing.T, g *gateway, user string) *client {
	t.Helper()
	c, err := g.connect(user)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func want(t *testing.T, c *client, event string) {
	t.Helper()
	if got, err := c.next(patience); err != nil || got != event {
		t.Fatalf("got %q, %v, want %q", got, err, event)
	}
}
