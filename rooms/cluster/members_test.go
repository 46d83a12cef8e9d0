package cluster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
)

// joins joins a room, and wants that number of members in the ack.
func (c *client) joins(room string, members int) {
	c.n.w.t.Helper()
	want := fmt.Sprintf(`"members":%d}]`, members)
	for id := c.send("join_room", room); ; {
		packet := c.next()
		if rest, ok := strings.CutPrefix(packet, "43"+id); ok {
			if !strings.HasSuffix(rest, want) {
				c.n.w.t.Errorf("join of %s on %s was acknowledged with %s, want %s", c.name, c.n.name, packet, want)
			}
			return
		}
	}
}

// awaitMembers waits until every node counts that many members in a room.
func (w *world) awaitMembers(room string, want int) {
	w.t.Helper()
	for _, n := range w.nodes {
		if !n.halted {
			testkit.Await(w.t, fmt.Sprintf("%s to count %d members", n.name, want), func() bool { return n.hub.Members(room) == want })
		}
	}
}

func TestMembersOfAllNodesAreCounted(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.node(), w.node(), w.node()
	ann, bob, eve := a.connect("ann"), b.connect("bob"), c.connect("eve")
	ann.joins("1", 1)
	bob.send("join_room", "1")
	eve.send("join_room", "1")
	w.awaitMembers("conversation:1", 3)
	a.connect("amy").joins("1", 4)
	w.awaitMembers("conversation:1", 4)
	eve.send("leave_room", "1")
	testkit.Await(t, "the other nodes to count 3 members", func() bool {
		return a.hub.Members("conversation:1") == 3 && b.hub.Members("conversation:1") == 3
	})
	b.halt()
	testkit.Await(t, "the members of a dead node to be subtracted", func() bool { return a.hub.Members("conversation:1") == 2 })
}

// The member counts of large rooms are told to the other nodes, although joins
// and leaves are not announced there. Counts alone are not messages.
func TestMemberCountsOfLargeRoomsAreTold(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(), w.node()
	a.connect("ann").joins("1", 1)
	b.connect("bob").send("join_room", "1")
	w.awaitMembers("conversation:1", 2)
	before := b.cluster.Stats().Received
	for _, members := range []int{1000, 500, 0} {
		a.cluster.Counted("conversation:1", members)
		testkit.Await(t, "the other node to be told", func() bool { return b.cluster.Members("conversation:1") == members })
	}
	if n := b.cluster.Stats().Received; n != before {
		t.Errorf("the other node has received %d messages, want none", n-before)
	}
}

// A node that was cut off from Redis has missed counts. When it is back, both
// nodes must count each other's members again.
func TestMemberCountsAreRestoredAfterALossOfRedis(t *testing.T) {
	p, proxy := newCutPair(t)
	proxy.Cut()
	p.awaitAway(p.b)
	p.a.cluster.Counted("conversation:1", 50)
	testkit.Await(t, "the lease to end", func() bool { return p.a.cluster.Stats().Nodes == 1 })
	proxy.Heal()
	testkit.Await(t, "both nodes to have each other's count", func() bool {
		return p.a.cluster.Members("conversation:1") == 1 && p.b.cluster.Members("conversation:1") == 50
	})
}
