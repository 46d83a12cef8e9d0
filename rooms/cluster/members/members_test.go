package members

import (
	"slices"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

var startTime = time.Unix(1_800_000_000, 0)

func noneDead(uint32) bool { return false }

func TestWhichChangesAreTold(t *testing.T) {
	for _, x := range []struct {
		told, own int
		want      bool
	}{
		{0, 0, false}, {0, 1, true}, {8, 7, true}, {8, 8, false}, {9, 8, true}, {8, 9, false}, {8, 10, true},
		{800, 900, false}, {800, 901, true}, {800, 700, false}, {800, 699, true}, {800, 0, true},
	} {
		c := count{told: x.told, own: x.own}
		if got := c.stale(); got != x.want {
			t.Errorf("count %d after %d was told: stale is %v, want %v", x.own, x.told, got, x.want)
		}
	}
}

func TestChangeIsToldAfterADelayUnlessAMessageTellsIt(t *testing.T) {
	m := New()
	m.Counted("a", 1, startTime)
	m.Counted("b", 1, startTime)
	m.Tell("b") // sent with a message
	if got := m.Due(10, startTime.Add(changeDelay-1)); got != nil {
		t.Errorf("due before the delay: %v, want none", got)
	}
	if got := m.Due(10, m.Next()); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
}

func TestNodesWithUnknownCountsAreAsked(t *testing.T) {
	m := New()
	m.Counted("a", 2, startTime)
	m.Tell("a")
	m.Heard("a", 8, 3)
	m.Holders("a", sessions(8, 9), startTime)
	if got := m.Due(10, startTime.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
	if n, ask := m.Tell("a"); n != 2 || !ask {
		t.Errorf("count %d and question %v, want 2 and true", n, ask)
	}
	m.Asked("a")
	m.Heard("a", 9, 4)
	m.Holders("a", sessions(8, 9), startTime)
	if got := m.Due(10, startTime.Add(askDelay)); got != nil {
		t.Errorf("due %v although all counts are known, want none", got)
	}
	if n := m.Members("a", noneDead); n != 7 {
		t.Errorf("%d members elsewhere, want 7", n)
	}
	if n := m.Members("a", func(node uint32) bool { return node == 8 }); n != 4 {
		t.Errorf("%d members elsewhere without a dead node, want 4", n)
	}
	m.Holders("a", sessions(9), startTime)
	if n := m.Members("a", noneDead); n != 4 {
		t.Errorf("%d members elsewhere without a node that has left, want 4", n)
	}
}

func TestSharedRoomsAreAskedAboutAfterALoss(t *testing.T) {
	m := New()
	m.Counted("shared", 1, startTime)
	m.Heard("shared", 8, 1)
	m.Counted("local", 1, startTime)
	m.Missed(startTime)
	if got := m.Due(10, startTime.Add(askDelay)); !slices.Equal(got, []string{"shared"}) {
		t.Errorf("due %v, want shared", got)
	}
}

func TestEmptyRoomsAreForgotten(t *testing.T) {
	m := New()
	m.Counted("a", 1, startTime)
	m.Heard("a", 8, 1)
	m.Counted("a", 0, startTime)
	m.Forget("a")
	if len(m.rooms) != 0 || m.Due(10, startTime.Add(time.Hour)) != nil {
		t.Errorf("rooms %v are kept, want none", m.rooms)
	}
}

func TestNewHolderIsToldEvenIfItsCountIsKnown(t *testing.T) {
	m := New()
	m.Counted("a", 2, startTime)
	m.Tell("a")
	m.Heard("a", 8, 3) // its question arrived before this node has read it in the directory
	m.Holders("a", sessions(8), startTime)
	if got := m.Due(10, startTime.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
}

func TestNodesWithUnknownCountsAreAskedAgainAfterALoss(t *testing.T) {
	m := New()
	m.Counted("a", 1, startTime)
	m.Tell("a")
	m.Holders("a", sessions(8), startTime)
	m.Due(10, startTime.Add(askDelay))
	m.Asked("a") // the answer was lost
	m.Missed(startTime)
	if got := m.Due(10, startTime.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
	if _, ask := m.Tell("a"); !ask {
		t.Error("Tell asks no node, want it to ask")
	}
}

func TestRoomThatFillsAgainAsksForMissedCounts(t *testing.T) {
	m := New()
	m.Counted("a", 1, startTime)
	m.Heard("a", 8, 1)
	m.Holders("a", sessions(8), startTime)
	m.Counted("a", 0, startTime)
	m.Due(10, startTime.Add(time.Hour))
	m.Missed(startTime)
	if got := m.Due(10, startTime.Add(time.Hour)); got != nil {
		t.Errorf("due %v for an empty room, want none", got)
	}
	m.Counted("a", 1, startTime)
	if got := m.Due(10, startTime.Add(askDelay)); !slices.Contains(got, "a") {
		t.Errorf("due %v, want a", got)
	}
}

func TestCountOfANodeThatIsNotKnownToHoldTheRoom(t *testing.T) {
	m := New()
	m.Counted("a", 1, startTime)
	m.Holders("a", sessions(8), startTime)
	for _, x := range []struct {
		node    uint32
		members int
		unknown bool
	}{{8, 3, false}, {9, 2, true}, {9, 4, false}, {10, 0, false}} {
		if got := m.Heard("a", x.node, x.members); got != x.unknown {
			t.Errorf("%d members on node %d: unknown is %v, want %v", x.members, x.node, got, x.unknown)
		}
	}
	m.Holders("a", sessions(8), startTime) // the directory was read again
	if n := m.Members("a", noneDead); n != 3 {
		t.Errorf("%d members elsewhere, want 3", n)
	}
}

// A process takes over with counts of nodes that the directory does not list
// for a room. These rooms must be read in the directory again, because the
// nodes may be gone.
func TestInheritedCountsOfUnknownNodesAreChecked(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m := New()
	for _, room := range []string{"a", "b", "c"} {
		m.Counted(room, 1, now)
	}
	m.Holders("b", sessions(7), now)
	got := m.Inherit([]Tally{{"a", 7, 2}, {"b", 7, 2}, {"not held", 7, 2}}, nil, now)
	if want := []string{"a"}; !slices.Equal(got, want) {
		t.Errorf("rooms to be read again: %q, want %q", got, want)
	}
}

// A process has taken a room over while it was empty here, and it knew then
// that another node holds the room. When the first member joins, it must ask
// for the count of that node.
func TestFirstMemberOfAnInheritedRoomAsksForCounts(t *testing.T) {
	m := New()
	m.Holders("a", sessions(8), startTime)
	m.Counted("a", 1, startTime)
	if got := m.Due(10, startTime.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
	if _, ask := m.Tell("a"); !ask {
		t.Error("Tell asks no node, want it to ask")
	}
}

// The count 0 must be told to a node that asks for it, even if the count is 1
// again a moment later: the node may have missed an earlier message and count
// members that have left.
func TestCountZeroIsToldToANodeThatAsks(t *testing.T) {
	m := New()
	m.Counted("a", 1, startTime)
	m.Tell("a") // the message is lost
	m.Counted("a", 0, startTime)
	m.Retell("a", startTime)
	m.Counted("a", 1, startTime)
	if got := m.Due(10, startTime.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
}

// A node has begun a new session. It asked for counts before it was in the
// directory, so it must be told again.
func TestNodeWithANewSessionIsToldCounts(t *testing.T) {
	m := New()
	m.Counted("a", 1, startTime)
	m.Heard("a", 8, 2)
	m.Holders("a", sessions(8), startTime)
	m.Due(10, startTime.Add(time.Hour))
	m.Holders("a", []int64{wire.Session(8, 2)}, startTime)
	if got := m.Due(10, startTime.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
}

// A message with a count could not be published. The count must be told again
// after a delay, and not at once, because Redis may be down for longer.
func TestFailedMessageIsRepeatedAfterADelay(t *testing.T) {
	m := New()
	m.Counted("a", 1, startTime)
	m.Holders("a", sessions(8), startTime)
	now := startTime.Add(time.Hour)
	m.Due(10, now)
	m.Tell("a")
	m.Asked("a")
	m.Failed("a", now)
	if got := m.Due(10, now.Add(askDelay)); got != nil {
		t.Errorf("due at once %v, want none", got)
	}
	if got := m.Due(10, now.Add(changeDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
	if _, ask := m.Tell("a"); !ask {
		t.Error("Tell does not repeat the question")
	}
}

// Messages are missed several times. Each time the room's counts must be asked
// for, also if its holders were not read in between.
func TestCountsAreRequestedAfterEachLoss(t *testing.T) {
	m := New()
	m.Counted("a", 1, startTime)
	m.Holders("a", sessions(8), startTime)
	for range 2 {
		m.Due(10, startTime.Add(time.Hour))
		m.Asked("a")
		m.Missed(startTime)
		if got := m.Due(10, startTime.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
			t.Errorf("due %v, want a", got)
		}
	}
}

// sessions returns the first session of each node.
func sessions(nodes ...uint32) (list []int64) {
	for _, node := range nodes {
		list = append(list, wire.Session(node, 1))
	}
	return list
}
