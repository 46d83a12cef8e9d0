package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/orders"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// order gives an order to every node, as the log of services does.
func (w *world) order(o rooms.Order) {
	w.t.Helper()
	for _, n := range w.nodes {
		if !n.halted {
			n.order(o)
		}
	}
}

// order gives an order to one node.
func (n *node) order(o rooms.Order) {
	n.w.t.Helper()
	if err := n.hub.Obey(o); err != nil {
		n.w.t.Fatal(err)
	}
	n.cluster.Keep(o)
}

func revocation(token string) rooms.Order {
	return rooms.Order{TokenID: token, Until: time.Now().Add(time.Hour), Reason: "revoked"}
}

// wantEnded waits for session_ended and DISCONNECT.
func (c *client) wantEnded(reason string) {
	c.n.w.t.Helper()
	for _, want := range []string{`42["session_ended",{"reason":"` + reason + `"}]`, "41"} {
		if got := c.next(); got != want {
			c.n.w.t.Fatalf("%s of %s got %s, want %s", c.name, c.n.name, got, want)
		}
	}
}

func (n *node) wantRefused(token string) {
	n.w.t.Helper()
	if got := n.open(token).next(); !strings.Contains(got, "jwt revoked") {
		n.w.t.Errorf("%s: token %s: got %s, want it to be refused", n.name, token, got)
	}
}

func (w *world) wantOrders(want int) {
	w.t.Helper()
	testkit.Await(w.t, fmt.Sprint(want, " orders in Redis"), func() bool {
		return w.cli("-n", "1", "ZCARD", w.nodes[0].cluster.names.Orders()) == fmt.Sprint(want)
	})
}

func TestStoredOrdersApplyToNodesThatStartLater(t *testing.T) {
	w := newWorld(t)
	var anns, bobs []*client
	for range 3 {
		n := w.node()
		anns = append(anns, n.connect("ann/1"))
		bobs = append(bobs, n.connect("bob/2"))
	}
	w.order(rooms.Order{User: "ann", Reason: "blocked"})
	for _, ann := range anns {
		ann.wantEnded("blocked")
	}
	w.wantOrders(0) // a disconnection is not stored
	for _, n := range w.nodes {
		n.connect("ann/1").hangUp()
	}
	w.order(revocation("2"))
	for _, bob := range bobs {
		bob.wantEnded("revoked")
	}
	w.wantOrders(1)
	w.node() // starts after the order
	for _, n := range w.nodes {
		n.wantRefused("bob/2")
		n.connect("bob/3")
	}
}

func TestNodeThatWasCutOffExecutesOrdersWhenItIsBack(t *testing.T) {
	p, proxy := newCutPair(t)
	eve := p.b.connect("eve/1")
	proxy.Cut()
	p.awaitAway(p.b)
	p.a.order(revocation("1"))
	p.wantOrders(1)
	proxy.Heal()
	eve.wantEnded("revoked")
	p.b.wantRefused("eve/1")
}

// Redis loses all orders, and another one is given while it is down. When Redis
// is back, the nodes must write all orders again.
func TestOrdersAreWrittenAgainWhenRedisLosesThem(t *testing.T) {
	p := newPair(t)
	p.order(revocation("1"))
	p.wantOrders(1)
	p.redis.Kill()
	p.awaitAway(p.a, p.b)
	p.order(revocation("2"))
	if err := p.redis.Launch(); err != nil {
		t.Fatal(err)
	}
	p.awaitRight()
	p.wantOrders(2)
	for _, n := range []*node{p.a, p.b, p.node()} {
		n.wantRefused("eve/1")
		n.wantRefused("ann/2")
	}
}

// Expired orders must be removed from Redis, and no more than orders.Most must
// be stored.
func TestExpiredOrdersAreRemoved(t *testing.T) {
	w := newOwnWorld(t)
	a := w.node()
	now := time.Now()
	key := a.cluster.names.Orders()
	add := func(token string) {
		form := wire.Order(&rooms.Order{TokenID: token, Until: now.Add(-time.Minute)})
		w.cli("-n", "1", "ZADD", key, wire.Decimal(now.Add(-time.Minute).Unix()), form)
	}
	add("1")
	w.node().connect("ann/1")
	w.wantOrders(0) // removed by the node that reads the orders
	add("1")
	a.order(revocation("2"))
	w.wantOrders(1) // the expired one is removed by the node that writes

	cs := a.cluster.connections()
	for i := 0; i < orders.Most; {
		add := wire.Command{Name: "ZADD", Keys: []string{key}}
		for range 1024 {
			add.Args = append(add.Args, wire.Decimal(now.Add(24*time.Hour).Unix()), fmt.Sprint(i))
			i++
		}
		if err := cs.do(wire.Batch{Commands: []wire.Command{add}})[0].Err; err != nil {
			t.Fatal(err)
		}
	}
	a.order(revocation("3"))
	w.wantOrders(orders.Most)
}
