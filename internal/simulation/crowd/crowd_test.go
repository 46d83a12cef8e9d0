package crowd

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

var trace = flag.Bool("trace", false, "print the log lines of the nodes")

const (
	many  = 56    // nodes, as many as a million connections need with 18,000 each
	rooms = 2_000 // of each node: writing all of them takes Redis more than a lease
	quick = 50 * time.Microsecond
)

// settled reports whether every node that lives has a session, all its rooms in
// the directory, and knows all others.
func (c *crowd) settled() bool {
	living := c.living()
	return !slices.ContainsFunc(living, func(n *node) bool {
		s := n.core.Stats()
		return !s.Registered || s.Waiting > 0 || len(s.Peers) != len(living)-1
	})
}

func (c *crowd) living() []*node {
	return slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n.dead })
}

// lost is how many sessions have ended.
func (c *crowd) lost() (n int) {
	for _, x := range c.nodes {
		n += x.lost
	}
	return n
}

// settle runs until the nodes have settled, which must be within a time.
func (c *crowd) settle(t *testing.T, what string, within time.Duration) {
	t.Helper()
	began := c.now
	for !c.settled() {
		if c.now-began > within {
			t.Fatalf("%s: the nodes have not settled in %v; %d sessions lost, commands %v", what, within, c.lost(), c.redis.executed)
		}
		c.run(500 * time.Millisecond)
	}
	t.Logf("%s: settled after %v, %d sessions lost, commands %v", what, c.now-began, c.lost(), c.redis.executed)
	clear(c.redis.executed)
}

// full returns a crowd whose nodes have all their rooms in the directory.
func full(t *testing.T) *crowd {
	c := newCrowd(many, quick)
	c.settle(t, "without rooms", 10*time.Second)
	c.occupy(rooms, 0)
	c.settle(t, "with rooms", 20*time.Second)
	return c
}

// right checks the directory: the rooms have the sessions of the nodes that hold
// them, and no other.
func (c *crowd) right(t *testing.T, holders, entries int) {
	t.Helper()
	conn := c.redis.model.Connect()
	defer conn.Close()
	found, seen := 0, make(map[string]bool)
	for _, key := range c.redis.model.Keys() {
		if _, is := names.RoomOf(key); !is {
			continue
		}
		conn.Do("SMEMBERS", key)
		for _, session := range conn.Out[len(conn.Out)-1].Strings() {
			found++
			seen[session] = true
		}
		conn.Out = nil
	}
	if found != entries || len(seen) != holders {
		t.Errorf("the rooms have %d entries of %d sessions, want %d of %d", found, len(seen), entries, holders)
	}
}

// TestAFleetComesBackAfterRedisStoodStill: all leases have ended, so each node
// begins the next session and writes all its rooms. That takes longer than a
// lease, and must not end the sessions again.
func TestAFleetComesBackAfterRedisStoodStill(t *testing.T) {
	c := full(t)
	c.redis.hangs = c.now + 7*time.Second
	c.run(7 * time.Second)
	c.settle(t, "after Redis stood still", time.Minute)
	if lost := c.lost(); lost != many {
		t.Errorf("%d sessions were lost, want one of each node", lost)
	}
	c.right(t, many, many*rooms)
}

// TestEachRoomIsWrittenOnceForANewSession: and each former session is removed
// once.
func TestEachRoomIsWrittenOnceForANewSession(t *testing.T) {
	c := full(t)
	for _, n := range c.nodes {
		n.directory.giveUp()
	}
	c.run(time.Second)
	began := c.now
	for !c.settled() && c.now-began < time.Minute {
		c.run(500 * time.Millisecond)
	}
	const own = 100 * many // of the lease, and comparisons
	if n := c.redis.executed; n["SADD"] > many*rooms+own || n["SREM"] > many*rooms+own || n["SCAN"] > 0 {
		t.Errorf("commands %v for %d rooms", n, many*rooms)
	}
	c.right(t, many, many*rooms)
}

// TestASlowRedisEndsNoSession: rooms that wait to be written do not keep a lease
// from being renewed.
func TestASlowRedisEndsNoSession(t *testing.T) {
	c := newCrowd(many, quick)
	c.settle(t, "without rooms", 10*time.Second)
	c.redis.cost = 10 * quick
	c.occupy(rooms/4, rooms/16)
	c.run(10 * time.Second)
	c.say(rooms / 16)
	c.settle(t, "with a slow Redis", 5*time.Minute)
	if lost := c.lost(); lost > 0 {
		t.Errorf("%d sessions were lost", lost)
	}
	c.right(t, many, many*(rooms/4+rooms/16))
}

// TestARedisThatHasBecomeSlowEndsNoSession: what a node had under way while Redis
// was quick, or could have had, is too much when all nodes write at once.
func TestARedisThatHasBecomeSlowEndsNoSession(t *testing.T) {
	const few, burst = 300, 1000
	c := full(t)
	join := func(k int) {
		for i, n := range c.nodes {
			n.core.Occupied(fmt.Sprintf("user:later-%d-%d", i, k), strconv.Itoa(k))
			n.wake()
		}
	}
	for k := range few {
		join(k)
		c.run(20 * time.Millisecond)
	}
	c.redis.cost = 10 * quick
	for k := range burst {
		join(few + k)
	}
	c.run(2 * time.Minute)
	if lost := c.lost(); lost > 0 {
		t.Errorf("%d sessions were lost", lost)
	}
	c.right(t, many, many*(rooms+few+burst))
}

// TestADistantRedisGetsAsManyCommandsAsANearOne: a long round trip does not say
// that Redis is late. With the least number under way, 2,000 rooms would take 15 s
// and 37 s.
func TestADistantRedisGetsAsManyCommandsAsANearOne(t *testing.T) {
	for _, roundTrip := range []time.Duration{60 * time.Millisecond, 150 * time.Millisecond} {
		c := newCrowd(4, quick)
		c.redis.delay = roundTrip / 2
		c.settle(t, "without rooms", 10*time.Second)
		c.occupy(rooms, 0)
		c.settle(t, "with rooms", 10*time.Second)
		if lost := c.lost(); lost > 0 {
			t.Errorf("%v: %d sessions were lost", roundTrip, lost)
		}
	}
}

// TestDeadNodesAreRemovedInOnePass: while the others lose nothing.
func TestDeadNodesAreRemovedInOnePass(t *testing.T) {
	const killed = 20
	c := full(t)
	var dead []string
	for _, n := range c.nodes[:killed] {
		dead = append(dead, wire.Decimal(wire.Session(n.number, 1)))
		n.kill()
	}
	c.run(2 * leaseTime)
	gone := func() bool {
		conn := c.redis.model.Connect()
		defer conn.Close()
		conn.Do("SMEMBERS", names.Nodes())
		return !slices.ContainsFunc(conn.Out[0].Strings(), func(s string) bool { return slices.Contains(dead, s) })
	}
	for began := c.now; !gone(); {
		if c.run(time.Second); c.now-began > 2*time.Minute {
			t.Fatalf("the sessions of dead nodes are still there; commands %v", c.redis.executed)
		}
	}
	t.Logf("removed at %v, commands %v", c.now, c.redis.executed)
	c.run(6 * leaseTime)                // a second pass would be half done by then
	const inPassing = many * rooms / 20 // by nodes that come upon a dead session
	if n := c.redis.executed["SREM"]; n > many*rooms+inPassing {
		t.Errorf("%d SREM for %d rooms", n, many*rooms)
	}
	if lost := c.lost(); lost > 0 {
		t.Errorf("%d sessions were lost", lost)
	}
	c.right(t, many-killed, (many-killed)*rooms)
}
