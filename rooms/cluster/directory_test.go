package cluster

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
)

// quiet makes all periodic commands so rare that none is sent during a test, so
// that the commands of a test can be counted.
func quiet(c *Config) { c.Lease, c.Linger, c.Server.AnswerTimeout = time.Hour, time.Hour, time.Hour }

// checkedMeanwhile is the number of rooms that a node may compare with the
// directory during a short test.
const checkedMeanwhile = 100

// calls returns the commands that Redis executed while do ran, with their numbers.
func (w *world) calls(do func()) map[string]int {
	w.t.Helper()
	before := w.commandStats()
	do()
	after := w.commandStats()
	maps.DeleteFunc(after, func(name string, n int) bool { return n == before[name] || name == "info" })
	for name := range after {
		after[name] -= before[name]
	}
	return after
}

func (w *world) commandStats() map[string]int {
	w.t.Helper()
	calls, err := w.redis.Calls()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, own := range []string{"info", "hello", "command", "command|docs"} {
		delete(calls, own) // sent by redis-cli
	}
	return calls
}

func (w *world) cli(args ...string) string {
	w.t.Helper()
	out, err := w.redis.CLI(args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestLocalRoomCostsNoCommand(t *testing.T) {
	w := newOwnWorld(t)
	var nodes []*node
	for range 5 {
		nodes = append(nodes, w.node(quiet))
	}
	a, b := nodes[0].connect("ann"), nodes[0].connect("bob")
	for _, c := range []*client{a, b} {
		c.do("join_room", "1")
	}
	a.wantOf("user_joined", b)
	a.do("typing", "1") // the first event reads the directory
	b.wantOf("user_typing", a)
	w.settle()
	got := w.calls(func() {
		for range 100 {
			a.do("typing", "1")
			b.wantOf("user_typing", a)
		}
	})
	if got["publish"]+got["sadd"]+got["srem"] != 0 || got["smembers"] > checkedMeanwhile {
		t.Errorf("100 events in a local room cost the commands %v, want only reads of the check", got)
	}
}

func TestRoomOnTwoOfFiveNodesCostsOnePublish(t *testing.T) {
	w := newOwnWorld(t)
	var nodes []*node
	for range 5 {
		nodes = append(nodes, w.node(quiet))
	}
	a, b := nodes[0].connect("ann"), nodes[3].connect("bob")
	a.do("join_room", "1")
	w.settle()
	b.do("join_room", "1")
	a.wantOf("user_joined", b)
	w.settle()
	testkit.Await(t, "both nodes to count 2 members", func() bool {
		return nodes[0].hub.Members("conversation:1")+nodes[3].hub.Members("conversation:1") == 4
	})
	a.do("typing", "1")
	b.wantOf("user_typing", a)
	got := w.calls(func() {
		for range 100 {
			a.do("typing", "1")
			b.wantOf("user_typing", a)
		}
	})
	if n := got["publish"]; n < 100 || n > 105 || got["sadd"]+got["srem"] != 0 {
		t.Errorf("100 events in a room on 2 of 5 nodes cost %v, want 100 to 105 publish, some of them counts of members", got)
	}
	for i, n := range nodes {
		if s := n.cluster.Stats(); i != 3 && i != 0 && s.Received != 0 {
			t.Errorf("node %d, which does not hold the room, received %d messages", i, s.Received)
		}
	}
}

func TestDirectoryIsWrittenForTheFirstAndTheLastMember(t *testing.T) {
	w := newOwnWorld(t)
	a := w.node(quiet, func(c *Config) { c.Linger = 3 * time.Second }) // long enough for six clients to leave and join again
	var crowd []*client
	for i := range 6 { // three on each shard
		crowd = append(crowd, a.connect(fmt.Sprint("user", i)))
	}
	w.settle() // the rooms of the users are in the directory
	before := a.cluster.Stats().Healed
	got := w.calls(func() {
		for _, c := range crowd {
			c.acks++
			c.text(fmt.Sprintf(`2%d["join_room",%s]`, c.acks, conversation("1")))
		}
		w.settle()
	})
	// A read that Redis answered before the write finds the room missing, and
	// the room is written again.
	if healed := int(a.cluster.Stats().Healed - before); got["sadd"] != 1+healed {
		t.Errorf("six joins of a room cost %v, and it was healed %d times; want one sadd more than that", got, healed)
	}
	got = w.calls(func() {
		for range 50 { // a join within the linger time costs no command
			for _, event := range []string{"leave_room", "join_room"} {
				for _, c := range crowd {
					c.send(event, "1")
				}
			}
		}
	})
	if got["sadd"]+got["srem"] != 0 {
		t.Errorf("leaves and joins within the linger time cost %v, want no change of the directory", got)
	}
	got = w.calls(func() {
		for _, c := range crowd {
			c.send("leave_room", "1")
		}
		testkit.Await(t, "the room to leave the directory", func() bool {
			return w.cli("-n", "1", "EXISTS", a.cluster.names.Room("conversation:1")) == "0"
		})
	})
	if got["srem"] != 1 {
		t.Errorf("six leaves of a room cost %v, want one srem", got)
	}
	w.awaitRight()
}

func TestGracefulShutdownLeavesNoKeys(t *testing.T) {
	w := newOwnWorld(t)
	a, b := w.node(), w.node()
	for i := range 100 {
		a.connect(fmt.Sprint("user", i)).do("join_room", strconv.Itoa(i))
	}
	w.settle() // no user_joined waits any more
	b.connect("bob").do("join_room", "1")
	b.fence()
	a.close()
	if got := w.cli("-n", "1", "DBSIZE"); got != "4" { // two rooms of b, its lease, the set of nodes
		t.Errorf("%s keys are left, want 4: %s", got, w.cli("-n", "1", "KEYS", "*"))
	}
	if got := w.cli("-n", "1", "SMEMBERS", b.cluster.names.Room("conversation:1")); got != b.session() {
		t.Errorf("the shared room is held by %q, want the other node only", got)
	}
	b.close()
	if got := w.cli("-n", "1", "DBSIZE"); got != "0" {
		t.Errorf("%s keys are left, want none: %s", got, w.cli("-n", "1", "KEYS", "*"))
	}
}

// Nodes with different prefixes or databases must not see each other. Databases
// do not separate pub/sub, so the database is part of the channels' names.
func TestNodesWithOtherPrefixOrDatabaseAreSeparate(t *testing.T) {
	w := newOwnWorld(t)
	var clients []*client
	for _, c := range []struct {
		prefix string
		db     int
	}{{"ws:", 1}, {"ws:", 2}, {"other*:", 1}} {
		n := w.node(func(config *Config) { config.Prefix, config.DB = c.prefix, c.db })
		clients = append(clients, n.connect("ann"))
	}
	for _, c := range clients {
		c.do("join_room", "1")
		c.do("typing", "1")
		if s := c.n.cluster.Stats(); s.Nodes != 1 || s.Sockets != 1 {
			t.Errorf("%d nodes with %d sockets, want one each", s.Nodes, s.Sockets)
		}
	}
	w.awaitRight()
	for _, c := range clients {
		c.wantNothing()
	}
}

func TestClusterStatsCountNodesAndSockets(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.node(), w.node(), w.node()
	for i := range 3 {
		a.connect(fmt.Sprint("user", i))
	}
	b.connect("bob")
	testkit.Await(t, "3 nodes and 4 sockets", func() bool {
		s := c.cluster.Stats()
		return s.Nodes == 3 && s.Sockets == 4
	})
}

// A room that two nodes hold must use at most 150 bytes of Redis in addition to
// its key.
func TestDirectoryMemory(t *testing.T) {
	w := newOwnWorld(t)
	a, b := w.node(quiet), w.node(quiet)
	const rooms = 20_000
	used := func() int {
		for line := range strings.Lines(w.cli("INFO", "memory")) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
				v, _ := strconv.Atoi(n)
				return v
			}
		}
		t.Fatal("no used_memory")
		return 0
	}
	before := used()
	for _, n := range []*node{a, b} {
		for i := range rooms {
			n.cluster.Occupied(fmt.Sprint("conversation:", i), "ann")
		}
		testkit.Await(t, "all rooms in the directory", func() bool { return n.cluster.Stats().Writes >= rooms })
	}
	key := len(a.cluster.names.Room("conversation:12345"))
	per := float64(used()-before)/rooms - float64(key)
	t.Logf("%.0f bytes a room on two nodes beside its key of %d", per, key)
	if per > 150 {
		t.Errorf("%.0f bytes a room beside its key, want at most 150", per)
	}
}
