package cluster

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

// A pair is two nodes with a member each of conversation:1.
type pair struct {
	*world
	a, b     *node
	ann, bob *client
}

func newPair(t *testing.T, change ...func(*Config)) *pair {
	t.Helper()
	p := &pair{world: newOwnWorld(t)}
	p.seat(change...)
	return p
}

// impatient has nodes notice soon that Redis is away.
func impatient(c *Config) { c.Server.AnswerTimeout = time.Second }

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
	p.settle()
	p.bob.do("join_room", "1")
	p.ann.wantOf("user_joined", p.bob)
}

// wantTogether checks that the nodes hear each other, and nothing else. What was
// said before may still be on its way to the other node.
func (p *pair) wantTogether() {
	p.t.Helper()
	p.awaitRight()
	p.settle()
	for _, n := range []*node{p.a, p.b} {
		n.received()
	}
	p.ann.all()
	p.bob.all()
	p.ann.do("typing", "1")
	p.bob.wantOf("user_typing", p.ann)
	p.bob.do("typing", "1")
	p.ann.wantOf("user_typing", p.bob)
	p.ann.wantNothing()
	p.bob.wantNothing()
}

// wantLocal checks that a node serves its own clients.
func (p *pair) wantLocal(n *node, old *client) {
	p.t.Helper()
	eve := n.connect("eve")
	eve.do("join_room", "local")
	eve.do("join_room", "1")
	old.wantOf("user_joined", eve)
	eve.do("typing", "1")
	old.wantOf("user_typing", eve)
	eve.hangUp()
	old.wantOf("user_left", eve)
}

func (p *pair) awaitAway(nodes ...*node) {
	p.t.Helper()
	for _, n := range nodes {
		testkit.Await(p.t, n.name+" to notice that Redis is away", func() bool { return !n.cluster.Connected() })
	}
}

// session is the node's session as Redis has it.
func (n *node) session() string {
	for _, session := range strings.Fields(n.w.cli("-n", "1", "SMEMBERS", n.cluster.names.Nodes())) {
		if n.cluster.mine(session) {
			return session
		}
	}
	return ""
}

func TestRedisKilledAndRestarted(t *testing.T) {
	p := newPair(t)
	p.redis.Kill()
	p.awaitAway(p.a, p.b)
	p.wantLocal(p.a, p.ann)
	p.wantLocal(p.b, p.bob)
	if err := p.redis.Launch(); err != nil {
		t.Fatal(err)
	}
	p.wantTogether()
}

func TestRedisPaused(t *testing.T) {
	// Too short to be noticed; over the lease; over the time after which
	// connections count as dead.
	for _, pause := range []time.Duration{300 * time.Millisecond, 2500 * time.Millisecond, 4 * time.Second} {
		t.Run(pause.String(), func(t *testing.T) {
			p := newPair(t)
			if err := p.redis.Pause(); err != nil {
				t.Fatal(err)
			}
			resumed := time.After(pause)
			p.wantLocal(p.a, p.ann)
			p.wantLocal(p.b, p.bob)
			<-resumed
			if err := p.redis.Resume(); err != nil {
				t.Fatal(err)
			}
			p.wantTogether()
		})
	}
}

func TestRedisFlushed(t *testing.T) {
	p := newPair(t)
	for _, command := range []string{"FLUSHALL", "FLUSHDB"} {
		before := p.a.cluster.Stats().Sessions
		p.cli("-n", "1", command)
		testkit.Await(t, "a new session", func() bool { return p.a.cluster.Stats().Sessions > before })
		p.wantTogether()
	}
}

// TestDirectoryHeals from keys that were deleted: of a room that has been
// spoken in, of one that nobody has spoken in, and of the set of nodes.
func TestDirectoryHeals(t *testing.T) {
	// A new session would write the rooms anyway: the lease is one that a busy
	// machine does not miss.
	p := newPair(t, func(c *Config) { c.Lease = 10 * time.Second })
	names := p.a.cluster.names
	for _, key := range []string{names.Room("conversation:1"), names.Room("user:ann"), names.Room("user:bob"), names.Nodes()} {
		p.cli("-n", "1", "DEL", key)
		testkit.Await(t, key+" to be there again", func() bool { return p.cli("-n", "1", "EXISTS", key) == "1" })
	}
	p.wantTogether()
	if a, b := p.a.cluster.Stats(), p.b.cluster.Stats(); a.Healed < 2 || b.Healed < 2 || a.Sessions+b.Sessions != 2 {
		t.Errorf("%d and %d rooms healed, %d and %d sessions, want at least two each in one session", a.Healed, b.Healed, a.Sessions, b.Sessions)
	}
}

// TestRenewalsDoNotWaitBehindTheDirectory: what is asked of the directory takes
// longer than a lease.
func TestRenewalsDoNotWaitBehindTheDirectory(t *testing.T) {
	w := newWorld(t)
	n := w.start()
	testkit.Await(t, "a session", n.cluster.Ready)
	sessions, client := n.cluster.Stats().Sessions, n.cluster.connections().directory
	wait := client.B().Arbitrary("BLPOP").Keys(w.prefix + "nothing").Args("3.5").Build() // Redis goes on with the connection then
	if err := client.Do(t.Context(), wait).Error(); !rueidis.IsRedisNil(err) {
		t.Fatal(err)
	}
	testkit.Await(t, "the answer to the next renewal", func() bool { return n.settled() })
	if got := n.cluster.Stats().Sessions; got != sessions {
		t.Errorf("%d sessions, and then %d: the lease has ended", sessions, got)
	}
}

func TestNodeKilled(t *testing.T) {
	p := newPair(t)
	p.b.connect("only here").do("join_room", "2")
	p.settle()
	session := p.b.session()
	p.b.halt()
	testkit.Await(t, "the dead node's rooms to vanish", func() bool {
		for _, room := range []string{"conversation:1", "conversation:2", "user:bob"} {
			if p.cli("-n", "1", "SISMEMBER", p.a.cluster.names.Room(room), session) != "0" {
				return false
			}
		}
		return p.cli("-n", "1", "SISMEMBER", p.a.cluster.names.Nodes(), session) == "0"
	})
	testkit.Await(t, "the room to be known as local", func() bool { return !p.a.cluster.Elsewhere("conversation:1") })
	p.awaitRight()
	if n := p.a.cluster.Stats().Nodes; n != 1 {
		t.Errorf("%d nodes, want 1", n)
	}
}

// cutPair has the second node behind a proxy.
func newCutPair(t *testing.T) (*pair, *testkit.Proxy) {
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
	testkit.Await(t, "the lease to end", func() bool { return p.a.cluster.Stats().Nodes == 1 })
	proxy.Heal()
	p.wantTogether()
	p.b.connect("late").do("join_room", "3")
	p.awaitRight()
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
	testkit.Await(t, "the lease to end", func() bool { return p.a.cluster.Stats().Nodes == 1 })
	proxy.Heal()
	p.wantTogether()
}

// TestNodeWithoutSubscription is not connected, and is again when it may.
func TestNodeWithoutSubscription(t *testing.T) {
	p := &pair{world: newOwnWorld(t)}
	p.cli("ACL", "SETUSER", "deaf", "on", ">secret", "allkeys", "allchannels", "allcommands")
	p.seat(func(c *Config) { c.Server.Username, c.Server.Password = "deaf", "secret" })
	p.cli("ACL", "SETUSER", "deaf", "-subscribe")
	p.cli("CLIENT", "KILL", "TYPE", "pubsub")
	p.awaitAway(p.b)
	testkit.Await(t, "the other node to be back", func() bool { return p.a.cluster.Connected() })
	p.cli("ACL", "SETUSER", "deaf", "+subscribe")
	p.wantTogether()
}

// TestMissedCountsAreAskedFor: a count that was told while the subscription was
// lost.
func TestMissedCountsAreAskedFor(t *testing.T) {
	p := newPair(t)
	p.awaitMembers("conversation:1", 2)
	p.cli("CLIENT", "KILL", "TYPE", "pubsub")
	p.a.cluster.Counted("conversation:1", 5)
	testkit.Await(t, "the other node to know", func() bool { return p.b.cluster.Members("conversation:1") == 5 })
	p.wantTogether()
}

// TestQueueIsBounded: a client that types on while Redis is away fills no
// memory.
func TestQueueIsBounded(t *testing.T) {
	p := newPair(t)
	p.redis.Kill()
	p.awaitAway(p.a)
	before := p.a.cluster.Stats().Dropped
	for range defaultQueue + 5000 { // not volatile, so they are kept
		p.a.cluster.Publish("conversation:1", codec.NewText([]byte(`42["x"]`)))
	}
	s := p.a.cluster.Stats()
	if s.Queued > defaultQueue || s.Dropped[DropQueueFull]+s.Dropped[DropFailed] < 5000 {
		t.Errorf("%d messages wait and %v were dropped, want at most %d", s.Queued, s.Dropped, defaultQueue)
	}
	typing := codec.NewText([]byte(`42["user_typing"]`))
	typing.Volatile = true
	testkit.Await(t, "volatile messages to be dropped because Redis is away", func() bool {
		p.a.cluster.Publish("conversation:2", typing)
		return p.a.cluster.Stats().Dropped[DropAway] > before[DropAway]
	})
}

func TestStartsWithoutRedis(t *testing.T) {
	for _, alone := range []bool{true, false} {
		t.Run(fmt.Sprint("alone ", alone), func(t *testing.T) {
			w := newOwnWorld(t)
			w.redis.Kill()
			p := &pair{world: w, a: w.start(func(c *Config) { c.Alone = alone })}
			p.ann = p.a.connect("ann")
			p.ann.do("join_room", "1")
			if got := p.a.cluster.Elsewhere("conversation:1"); got == alone {
				t.Errorf("elsewhere %v", got)
			}
			if err := w.redis.Launch(); err != nil {
				t.Fatal(err)
			}
			p.b = w.node()
			p.a.awaitConnected()
			p.settle() // nobody is told any more that ann has joined
			p.bob = p.b.connect("bob")
			p.bob.do("join_room", "1")
			p.wantTogether()
		})
	}
}

// TestFailoverBehindAStableAddress: the replica is promoted and the address
// leads to it, while connections to the old master, which is now its replica,
// stay.
func TestFailoverBehindAStableAddress(t *testing.T) {
	w := newOwnWorld(t)
	replica, err := redistest.Start(nil, "--replicaof", "127.0.0.1 "+strconv.Itoa(w.redis.Port))
	testkit.Need(t, err)
	t.Cleanup(replica.Close)
	testkit.Await(t, "the replica to follow", func() bool {
		out, err := replica.CLI("INFO", "replication")
		return err == nil && strings.Contains(out, "master_link_status:up")
	})
	proxy := newProxy(t, w.redis)
	p := &pair{world: w}
	p.sit(w.node(impatient, behind(proxy)), w.node(impatient, behind(proxy)))
	if out, err := replica.CLI("REPLICAOF", "NO", "ONE"); err != nil {
		t.Fatal(out, err)
	}
	proxy.Retarget(replica.Addr)
	w.cli("REPLICAOF", "127.0.0.1", strconv.Itoa(replica.Port))
	p.awaitAway(p.a, p.b)
	for _, n := range []*node{p.a, p.b} {
		n.awaitConnected()
	}
	w.redis = replica // where the directory is now
	p.wantTogether()
}

// TestRoomsChangeWhileTheNodeLeaves: event loops go on while a node takes its
// rooms out of the directory, and nothing of them is left there.
func TestRoomsChangeWhileTheNodeLeaves(t *testing.T) {
	w := newOwnWorld(t)
	n := w.node()
	for i := range 5000 {
		n.cluster.Occupied(fmt.Sprint("conversation:", i), "ann")
	}
	stop := make(chan struct{})
	var loops sync.WaitGroup
	for l := range 4 {
		loops.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				room := fmt.Sprint("conversation:", (i*7+l)%10_000)
				n.cluster.Occupied(room, "bob")
				n.cluster.Counted(room, 1)
				n.cluster.Elsewhere(room)
				n.cluster.Vacated(room)
			}
		})
	}
	n.close()
	close(stop)
	loops.Wait()
	if got := w.cli("-n", "1", "DBSIZE"); got != "0" {
		t.Errorf("%s keys are left: %.500s", got, w.cli("-n", "1", "KEYS", "*"))
	}
}

// TestOneUsersBurstDelaysNobody: while hundreds of thousands of joins of one
// user wait for the directory, another user's room is entered and spoken in.
func TestOneUsersBurstDelaysNobody(t *testing.T) {
	const burst = 40_000
	p := newPair(t)
	joined := codec.NewText([]byte(`42["user_joined"]`))
	for i := range burst {
		room := fmt.Sprint("conversation:burst ", i)
		p.a.cluster.Occupied(room, "attacker")
		p.a.cluster.Publish(room, joined)
	}
	eve := p.a.connect("eve")
	eve.do("join_room", "1") // bob's, too
	p.bob.wantOf("user_joined", eve)
	eve.do("join_room", "2") // a room that nobody has entered before
	testkit.Await(t, "the room to be known", func() bool { return !p.a.cluster.Elsewhere("conversation:2") })
	waiting := p.a.cluster.Stats().Waiting
	t.Logf("%d rooms of the burst wait when the other user's room is known", waiting)
	if waiting < burst/2 {
		t.Errorf("%d rooms wait, want most of %d: the other user's came behind them", waiting, burst)
	}
}
