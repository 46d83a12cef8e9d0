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

// A pair is a world with two nodes, each with a member of conversation:1.
type pair struct {
	*world
	a, b     *node
	ann, bob *client
}

func newPair(t *testing.T, change ...func(*Config)) *pair {
	t.Helper()
	p := &pair{world: newOwnWorld(t)}
	p.startPair(change...)
	return p
}

// impatient makes nodes notice within a second that Redis does not answer.
func impatient(c *Config) { c.Server.AnswerTimeout = time.Second }

// startPair starts two nodes, the second one with changed settings, and joins.
func (p *pair) startPair(change ...func(*Config)) {
	p.t.Helper()
	p.joinPair(p.node(impatient), p.node(append(change, impatient)...))
}

// joinPair connects a client on each node, which joins the room.
func (p *pair) joinPair(a, b *node) {
	p.t.Helper()
	p.a, p.b = a, b
	p.ann, p.bob = p.a.connect("ann"), p.b.connect("bob")
	p.ann.do("join_room", "1")
	p.settle()
	p.bob.do("join_room", "1")
	p.ann.wantOf("user_joined", p.bob)
}

// wantConnectedPair checks that each client gets the events of the other one,
// and nothing else, after messages from before have arrived.
func (p *pair) wantConnectedPair() {
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

// wantLocal checks that the clients of one node get each other's events.
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

// session returns the node's session as stored in Redis.
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
	p.wantConnectedPair()
}

func TestRedisPaused(t *testing.T) {
	// The pauses are too short to be noticed; longer than the lease; and longer
	// than the time after which a connection counts as dead.
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
			p.wantConnectedPair()
		})
	}
}

func TestRedisFlushed(t *testing.T) {
	p := newPair(t)
	for _, command := range []string{"FLUSHALL", "FLUSHDB"} {
		before := p.a.cluster.Stats().Sessions
		p.cli("-n", "1", command)
		testkit.Await(t, "a new session", func() bool { return p.a.cluster.Stats().Sessions > before })
		p.wantConnectedPair()
	}
}

// Keys of the directory are deleted: those of a room with messages, of rooms
// without, and the set of nodes. The nodes must write them again without a new
// session.
func TestDeletedKeysAreWrittenAgain(t *testing.T) {
	// A new session would write the rooms as well. With a long lease a slow
	// machine does not begin one.
	p := newPair(t, func(c *Config) { c.Lease = 10 * time.Second })
	names := p.a.cluster.names
	for _, key := range []string{names.Room("conversation:1"), names.Room("user:ann"), names.Room("user:bob"), names.Nodes()} {
		p.cli("-n", "1", "DEL", key)
		testkit.Await(t, key+" to be written again", func() bool { return p.cli("-n", "1", "EXISTS", key) == "1" })
	}
	p.wantConnectedPair()
	if a, b := p.a.cluster.Stats(), p.b.cluster.Stats(); a.Healed < 2 || b.Healed < 2 || a.Sessions+b.Sessions != 2 {
		t.Errorf("%d and %d rooms healed, %d and %d sessions, want at least two each in one session", a.Healed, b.Healed, a.Sessions, b.Sessions)
	}
}

// Reading the directory blocks for longer than a lease. Renewals use another
// connection, so the session must go on.
func TestRenewalsDoNotWaitForTheDirectory(t *testing.T) {
	w := newWorld(t)
	n := w.start()
	testkit.Await(t, "a session", n.cluster.Ready)
	sessions, client := n.cluster.Stats().Sessions, n.cluster.connections().directory
	wait := client.B().Arbitrary("BLPOP").Keys(w.prefix + "nothing").Args("3.5").Build() // blocks the directory's connection for 3.5 s
	if err := client.Do(t.Context(), wait).Error(); !rueidis.IsRedisNil(err) {
		t.Fatal(err)
	}
	testkit.Await(t, "the answer to the next renewal", func() bool { return n.settled() })
	if got := n.cluster.Stats().Sessions; got != sessions {
		t.Errorf("%d sessions after the block, want %d: the lease has ended", got, sessions)
	}
}

func TestNodeKilled(t *testing.T) {
	p := newPair(t)
	p.b.connect("only here").do("join_room", "2")
	p.settle()
	session := p.b.session()
	p.b.halt()
	testkit.Await(t, "the dead node's rooms to be removed from the directory", func() bool {
		for _, room := range []string{"conversation:1", "conversation:2", "user:bob"} {
			if p.cli("-n", "1", "SISMEMBER", p.a.cluster.names.Room(room), session) != "0" {
				return false
			}
		}
		return p.cli("-n", "1", "SISMEMBER", p.a.cluster.names.Nodes(), session) == "0"
	})
	testkit.Await(t, "the first node to know that the room is local", func() bool { return !p.a.cluster.Elsewhere("conversation:1") })
	p.awaitRight()
	if n := p.a.cluster.Stats().Nodes; n != 1 {
		t.Errorf("%d nodes, want 1", n)
	}
}

// newCutPair returns a pair whose second node connects to Redis through a proxy.
func newCutPair(t *testing.T) (*pair, *testkit.Proxy) {
	t.Helper()
	p := &pair{world: newOwnWorld(t)}
	proxy := newProxy(t, p.redis)
	p.startPair(viaProxy(proxy))
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
	p.wantConnectedPair()
	p.b.connect("late").do("join_room", "3")
	p.awaitRight()
}

// Commands are held when a node loses its connection, and executed after the
// node has begun a new session. They must not change the rooms of the new
// session.
func TestLateCommandsDoNotChangeTheNextSession(t *testing.T) {
	p, proxy := newCutPair(t)
	proxy.Hold()
	for i := range 20 { // these changes are held
		p.b.open(fmt.Sprint("hanging", i))
		p.bob.send("leave_room", "1")
		p.bob.send("join_room", "1")
	}
	p.awaitAway(p.b)
	testkit.Await(t, "the lease to end", func() bool { return p.a.cluster.Stats().Nodes == 1 })
	proxy.Heal()
	p.wantConnectedPair()
}

// A node whose user may not subscribe must count as disconnected, until it may
// again.
func TestNodeThatMayNotSubscribeIsDisconnected(t *testing.T) {
	p := &pair{world: newOwnWorld(t)}
	p.cli("ACL", "SETUSER", "deaf", "on", ">secret", "allkeys", "allchannels", "allcommands")
	p.startPair(func(c *Config) { c.Server.Username, c.Server.Password = "deaf", "secret" })
	p.cli("ACL", "SETUSER", "deaf", "-subscribe")
	p.cli("CLIENT", "KILL", "TYPE", "pubsub")
	p.awaitAway(p.b)
	testkit.Await(t, "the other node to be back", func() bool { return p.a.cluster.Connected() })
	p.cli("ACL", "SETUSER", "deaf", "+subscribe")
	p.wantConnectedPair()
}

// A node loses its subscription while another one publishes a count of members.
// It must ask for the count when it is subscribed again.
func TestMissedCountsAreRequested(t *testing.T) {
	p := newPair(t)
	p.awaitMembers("conversation:1", 2)
	p.cli("CLIENT", "KILL", "TYPE", "pubsub")
	p.a.cluster.Counted("conversation:1", 5)
	testkit.Await(t, "the other node to count 5 members", func() bool { return p.b.cluster.Members("conversation:1") == 5 })
	p.wantConnectedPair()
}

// Redis is down and clients go on sending. The queue of messages must not
// exceed its limit; messages beyond it are dropped and counted, and volatile
// ones are dropped at once.
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
		t.Errorf("%d messages wait, want %d at most; %v were dropped, want 5000 at least", s.Queued, defaultQueue, s.Dropped)
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
				t.Errorf("Elsewhere is %v without Redis, want %v", got, !alone)
			}
			if err := w.redis.Launch(); err != nil {
				t.Fatal(err)
			}
			p.b = w.node()
			p.a.awaitConnected()
			p.settle() // ann's user_joined does not wait any more
			p.bob = p.b.connect("bob")
			p.bob.do("join_room", "1")
			p.wantConnectedPair()
		})
	}
}

// A replica is promoted behind an address that now leads to it. The connections
// to the old master stay open, and it is a replica now, which refuses writes.
// The nodes must connect again and reach the new master.
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
	p.joinPair(w.node(impatient, viaProxy(proxy)), w.node(impatient, viaProxy(proxy)))
	if out, err := replica.CLI("REPLICAOF", "NO", "ONE"); err != nil {
		t.Fatal(out, err)
	}
	proxy.Retarget(replica.Addr)
	w.cli("REPLICAOF", "127.0.0.1", strconv.Itoa(replica.Port))
	p.awaitAway(p.a, p.b)
	for _, n := range []*node{p.a, p.b} {
		n.awaitConnected()
	}
	w.redis = replica // the directory is here now
	p.wantConnectedPair()
}

// Event loops change rooms while a node leaves the cluster and removes its
// rooms from the directory. No key must be left.
func TestLeavingNodeLeavesNoKeysWhileRoomsChange(t *testing.T) {
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

// One user joins and writes to 40,000 rooms. While most of them wait for the
// directory, another user's room must be written and its messages sent.
func TestJoinsOfOneUserDoNotDelayOthers(t *testing.T) {
	const burst = 40_000
	p := newPair(t)
	joined := codec.NewText([]byte(`42["user_joined"]`))
	for i := range burst {
		room := fmt.Sprint("conversation:burst ", i)
		p.a.cluster.Occupied(room, "attacker")
		p.a.cluster.Publish(room, joined)
	}
	eve := p.a.connect("eve")
	eve.do("join_room", "1") // bob is in it
	p.bob.wantOf("user_joined", eve)
	eve.do("join_room", "2") // a new room
	testkit.Await(t, "the node to know that the other room is local", func() bool { return !p.a.cluster.Elsewhere("conversation:2") })
	waiting := p.a.cluster.Stats().Waiting
	t.Logf("%d rooms of the burst wait when the other user's room has been read", waiting)
	if waiting < burst/2 {
		t.Errorf("%d rooms wait when the other user's room has been read, want %d at least", waiting, burst/2)
	}
}
