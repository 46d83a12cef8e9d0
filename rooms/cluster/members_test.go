package cluster

import (
	"fmt"
	"strings"
	"testing"
)

// joins has a client join and wants to be told of so many members.
func (c *client) joins(room string, members int) {
	c.n.w.t.Helper()
	want := fmt.Sprintf(`"members":%d}]`, members)
	for id := c.send("join_room", room); ; {
		packet := c.next()
		if rest, ok := strings.CutPrefix(packet, "43"+id); ok {
			if !strings.HasSuffix(rest, want) {
				c.n.w.t.Errorf("%s of %s was told %s, want %s", c.name, c.n.name, packet, want)
			}
			return
		}
	}
}

// awaitMembers waits until every node knows how many there are.
func (w *world) awaitMembers(room string, want int) {
	w.t.Helper()
	for _, n := range w.nodes {
		if !n.halted {
			await(w.t, fmt.Sprintf("%s to know of %d members", n.name, want), func() bool { return n.hub.Members(room) == want })
		}
	}
}

func TestMembersOfAllNodesAreCounted(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.node(), w.node(), w.node()
	ann, bob, eve := a.connect("ann"), b.connect("bob"), c.connect("eve")
	ann.joins("1", 1)
	bob.joins("1", 2) // the first of a node is told exactly
	eve.joins("1", 3)
	a.connect("amy").joins("1", 4) // with what the others said when they asked
	w.awaitMembers("conversation:1", 4)
	eve.send("leave_room", "1")
	await(t, "the others to know that there are 3", func() bool {
		return a.hub.Members("conversation:1") == 3 && b.hub.Members("conversation:1") == 3
	})
	b.halt()
	await(t, "those of a dead node not to count", func() bool { return a.hub.Members("conversation:1") == 2 })
}

// TestCrowdsAreCounted: nobody hears who comes and goes in them.
func TestCrowdsAreCounted(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(), w.node()
	a.connect("ann").joins("1", 1)
	b.connect("bob").joins("1", 2)
	for _, members := range []int{1000, 500, 0} {
		a.cluster.Counted("conversation:1", members)
		await(t, "the other node to be told", func() bool { return b.cluster.Members("conversation:1") == members })
	}
	if n := b.cluster.Stats().Received; n != 0 {
		t.Errorf("%d messages, want none", n)
	}
}

// TestMembersAreCountedAnew by a node that was cut off: it may have missed
// anything.
func TestMembersAreCountedAnew(t *testing.T) {
	p, proxy := newCutPair(t)
	proxy.Cut()
	p.awaitAway(p.b)
	p.a.cluster.Counted("conversation:1", 50)
	await(t, "the lease to end", func() bool { return p.a.cluster.Stats().Nodes == 1 })
	proxy.Heal()
	await(t, "the nodes to have told each other", func() bool {
		return p.a.cluster.Members("conversation:1") == 1 && p.b.cluster.Members("conversation:1") == 50
	})
}

func TestWhatChangeOfMembersIsTold(t *testing.T) {
	for _, x := range []struct {
		told, members int
		want          bool
	}{
		{0, 0, false}, {0, 1, true}, {8, 7, true}, {8, 8, false}, {9, 8, true}, {8, 9, false}, {8, 10, true},
		{800, 900, false}, {800, 901, true}, {800, 700, false}, {800, 699, true}, {800, 0, true}, {-1, 1, true}, {-1, 0, true},
	} {
		e := entry{told: x.told, members: x.members}
		if got := e.untold(); got != x.want {
			t.Errorf("%d after %d: told %v, want %v", x.members, x.told, got, x.want)
		}
	}
}

// TestMembersOfALocalRoomAreToldNobody, and those of another once.
func TestMembersOfALocalRoomAreToldNobody(t *testing.T) {
	const room, mine, other = "conversation:1", int64(7) << generationBits, int64(8) << generationBits
	for name, x := range map[string]struct {
		holders []int64
		want    int
	}{"local": {[]int64{mine}, 0}, "shared": {[]int64{mine, other}, 1}} {
		c, l := entered(t, room, mine)
		l.reading.begin([]letter{(&waiter{room: room}).letter()})
		l.read1(x.holders...)
		for members := range 10 {
			c.Counted(room, members)
		}
		if n := len(l.recounts); n != x.want {
			t.Errorf("%s: %d questions, want %d", name, n, x.want)
		}
	}
}

// TestNodesThatLeftARoomDoNotCount.
func TestNodesThatLeftARoomDoNotCount(t *testing.T) {
	const room, mine, other, third = "conversation:1", int64(7) << generationBits, int64(8) << generationBits, int64(9) << generationBits
	c, l := entered(t, room, mine)
	c.view.Load().peers = map[uint32]peer{8: {}, 9: {}}
	l.reading.begin([]letter{(&waiter{room: room}).letter()})
	for _, x := range []struct {
		holders []int64
		want    int
	}{{[]int64{mine, other, third}, 30}, {[]int64{mine, other}, 10}, {[]int64{mine}, 0}} {
		l.forget(room)
		l.tally(room, 8, 10)
		l.tally(room, 9, 20)
		l.read1(x.holders...)
		if n := c.Members(room); n != x.want {
			t.Errorf("%d members elsewhere, want %d", n, x.want)
		}
	}
}
