package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// order gives a node an order of the back office, and returns when it is
// acknowledged.
func (n *node) order(o rooms.Order) (acknowledged chan struct{}) {
	n.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := n.cluster.Deliver(ctx, rooms.Broadcast{Room: rooms.EveryNode, Order: &o}); err != nil {
		n.w.t.Fatal(err)
	}
	acknowledged = make(chan struct{})
	if err := n.cluster.Sync(ctx, func() { close(acknowledged) }); err != nil {
		n.w.t.Fatal(err)
	}
	return acknowledged
}

func revocation(token string) rooms.Order {
	return rooms.Order{TokenID: token, Until: time.Now().Add(time.Hour), Reason: "revoked"}
}

// wantEnded waits for the goodbye of a client that was disconnected by order.
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
		n.w.t.Errorf("%s: token %s: %s, want it to be refused", n.name, token, got)
	}
}

func (w *world) wantOrders(want int) {
	w.t.Helper()
	if got := w.cli("-n", "1", "ZCARD", w.nodes[0].cluster.names.orders()); got != fmt.Sprint(want) {
		w.t.Errorf("%s orders in Redis, want %d", got, want)
	}
}

func TestOrdersActOnEveryNode(t *testing.T) {
	w := newWorld(t)
	var anns, bobs []*client
	for range 3 {
		n := w.node()
		anns = append(anns, n.connect("ann/1"))
		bobs = append(bobs, n.connect("bob/2"))
	}
	wait(t, "the order to be acknowledged", w.nodes[0].order(rooms.Order{User: "ann", Reason: "blocked"}))
	for _, ann := range anns {
		ann.wantEnded("blocked")
	}
	w.wantOrders(0) // it does not last
	for _, n := range w.nodes {
		n.connect("ann/1").hangUp()
	}
	wait(t, "the order to be acknowledged", w.nodes[1].order(revocation("2")))
	for _, bob := range bobs {
		bob.wantEnded("revoked")
	}
	w.wantOrders(1)
	w.node() // it starts later
	for _, n := range w.nodes {
		n.wantRefused("bob/2")
		n.connect("bob/3")
	}
}

func TestNodeThatWasCutOffObeysWhenItIsBack(t *testing.T) {
	p, proxy := newCutPair(t)
	eve := p.b.connect("eve/1")
	proxy.Cut()
	wait(t, "the order to be acknowledged", p.a.order(revocation("1")))
	proxy.Heal()
	eve.wantEnded("revoked")
	p.b.wantRefused("eve/1")
}

// TestOrdersAreReadAgainWithEachSubscription: what was published in between may
// be lost, though the session lasts.
func TestOrdersAreReadAgainWithEachSubscription(t *testing.T) {
	w := newOwnWorld(t)
	a := w.node()
	ann := a.connect("ann/1")
	o := revocation("1")
	w.cli("-n", "1", "ZADD", a.cluster.names.orders(), decimal(o.Until.Unix()), string(formOf(&o)))
	w.cli("CLIENT", "KILL", "TYPE", "pubsub")
	ann.wantEnded("revoked")
	a.awaitConnected()
	if n := a.cluster.Stats().Sessions; n != 1 {
		t.Errorf("%d sessions, want one", n)
	}
}

// TestOrdersOutliveRedis: a Redis that has lost everything is told again.
func TestOrdersOutliveRedis(t *testing.T) {
	p := newPair(t)
	wait(t, "the order to be acknowledged", p.a.order(revocation("1")))
	p.redis.Kill()
	p.awaitAway(p.a, p.b)
	here, there := p.a.connect("ann/2"), p.b.connect("bob/2")
	second := p.a.order(revocation("2"))
	here.wantEnded("revoked")
	there.wantNothing()
	if !pending(second) {
		t.Error("acknowledged while Redis was away")
	}
	if err := p.redis.Launch(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the order to be acknowledged", second)
	there.wantEnded("revoked")
	p.awaitRight()
	p.wantOrders(2)
	for _, n := range []*node{p.a, p.b, p.node()} {
		n.wantRefused("eve/1")
		n.wantRefused("ann/2")
	}
}

// TestOrdersThatHaveEndedAreForgotten, and those that are too many.
func TestOrdersThatHaveEndedAreForgotten(t *testing.T) {
	w := newOwnWorld(t)
	a := w.node()
	now := time.Now()
	ended := func(token string) string {
		return string(formOf(&rooms.Order{TokenID: token, Until: now.Add(-time.Minute)}))
	}
	add := func(token string) {
		w.cli("-n", "1", "ZADD", a.cluster.names.orders(), decimal(now.Add(-time.Minute).Unix()), ended(token))
	}
	add("1")
	w.node().connect("ann/1")
	w.wantOrders(0) // pruned by reading
	add("1")
	wait(t, "the order to be acknowledged", a.order(revocation("2")))
	w.wantOrders(1) // and by writing

	v := a.cluster.view.Load()
	for i := 0; i < maxOrders; {
		add := v.client.B().Zadd().Key(a.cluster.names.orders()).ScoreMember()
		for range 1024 {
			add = add.ScoreMember(float64(now.Add(24*time.Hour).Unix()), fmt.Sprint(i))
			i++
		}
		if err := v.client.Do(t.Context(), add.Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "the order to be acknowledged", a.order(revocation("3")))
	w.wantOrders(maxOrders)
}

func TestOrdersRememberedAreBounded(t *testing.T) {
	var os orders
	for i := range maxOrders {
		os.note(fmt.Sprint(i), int64(i)+10, 0)
	}
	os.note("one more", 10, 0)
	if _, known := os.known["one more"]; known || len(os.known) != maxOrders {
		t.Errorf("%d orders, want %d and not one more", len(os.known), maxOrders)
	}
	os.note("when some have ended", 20, 11)
	if n := len(os.known); n != maxOrders-1 {
		t.Errorf("%d orders, want two less and one more", n)
	}
}

// TestOrdersThatMakeNoSense: what comes with them arrives.
func TestOrdersThatMakeNoSense(t *testing.T) {
	w := newWorld(t)
	a := w.node()
	ann := a.connect("ann")
	body := appendEnvelopeHead(nil, 1, 0)
	bad := []string{``, `{`, `[]`, `{}`, `{"reason":"for nobody"}`, `{"user":"ann","device":"phone"}`, `{"user":"ann"} {}`, `{"user":7}`}
	for i, form := range bad {
		body = appendBody(appendSignal(body, uint64(i+1), flagOrder, 0, rooms.EveryNode), []byte(form))
	}
	body = appendBody(appendSignal(body, 100, flagOrder, 0, rooms.EveryNode), []byte(`{"user":"ann","reason":"blocked"}`))
	r := &receiver{c: a.cluster, windows: make(map[source]*window)}
	r.take(string(body))
	ann.wantEnded("blocked")
	ann.wantNothing()
	if n := a.cluster.Stats().Dropped[DropMalformed]; n != int64(len(bad)) {
		t.Errorf("%d dropped, want %d", n, len(bad))
	}
}

// Orders that are in Redis with a time in milliseconds do not bar a user from
// tokens to come.
func TestAnOrderWithATimeInMilliseconds(t *testing.T) {
	given := time.Now().Add(-time.Minute)
	for seconds, want := range map[int64]time.Time{
		given.Unix():      given.Truncate(time.Second),
		given.UnixMilli(): given.Truncate(time.Millisecond),
		1 << 62:           time.Now(),
	} {
		form := fmt.Appendf(nil, `{"user":"ann","iat":%d,"until":%d}`, seconds, given.Unix()+1000)
		o, err := parseOrder(form)
		if err != nil {
			t.Fatal(err)
		}
		if off := o.Issued.Sub(want); off < -time.Second || off > time.Second {
			t.Errorf("%s: issued %v, want %v", form, o.Issued, want)
		}
	}
	if o, err := parseOrder([]byte(`{"user":"ann"}`)); err != nil || !o.Issued.IsZero() {
		t.Errorf("issued %v, %v; want any time", o, err)
	}
}

// An id with half of a surrogate pair is the same on every node.
func TestOrdersKeepTheirTexts(t *testing.T) {
	for _, text := range []string{"ann", "a\xed\xa0\xbd", "<\u2028>\"", "Zoë 😀"} {
		got, err := parseOrder(formOf(&rooms.Order{User: text, TokenID: text, Reason: text, Until: time.Unix(1<<40, 0)}))
		if err != nil || got.User != text || got.TokenID != text || got.Reason != text {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}
