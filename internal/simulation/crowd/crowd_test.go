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
	nodeCount    = 56                    // nodes: enough for a million connections with 18,000 each
	roomsPerNode = 2_000                 // Redis needs longer than a lease to write those of all nodes
	commandCost  = 50 * time.Microsecond // time to execute a command
)

// settled reports whether every living node has a session, has all its rooms in
// the directory, and knows all other living nodes.
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

// lost returns how many sessions of nodes have ended.
func (c *crowd) lost() (n int) {
	for _, x := range c.nodes {
		n += x.lost
	}
	return n
}

// settle runs the simulation until the nodes have settled. The test fails if
// that takes longer than within.
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

// newFullCrowd returns a crowd whose nodes each have roomsPerNode rooms, all in the directory.
func newFullCrowd(t *testing.T) *crowd {
	c := newCrowd(nodeCount, commandCost)
	c.settle(t, "without rooms", 10*time.Second)
	c.occupy(roomsPerNode, 0)
	c.settle(t, "with rooms", 20*time.Second)
	return c
}

// checkDirectory checks that the rooms in Redis have the given number of entries,
// from the given number of sessions.
func (c *crowd) checkDirectory(t *testing.T, sessions, entries int) {
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
	if found != entries || len(seen) != sessions {
		t.Errorf("the rooms have %d entries of %d sessions, want %d of %d", found, len(seen), entries, sessions)
	}
}

// Redis executes nothing for 7 seconds, so the leases of all nodes end. Each node
// begins a new session and writes all its rooms, which together takes longer than
// a lease. Each node must lose exactly one session: writing the rooms must not
// keep the new lease from being renewed.
func TestNodesLoseOneSessionEachWhenRedisStopsForLongerThanALease(t *testing.T) {
	c := newFullCrowd(t)
	c.redis.hangs = c.now + 7*time.Second
	c.run(7 * time.Second)
	c.settle(t, "after Redis stood still", time.Minute)
	if lost := c.lost(); lost != nodeCount {
		t.Errorf("%d sessions were lost, want %d: one of each node", lost, nodeCount)
	}
	c.checkDirectory(t, nodeCount, nodeCount*roomsPerNode)
}

// All nodes lose their directory connection and begin a new session. Redis must
// get one SADD for each room, and one SREM for each room of a former session, and
// no SCAN.
func TestEachRoomIsWrittenOnceForANewSession(t *testing.T) {
	c := newFullCrowd(t)
	for _, n := range c.nodes {
		n.directory.giveUp()
	}
	c.run(time.Second)
	began := c.now
	for !c.settled() && c.now-began < time.Minute {
		c.run(500 * time.Millisecond)
	}
	const own = 100 * nodeCount // renewals of leases, and comparisons
	if n := c.redis.executed; n["SADD"] > nodeCount*roomsPerNode+own || n["SREM"] > nodeCount*roomsPerNode+own || n["SCAN"] > 0 {
		t.Errorf("executed %v for %d rooms, want at most one SADD and one SREM for each and no SCAN", n, nodeCount*roomsPerNode)
	}
	c.checkDirectory(t, nodeCount, nodeCount*roomsPerNode)
}

// Redis needs ten times as long for a command while all nodes write their rooms
// and publish messages. The nodes must keep their sessions: renewals of leases
// must not wait behind the rooms.
func TestNodesKeepTheirSessionsWithASlowRedis(t *testing.T) {
	c := newCrowd(nodeCount, commandCost)
	c.settle(t, "without rooms", 10*time.Second)
	c.redis.cost = 10 * commandCost
	c.occupy(roomsPerNode/4, roomsPerNode/16)
	c.run(10 * time.Second)
	c.publish(roomsPerNode / 16)
	c.settle(t, "with a slow Redis", 5*time.Minute)
	if lost := c.lost(); lost > 0 {
		t.Errorf("%d sessions were lost, want none", lost)
	}
	c.checkDirectory(t, nodeCount, nodeCount*(roomsPerNode/4+roomsPerNode/16))
}

// The nodes have measured a fast Redis, with one new room at a time. Then Redis
// becomes ten times slower, and every node gets 1,000 rooms at once. The nodes
// must keep their sessions, although the number of commands under way that they
// allow was measured with the fast Redis.
func TestNodesKeepTheirSessionsWhenRedisBecomesSlow(t *testing.T) {
	const few, burst = 300, 1000
	c := newFullCrowd(t)
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
	c.redis.cost = 10 * commandCost
	for k := range burst {
		join(few + k)
	}
	c.run(2 * time.Minute)
	if lost := c.lost(); lost > 0 {
		t.Errorf("%d sessions were lost, want none", lost)
	}
	c.checkDirectory(t, nodeCount, nodeCount*(roomsPerNode+few+burst))
}

// The round trip to Redis takes 150 ms. The nodes must not mistake that for a
// slow Redis and limit the commands under way to the minimum: writing the rooms
// would take 33 s then, and the test allows 25 s.
func TestALongRoundTripDoesNotSlowDownWritingRooms(t *testing.T) {
	c := newCrowd(nodeCount, commandCost)
	c.redis.delay = 75 * time.Millisecond
	c.settle(t, "without rooms", 10*time.Second)
	c.occupy(roomsPerNode, 0)
	c.settle(t, "with rooms", 25*time.Second)
	if lost := c.lost(); lost > 0 {
		t.Errorf("%d sessions were lost, want none", lost)
	}
}

// 20 of the 56 nodes die. The others must remove the sessions of the dead nodes,
// with about one SREM for each room, and must keep their own sessions.
func TestDeadNodesAreRemovedInOnePass(t *testing.T) {
	const killed = 20
	c := newFullCrowd(t)
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
			t.Fatalf("sessions of dead nodes are in the list of nodes after 2 minutes; commands %v", c.redis.executed)
		}
	}
	t.Logf("removed at %v, commands %v", c.now, c.redis.executed)
	c.run(6 * leaseTime)                            // long enough to see half of a second pass
	const inPassing = nodeCount * roomsPerNode / 20 // removed by nodes that find a dead session in a room
	if n := c.redis.executed["SREM"]; n > nodeCount*roomsPerNode+inPassing {
		t.Errorf("%d SREM for %d rooms, want at most %d", n, nodeCount*roomsPerNode, nodeCount*roomsPerNode+inPassing)
	}
	if lost := c.lost(); lost > 0 {
		t.Errorf("%d sessions were lost, want none", lost)
	}
	c.checkDirectory(t, nodeCount-killed, (nodeCount-killed)*roomsPerNode)
}
