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

// quiet makes the keepers and idle connections silent for the length of a
// test, so that every command counts.
func quiet(c *Config) { c.Lease, c.Linger, c.Server.AnswerTimeout = time.Hour, time.Hour, time.Hour }

// checkedMeanwhile is how many rooms a node may compare with the directory in
// the time of a short test.
const checkedMeanwhile = 100

// calls returns the commands that the server executed while do ran.
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
		delete(calls, own) // redis-cli's
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
	a.do("typing", "1") // the first one looks into the directory
	b.wantOf("user_typing", a)
	w.settle()
	got := w.calls(func() {
		for range 100 {
			a.do("typing", "1")
			b.wantOf("user_typing", a)
		}
	})
	if got["publish"]+got["sadd"]+got["srem"] != 0 || got["smembers"] > checkedMeanwhile {
		t.Errorf("100 events in a local room cost %v, want no command but the check's", got)
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
	testkit.Await(t, "both to know of each other", func() bool {
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
		t.Errorf("100 events in a room on 2 of 5 nodes cost %v, want publish:100 and a few that count members", got)
	}
	for i, n := range nodes {
		if s := n.cluster.Stats(); i != 3 && i != 0 && s.Received != 0 {
			t.Errorf("node %d, which does not hold the room, received %d messages", i, s.Received)
		}
	}
}

func TestDirectoryIsWrittenForFirstAndLast(t *testing.T) {
	w := newOwnWorld(t)
	a := w.node(quiet, func(c *Config) { c.Linger = 3 * time.Second }) // for six to leave and come back
	var crowd []*client
	for i := range 6 { // on both shards
		crowd = append(crowd, a.connect(fmt.Sprint("user", i)))
	}
	w.settle() // their own rooms are in the directory
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
		t.Errorf("six joins of a room cost %v, and it was healed %d times; want one sadd beside", got, healed)
	}
	got = w.calls(func() {
		for range 50 { // leaving and coming back in time costs nothing
			for _, event := range []string{"leave_room", "join_room"} {
				for _, c := range crowd {
					c.send(event, "1")
				}
			}
		}
	})
	if got["sadd"]+got["srem"] != 0 {
		t.Errorf("going and coming cost %v, want no change of the directory", got)
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

func TestGracefulEndLeavesNothing(t *testing.T) {
	w := newOwnWorld(t)
	a, b := w.node(), w.node()
	for i := range 100 {
		a.connect(fmt.Sprint("user", i)).do("join_room", strconv.Itoa(i))
	}
	w.settle() // nobody is told any more who has joined
	b.connect("bob").do("join_room", "1")
	b.fence()
	a.close()
	if got := w.cli("-n", "1", "DBSIZE"); got != "4" { // b's two rooms, its lease, the set of nodes
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

// TestPrefixAndDatabaseKeepApart: pub/sub knows no databases.
func TestPrefixAndDatabaseKeepApart(t *testing.T) {
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

func TestClusterFigures(t *testing.T) {
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

// TestDirectoryMemory: at most 150 bytes a room beside its key.
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
