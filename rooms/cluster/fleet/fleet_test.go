package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/rooms/cluster/clustertest"
)

// TestFleetAgreesWithAModel has gateways and clients come and go at random.
func TestFleetAgreesWithAModel(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			f := newFleet(t)
			m := clustertest.Model{Log: t.Logf, Start: f.modelNode}
			if err := m.Run(seed, 150); err != nil {
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

// modelNode starts a gateway and finds out its channel.
func (f *fleet) modelNode() (clustertest.Node, error) {
	before := f.channels()
	n := modelNode{gateway: f.start(), f: f}
	for _, name := range f.channels() {
		if !slices.Contains(before, name) {
			n.channel = name
			return n, nil
		}
	}
	return nil, fmt.Errorf("no new channel beside %q", before)
}

func (f *fleet) channels() []string {
	out, err := f.redis.CLI("PUBSUB", "CHANNELS", keyPrefix+"*")
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.Fields(out)
}

func (n modelNode) Connect(user string) (clustertest.Client, error) {
	c, err := n.connect(user)
	return modelClient{c}, err
}

func (n modelNode) Publish(room, text string) error {
	return n.publish(strings.TrimPrefix(room, "conversation:"), text)
}

func (n modelNode) Sent() error {
	gatewaytest.Await(n.t, "an empty queue", func() bool { return n.figures().Cluster.Queued == 0 })
	return nil
}

// Received sends the gateway something that it counts, behind all that others
// have sent it.
func (n modelNode) Received() error {
	const malformed = `gateway_cluster_dropped_total{reason="malformed"}`
	before := n.Metric(malformed)
	if _, err := n.f.redis.CLI("PUBLISH", n.channel, "x"); err != nil {
		return err
	}
	gatewaytest.Await(n.t, "the end of the gateway's channel", func() bool { return n.Metric(malformed) > before })
	return nil
}

type modelClient struct{ *client }

func (m modelClient) Do(event, room string) error                { return m.do(event, room) }
func (m modelClient) Next(timeout time.Duration) (string, error) { return m.next(timeout) }
func (m modelClient) Close()                                     { m.Client.Close() }

// Pending asks twice for something that does not exist: the second answer
// comes behind all that waited for the client at the first.
func (m modelClient) Pending() int {
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, _ = m.EmitAck(ctx, "nothing")
		cancel()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.inbox)
}

// redisOf returns what /health says of Redis, and the status of /ready.
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
	f := newFleet(t)
	g := f.start()
	if redis, ready := g.redisOf(); redis != "connected" || ready != http.StatusOK {
		t.Errorf("redis %s, ready %d", redis, ready)
	}
	off := f.launch("USE_REDIS=false")
	if redis, ready := off.redisOf(); redis != "disabled" || ready != http.StatusOK || off.figures().Cluster != nil {
		t.Errorf("turned off: redis %s, ready %d, figures %+v", redis, ready, off.figures())
	}
	if text := off.Out.String(); strings.Contains(text, "redis") {
		t.Errorf("turned off, and the log speaks of it: %s", text)
	}
	f.redis.Kill()
	gatewaytest.Await(t, "a gateway that is not ready", func() bool {
		redis, ready := g.redisOf()
		return redis == "disconnected" && ready == http.StatusServiceUnavailable
	})
	late, dev := f.launch(), f.launch("NODE_ENV=development")
	if redis, ready := late.redisOf(); redis != "disconnected" || ready != http.StatusServiceUnavailable {
		t.Errorf("started without Redis: redis %s, ready %d", redis, ready)
	}
	if redis, ready := dev.redisOf(); redis != "disconnected" || ready != http.StatusOK {
		t.Errorf("development without Redis: redis %s, ready %d", redis, ready)
	}
	if n := strings.Count(dev.Out.String(), `"level":"WARN"`); n != 1 || !strings.Contains(dev.Out.String(), "redis is away") {
		t.Errorf("%d warnings, want one, that Redis is away:\n%s", n, dev.Out)
	}
	if err := f.redis.Launch(); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*gateway{g, late, dev} {
		g.AwaitReady()
	}
	gatewaytest.Await(t, "three nodes", func() bool { return g.figures().Cluster.Nodes == 3 })
}

// pair starts two gateways and returns the first, and a client of each, who are
// in conversation 1.
func (f *fleet) pair() (a *gateway, ann, bob *client) {
	f.t.Helper()
	a, b := f.start(), f.start()
	ann, bob = connect(f.t, a, "ann"), connect(f.t, b, "bob")
	for _, c := range []*client{ann, bob} {
		if err := c.do("join_room", "1"); err != nil {
			f.t.Fatal(err)
		}
	}
	want(f.t, ann, "user_joined bob")
	return a, ann, bob
}

// TestLoopsDoNotWaitForRedis: while Redis is paused the event loops go on.
func TestLoopsDoNotWaitForRedis(t *testing.T) {
	f := newFleet(t)
	a, ann, bob := f.pair()
	if err := f.redis.Pause(); err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for range 50 {
		eve := connect(t, a, "eve") // joins wait, others do not
		if err := ann.do("typing", "1"); err != nil {
			t.Fatal(err)
		}
		worst = max(worst, a.Metric("gateway_loop_turn_age_seconds"))
		eve.Close()
	}
	if worst > 1.5 {
		t.Errorf("a loop took no turn for %.1f s while Redis was paused", worst)
	}
	if err := f.redis.Resume(); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Await(t, "the nodes to be one again", func() bool {
		if err := ann.do("stop_typing", "1"); err != nil {
			t.Fatal(err)
		}
		event, err := bob.next(100 * time.Millisecond)
		return err == nil && event == "user_stop_typing ann"
	})
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
