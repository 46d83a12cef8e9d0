package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/redistest"
)

// A pair is two nodes with a member each of conversation:1.
type pair struct {
	*world
	a, b     *node
	ann, bob *client
	gaps     int64 // times that b's clients are to have been sent away
}

func newPair(t *testing.T, change ...func(*Config)) *pair {
	t.Helper()
	p := &pair{world: newOwnWorld(t)}
	p.seat(change...)
	return p
}

// impatient has nodes notice soon that Redis is away.
func impatient(c *Config) { c.JoinTimeout, c.Server.AnswerTimeout = 300*time.Millisecond, time.Second }

// seat starts the nodes, the second one changed.
func (p *pair) seat(change ...func(*Config)) {
	p.t.Helper()
	p.sit(p.node(impatient), p.node(append(change, impatient)...))
}

// sit has a client each join the room on two nodes.
func (p *pair) sit(a, b *node) {
	p.t.Helper()
	p.a, p.b = a, b
	p.ann, p.bob = p.a.connect("ann"), p.b.connect("bob")
	p.ann.do("join_room", "1")
	p.bob.do("join_room", "1")
	p.ann.wantOf("user_joined", p.bob)
}

// wantTogether checks that the nodes hear each other, and nothing else.
func (p *pair) wantTogether() {
	p.t.Helper()
	p.awaitRight()
	p.ann.all()
	p.bob.all()
	p.ann.do("typing", "1")
	p.bob.wantOf("user_typing", p.ann)
	p.bob.do("typing", "1")
	p.ann.wantOf("user_typing", p.bob)
	p.a.deliver("conversation:1", "news")
	p.ann.want("news")
	p.bob.want("news")
	p.ann.wantNothing()
	p.bob.wantNothing()
	if a, b := p.a.missed.Load(), p.b.missed.Load(); a != 0 || b != p.gaps {
		p.t.Errorf("the clients of the two nodes were sent away %d and %d times, want 0 and %d", a, b, p.gaps)
	}
}

// wantLocal checks that a node serves its own clients, without waiting for
// Redis longer than JoinTimeout.
func (p *pair) wantLocal(n *node, old *client) {
	p.t.Helper()
	began := time.Now()
	eve := n.connect("eve")
	eve.do("join_room", "local")
	eve.send("join_room", "1")
	old.wantOf("user_joined", eve)
	eve.send("typing", "1")
	old.wantOf("user_typing", eve)
	if took := time.Since(began); took > 15*time.Second {
		p.t.Errorf("local service took %v without Redis", took)
	}
	eve.hangUp()
	old.wantOf("user_left", eve)
}

// news publishes numbered events as a service would, and reports which have
// been acknowledged.
func (p *pair) news(n *node, number int) (acknowledged chan struct{}) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b := rooms.Broadcast{Room: "conversation:1", Message: codec.NewText(fmt.Appendf(nil, `42["news",%d]`, number))}
	if _, err := n.cluster.Deliver(ctx, b); err != nil {
		p.t.Fatal(err)
	}
	acknowledged = make(chan struct{})
	if err := n.cluster.Sync(ctx, func() { close(acknowledged) }); err != nil {
		p.t.Fatal(err)
	}
	return acknowledged
}

// wantAll waits for the news of these numbers, once each and in order.
func (p *pair) wantAll(c *client, numbers int) {
	p.t.Helper()
	for i := range numbers {
		if got, want := c.next(), fmt.Sprintf(`42["news",%d]`, i); got != want {
			p.t.Fatalf("%s got %s, want %s", c.name, got, want)
		}
	}
	c.wantNothing()
}

func pending(ch chan struct{}) bool {
	select {
	case <-ch:
		return false
	default:
		return true
	}
}

func wait(t *testing.T, what string, ch chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("waited in vain for: %s", what)
	}
}

func (p *pair) awaitAway(nodes ...*node) {
	p.t.Helper()
	for _, n := range nodes {
		await(p.t, n.name+" to notice that Redis is away", func() bool { return n.cluster.away.Load() })
	}
}

func TestRedisKilledAndRestarted(t *testing.T) {
	p := newPair(t)
	p.redis.Kill()
	p.awaitAway(p.a, p.b)
	p.wantLocal(p.a, p.ann)
	p.wantLocal(p.b, p.bob)
	p.ann.all()
	p.bob.all()
	var acks []chan struct{}
	for i := range 20 {
		acks = append(acks, p.news(p.a, i))
	}
	p.wantAll(p.ann, 20) // local delivery goes on
	for i, ack := range acks {
		if !pending(ack) {
			t.Fatalf("event %d was acknowledged while the other node could not have it", i)
		}
	}
	if err := p.redis.Launch(); err != nil {
		t.Fatal(err)
	}
	for i, ack := range acks {
		wait(t, fmt.Sprintf("event %d to be acknowledged", i), ack)
	}
	await(t, "bob news", func() bool { return p.b.cluster.Stats().Received >= 20 })
	var got []string
	for len(got) < 20 { // among presence from eve's visit
		if packet := p.bob.next(); packet[:7] == `42["new` {
			got = append(got, packet)
		}
	}
	for i, packet := range got {
		if packet != fmt.Sprintf(`42["news",%d]`, i) {
			t.Fatalf("bob got %q", got)
		}
	}
	p.wantTogether()
}

func TestRedisPaused(t *testing.T) {
	// Too short to be noticed; over the lease; over the time after which
	// connections count as dead, and as what is waited for.
	for _, pause := range []time.Duration{300 * time.Millisecond, 2500 * time.Millisecond, 4 * time.Second} {
		t.Run(pause.String(), func(t *testing.T) {
			p := newPair(t)
			if err := p.redis.Pause(); err != nil {
				t.Fatal(err)
			}
			resumed := time.After(pause)
			p.wantLocal(p.a, p.ann)
			p.ann.all()
			ack := p.news(p.a, 0)
			p.wantAll(p.ann, 1)
			if !pending(ack) {
				t.Error("acknowledged while Redis was paused")
			}
			<-resumed
			if err := p.redis.Resume(); err != nil {
				t.Fatal(err)
			}
			wait(t, "the event to be acknowledged", ack)
			p.wantTogether()
		})
	}
}

func TestRedisFlushed(t *testing.T) {
	p := newPair(t)
	for _, command := range []string{"FLUSHALL", "FLUSHDB"} {
		before := p.a.cluster.Stats().Sessions
		p.cli("-n", "1", command)
		await(t, "a new session", func() bool { return p.a.cluster.Stats().Sessions > before })
		p.wantTogether()
	}
}

// TestFlushedWhilePublishing: what is published in the moments after a flush
// goes to everybody, for the directory is not to be relied on.
func TestFlushedWhilePublishing(t *testing.T) {
	p := newPair(t)
	p.bob.all()
	const events = 300
	var acks []chan struct{}
	for i := range events {
		if i%100 == 50 {
			p.cli("FLUSHALL")
		}
		acks = append(acks, p.news(p.a, i))
	}
	for _, ack := range acks {
		wait(t, "all events to be acknowledged", ack)
	}
	p.wantAll(p.ann, events)
	for i := range events {
		if got, want := p.bob.next(), fmt.Sprintf(`42["news",%d]`, i); got != want {
			t.Fatalf("bob got %s, want %s", got, want)
		}
	}
	p.wantTogether()
}

// TestFlushedWhileLookingUp: a publisher asks the directory about a room it has
// never heard of, and learns with the answer that it is not to be relied on.
// The node that holds the room takes its time to register it again.
func TestFlushedWhileLookingUp(t *testing.T) {
	w := newOwnWorld(t)
	quick, slow := newProxy(t, w.redis), newProxy(t, w.redis)
	lease := func(c *Config) { c.Lease = 3 * time.Second } // one that outlasts the lag on a busy machine
	far, near := w.node(behind(quick), lease), w.node(behind(slow), lease)
	const users = 20
	for round := range 2 {
		var all []*client
		for i := range users {
			all = append(all, near.connect(fmt.Sprint("user", round, "-", i)))
		}
		w.awaitRight()
		quick.Lag(10 * time.Millisecond)
		slow.Lag(100 * time.Millisecond)
		var flush sync.WaitGroup
		flush.Go(func() { w.cli("FLUSHALL") })
		for _, c := range all {
			far.deliver("user:"+c.name, "news")
		}
		flush.Wait()
		for _, c := range all {
			c.want("news")
			c.wantNothing()
		}
		quick.Lag(0)
		slow.Lag(0)
	}
}

func TestNodeKilled(t *testing.T) {
	p := newPair(t)
	p.b.connect("only here").do("join_room", "2")
	session := decimal(p.b.cluster.view.Load().session)
	p.b.halt()
	ack := p.news(p.a, 0) // the dead node still has its lease
	wait(t, "the event to be acknowledged when the lease has ended", ack)
	p.wantAll(p.ann, 1)
	await(t, "the dead node's rooms to vanish", func() bool {
		for _, room := range []string{"conversation:1", "conversation:2", "user:bob"} {
			if p.cli("-n", "1", "SISMEMBER", p.a.cluster.names.room(room), session) != "0" {
				return false
			}
		}
		return p.cli("-n", "1", "SISMEMBER", p.a.cluster.names.nodes(), session) == "0"
	})
	await(t, "the room to be known as local", func() bool {
		p.ann.send("typing", "1")
		p.a.sync()
		return !p.a.cluster.Elsewhere("conversation:1")
	})
	p.awaitRight()
	if n := p.a.cluster.Stats().Nodes; n != 1 {
		t.Errorf("%d nodes, want 1", n)
	}
}

// cutPair has the second node behind a proxy.
func newCutPair(t *testing.T) (*pair, *redistest.Proxy) {
	t.Helper()
	p := &pair{world: newOwnWorld(t)}
	proxy := newProxy(t, p.redis)
	p.seat(behind(proxy))
	return p, proxy
}

func TestNodeCutOffFromRedis(t *testing.T) {
	p, proxy := newCutPair(t)
	proxy.Cut()
	p.awaitAway(p.b)
	p.wantLocal(p.b, p.bob)
	p.wantLocal(p.a, p.ann)
	await(t, "the lease to end", func() bool { return p.a.cluster.Stats().Nodes == 1 })
	wait(t, "an event for which nobody waits", p.news(p.a, 0))
	p.wantAll(p.ann, 1)
	proxy.Heal()
	p.gaps = 1
	p.wantTogether()
	p.b.connect("late").do("join_room", "3")
	p.awaitRight()
}

// TestNodeCutOffShortly: what services publish meanwhile waits for the node.
func TestNodeCutOffShortly(t *testing.T) {
	p, proxy := newCutPair(t)
	p.bob.all()
	proxy.Cut()
	await(t, "the subscription to end", func() bool { return !p.b.cluster.keeper.subscribed.Load() })
	await(t, "redis to notice", func() bool {
		return p.cli("PUBSUB", "NUMSUB", p.a.cluster.names.channel(p.b.cluster.node)) == p.a.cluster.names.channel(p.b.cluster.node)+"\n0"
	})
	ack := p.news(p.a, 0)
	proxy.Heal()
	wait(t, "the event to be acknowledged", ack)
	p.wantAll(p.ann, 1)
	p.wantAll(p.bob, 1)
	p.wantTogether()
}

// TestLateCommandsDoNoHarm: what hung on the way when a connection ended is
// executed after its node has registered anew.
func TestLateCommandsDoNoHarm(t *testing.T) {
	p, proxy := newCutPair(t)
	proxy.Hold()
	for i := range 20 { // these changes hang
		p.b.open(fmt.Sprint("hanging", i))
		p.bob.send("leave_room", "1")
		p.bob.send("join_room", "1")
	}
	p.awaitAway(p.b)
	await(t, "the session to end", func() bool { return p.b.cluster.view.Load() == nil })
	await(t, "the lease to end", func() bool { return p.a.cluster.Stats().Nodes == 1 })
	proxy.Heal()
	p.gaps = 1
	p.wantTogether()
}

// TestNodeWithoutSubscription: a node that gets nothing, though it has its
// lease, holds up the others for no longer than a dead one.
func TestNodeWithoutSubscription(t *testing.T) {
	p := &pair{world: newOwnWorld(t)}
	p.cli("ACL", "SETUSER", "deaf", "on", ">secret", "allkeys", "allchannels", "allcommands")
	p.seat(func(c *Config) { c.Server.Username, c.Server.Password = "deaf", "secret" })
	p.cli("ACL", "SETUSER", "deaf", "-subscribe")
	p.cli("CLIENT", "KILL", "TYPE", "pubsub")
	await(t, "the subscription to end", func() bool { return !p.b.cluster.keeper.subscribed.Load() })
	await(t, "the other node to be back", func() bool { return p.a.cluster.Connected() })
	wait(t, "an event to be acknowledged without the deaf node", p.news(p.a, 0))
	p.wantAll(p.ann, 1)
	p.cli("ACL", "SETUSER", "deaf", "+subscribe")
	p.gaps = 1
	p.wantTogether()
}

func TestSubscriberKilled(t *testing.T) {
	p := newPair(t)
	p.bob.all()
	var acks []chan struct{}
	const events = 200
	for i := range events {
		if i%50 == 25 {
			p.cli("CLIENT", "KILL", "TYPE", "pubsub")
		}
		acks = append(acks, p.news(p.a, i))
	}
	for _, ack := range acks {
		wait(t, "all events to be acknowledged", ack)
	}
	p.wantAll(p.ann, events)
	p.wantAll(p.bob, events)
	p.wantTogether()
}

// TestQueueIsBounded: a client that types on while Redis is away fills no
// memory, and services wait.
func TestQueueIsBounded(t *testing.T) {
	p := newPair(t)
	p.redis.Kill()
	p.awaitAway(p.a)
	const most = defaultQueue / laneCount
	for range most + 5000 { // not volatile, so they would be kept
		p.a.cluster.Publish(rooms.Broadcast{Room: "conversation:1", Message: codec.NewText([]byte(`42["x"]`))})
	}
	s := p.a.cluster.Stats()
	if s.Queued > most+letterBatch || s.Dropped[DropQueueFull] < 5000-letterBatch {
		t.Errorf("%d messages wait and %d were dropped, want at most %d", s.Queued, s.Dropped[DropQueueFull], most)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.a.cluster.Deliver(ctx, rooms.Broadcast{Room: "conversation:1", Message: codec.NewText([]byte(`42["x"]`))}); err == nil {
		t.Error("an event of a service was taken when nothing fits any more")
	}
	typing := codec.NewText([]byte(`42["user_typing"]`))
	typing.Volatile = true
	p.a.cluster.Publish(rooms.Broadcast{Room: "conversation:2", Message: typing})
	if n := p.a.cluster.Stats().Dropped[DropAway]; n != 1 {
		t.Errorf("%d volatile messages dropped because Redis is away, want 1", n)
	}
}

// TestJoinsWaitForTheFirstConnection: a node that has just started does not
// take Redis for away because it has not asked yet, unless it need not have it.
func TestJoinsWaitForTheFirstConnection(t *testing.T) {
	for _, alone := range []bool{true, false} {
		c, err := New(Config{Server: Server{Addresses: []string{"127.0.0.1:1"}}, Alone: alone})
		if err != nil {
			t.Fatal(err)
		}
		if known := c.Occupied("conversation:1"); known != alone {
			t.Errorf("alone %v: acknowledged at once %v", alone, known)
		}
	}
}

func TestStartsWithoutRedis(t *testing.T) {
	for _, alone := range []bool{true, false} {
		t.Run(fmt.Sprint("alone ", alone), func(t *testing.T) {
			w := newOwnWorld(t)
			w.redis.Kill()
			p := &pair{world: w, a: w.start(func(c *Config) { c.Alone = alone })}
			p.ann = p.a.connect("ann")
			p.ann.do("join_room", "1")
			ack := p.news(p.a, 0)
			p.wantAll(p.ann, 1)
			if alone {
				wait(t, "the event, with nobody else there", ack)
			} else if !pending(ack) {
				t.Error("acknowledged although other nodes may be there")
			}
			if err := w.redis.Launch(); err != nil {
				t.Fatal(err)
			}
			wait(t, "the event to be acknowledged", ack)
			p.b = w.node()
			p.a.awaitConnected()
			p.bob = p.b.connect("bob")
			p.bob.do("join_room", "1")
			p.wantTogether()
		})
	}
}
