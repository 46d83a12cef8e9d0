package fleet

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

// twoGateways is a fleet of two gateways, the second one behind a proxy to
// Redis. Each has two clients in a room of their own, and one of each is also
// in a shared room.
type twoGateways struct {
	*fleet
	proxy                *testkit.Proxy
	a, b                 *gateway
	ann, amy, bob, bea   *client
	round                int
	shared, roomA, roomB string
}

func newTwoGateways(t *testing.T) *twoGateways {
	t.Helper()
	s := &twoGateways{fleet: newFleet(t)}
	var err error
	if s.proxy, err = testkit.NewProxy(s.redis.Addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.proxy.Close)
	_, port, _ := strings.Cut(s.proxy.Addr, ":")
	s.a, s.b = s.start(), s.start("REDIS_PORT="+port)
	return s
}

// connectClients connects the clients, which join their rooms.
func (s *twoGateways) connectClients() {
	s.t.Helper()
	s.round++
	s.shared, s.roomA, s.roomB = fmt.Sprint("shared", s.round), fmt.Sprint("a", s.round), fmt.Sprint("b", s.round)
	s.ann, s.amy = connect(s.t, s.a, "ann"), connect(s.t, s.a, "amy")
	s.bob, s.bea = connect(s.t, s.b, "bob"), connect(s.t, s.b, "bea")
	s.join(s.roomA, s.ann, s.amy)
	s.join(s.roomB, s.bob, s.bea)
	s.join(s.shared, s.ann, s.bob)
	s.talk()
}

// join has clients join a room one after the other. Each must get user_joined
// of the later ones. If they are on both gateways, Redis must be available.
func (s *twoGateways) join(room string, clients ...*client) {
	s.t.Helper()
	for i, c := range clients {
		if i > 0 && clients[i-1].gateway != c.gateway {
			clients[i-1].gateway.AwaitListed()
		}
		if err := c.do("join_room", room); err != nil {
			s.t.Fatal(err)
		}
		for _, other := range clients[:i] {
			if event, err := other.next(patience); err != nil || !strings.HasPrefix(event, "user_joined") {
				s.t.Fatalf("got %q, %v, want user_joined in %s", event, err, room)
			}
		}
	}
}

// talk sends an event between the clients of each gateway. It returns the
// longest time that an event loop has gone without a turn.
func (s *twoGateways) talk() (worst float64) {
	s.t.Helper()
	for _, x := range []struct {
		from, to *client
		room     string
	}{{s.ann, s.amy, s.roomA}, {s.bob, s.bea, s.roomB}} {
		if err := x.from.do("typing", x.room); err != nil {
			s.t.Fatal(err)
		}
		if event, err := x.to.next(patience); err != nil || !strings.HasPrefix(event, "user_typing") {
			s.t.Fatalf("got %q, %v, want user_typing of the other client of the gateway", event, err)
		}
	}
	return max(s.a.Metric("gateway_loop_turn_age_seconds"), s.b.Metric("gateway_loop_turn_age_seconds"))
}

// awaitTogether waits until events get from each gateway to the other, and the
// directory has each of them once.
func (s *twoGateways) awaitTogether() {
	s.t.Helper()
	for _, x := range []struct{ from, to *client }{{s.ann, s.bob}, {s.bob, s.ann}} {
		gatewaytest.Await(s.t, "the nodes to exchange events again", func() bool {
			if err := x.from.do("stop_typing", s.shared); err != nil {
				s.t.Fatal(err)
			}
			event, err := x.to.next(100 * time.Millisecond)
			return err == nil && strings.HasPrefix(event, "user_stop_typing")
		})
	}
	gatewaytest.Await(s.t, "both gateways in the directory, and no other", func() bool {
		for _, key := range []string{keyPrefix + "1:in:conversation:" + s.shared, keyPrefix + "1:{fleet}"} {
			if n, err := s.redis.CLI("-n", "1", "SCARD", key); err != nil || n != "2" {
				return false
			}
		}
		return true
	})
}

// Gateways and Redis are killed, paused, flushed or cut off. The clients of
// each gateway must still get each other's events, and no event loop may wait.
func TestClientsOfAGatewayAreServedDuringFaults(t *testing.T) {
	t.Parallel()
	s := newTwoGateways(t)
	third := s.start()
	for _, fault := range []struct {
		name        string
		start, heal func() error
	}{
		{"a gateway killed", func() error { third.Kill(); return nil }, func() error { return nil }},
		{"redis killed", func() error { s.redis.Kill(); return nil }, func() error { return s.redis.Launch() }},
		{"redis paused", func() error { return s.redis.Pause() }, func() error { return s.redis.Resume() }},
		{"redis flushed", func() error { _, err := s.redis.CLI("FLUSHALL"); return err }, func() error { return nil }},
		{"a gateway cut off", func() error { s.proxy.Cut(); return nil }, func() error {
			gatewaytest.Await(t, "the other gateway to count one node", func() bool { return s.a.figures().Cluster.Nodes == 1 })
			s.proxy.Heal()
			return nil
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			s.t = t
			s.connectClients()
			if err := fault.start(); err != nil {
				t.Fatal(err)
			}
			worst := 0.0
			for until := time.Now().Add(2 * time.Second); time.Now().Before(until); { // longer than a lease
				worst = max(worst, s.talk())
			}
			eve := connect(t, s.a, "eve")
			s.join("new", eve)
			eve.Close()
			if worst > 1 {
				t.Errorf("an event loop took no turn for %.1f s", worst)
			}
			if err := fault.heal(); err != nil {
				t.Fatal(err)
			}
			s.awaitTogether()
		})
	}
}

// A gateway is cut off from Redis for longer than its lease. Its clients must
// stay connected and get each other's events.
func TestClientsOfACutOffGatewayStayConnected(t *testing.T) {
	t.Parallel()
	s := newTwoGateways(t)
	s.connectClients()
	s.proxy.Cut()
	gatewaytest.Await(t, "the other gateway to count one node", func() bool { return s.a.figures().Cluster.Nodes == 1 })
	gatewaytest.Await(t, "a gateway that is not ready", func() bool {
		_, ready := s.b.redisOf()
		return ready == http.StatusServiceUnavailable
	})
	s.talk()
	s.proxy.Heal()
	s.awaitTogether()
	s.talk()
}
