package members

import (
	"slices"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

var dawn = time.Unix(1_800_000_000, 0)

func nobody(uint32) bool { return false }

func TestWhatChangeIsTold(t *testing.T) {
	for _, x := range []struct {
		told, own int
		want      bool
	}{
		{0, 0, false}, {0, 1, true}, {8, 7, true}, {8, 8, false}, {9, 8, true}, {8, 9, false}, {8, 10, true},
		{800, 900, false}, {800, 901, true}, {800, 700, false}, {800, 699, true}, {800, 0, true},
	} {
		c := count{told: x.told, own: x.own}
		if got := c.stale(); got != x.want {
			t.Errorf("%d after %d: told %v, want %v", x.own, x.told, got, x.want)
		}
	}
}

func TestChangeIsToldInAWhileUnlessSomethingElseTellsIt(t *testing.T) {
	m := New()
	m.Counted("a", 1, dawn)
	m.Counted("b", 1, dawn)
	m.Tell("b") // with a message
	if got := m.Due(10, dawn.Add(changeDelay-1)); got != nil {
		t.Errorf("told %v too early", got)
	}
	if got := m.Due(10, m.Next()); !slices.Equal(got, []string{"a"}) {
		t.Errorf("told %v, want a", got)
	}
}

func TestNodeWhoseCountIsNotKnownIsAsked(t *testing.T) {
	m := New()
	m.Counted("a", 2, dawn)
	m.Tell("a")
	m.Heard("a", 8, 3)
	m.Holders("a", sessions(8, 9), dawn)
	if got := m.Due(10, dawn.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v", got)
	}
	if n, ask := m.Tell("a"); n != 2 || !ask {
		t.Errorf("told %d, asks %v", n, ask)
	}
	m.Asked("a")
	m.Heard("a", 9, 4)
	m.Holders("a", sessions(8, 9), dawn)
	if got := m.Due(10, dawn.Add(askDelay)); got != nil {
		t.Errorf("due %v although all is known", got)
	}
	if n := m.Members("a", nobody); n != 7 {
		t.Errorf("%d members elsewhere, want 7", n)
	}
	if n := m.Members("a", func(node uint32) bool { return node == 8 }); n != 4 {
		t.Errorf("%d members elsewhere without a dead node, want 4", n)
	}
	m.Holders("a", sessions(9), dawn)
	if n := m.Members("a", nobody); n != 4 {
		t.Errorf("%d members elsewhere without a node that has left, want 4", n)
	}
}

func TestAfterALossAllSharedRoomsAreAskedAbout(t *testing.T) {
	m := New()
	m.Counted("shared", 1, dawn)
	m.Heard("shared", 8, 1)
	m.Counted("local", 1, dawn)
	m.Missed(dawn)
	if got := m.Due(10, dawn.Add(askDelay)); !slices.Equal(got, []string{"shared"}) {
		t.Errorf("due %v", got)
	}
}

func TestRoomsThatAreGoneAreForgotten(t *testing.T) {
	m := New()
	m.Counted("a", 1, dawn)
	m.Heard("a", 8, 1)
	m.Counted("a", 0, dawn)
	m.Forget("a")
	if len(m.rooms) != 0 || m.Due(10, dawn.Add(time.Hour)) != nil {
		t.Errorf("%v", m.rooms)
	}
}

func TestNodeThatComesToARoomIsToldEvenWhenItsCountIsKnown(t *testing.T) {
	m := New()
	m.Counted("a", 2, dawn)
	m.Tell("a")
	m.Heard("a", 8, 3) // its question came before this node had read it in the directory
	m.Holders("a", sessions(8), dawn)
	if got := m.Due(10, dawn.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
}

func TestAfterALossNodesWhoseCountIsNotKnownAreAskedAgain(t *testing.T) {
	m := New()
	m.Counted("a", 1, dawn)
	m.Tell("a")
	m.Holders("a", sessions(8), dawn)
	m.Due(10, dawn.Add(askDelay))
	m.Asked("a") // and the answer was lost
	m.Missed(dawn)
	if got := m.Due(10, dawn.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
	if _, ask := m.Tell("a"); !ask {
		t.Error("nobody is asked")
	}
}

func TestRoomThatFillsAgainAsksForWhatWasMissed(t *testing.T) {
	m := New()
	m.Counted("a", 1, dawn)
	m.Heard("a", 8, 1)
	m.Holders("a", sessions(8), dawn)
	m.Counted("a", 0, dawn)
	m.Due(10, dawn.Add(time.Hour))
	m.Missed(dawn)
	if got := m.Due(10, dawn.Add(time.Hour)); got != nil {
		t.Errorf("due %v while nobody is there", got)
	}
	m.Counted("a", 1, dawn)
	if got := m.Due(10, dawn.Add(askDelay)); !slices.Contains(got, "a") {
		t.Errorf("due %v, want a", got)
	}
}

func TestCountOfANodeThatIsNotKnownToHoldTheRoom(t *testing.T) {
	m := New()
	m.Counted("a", 1, dawn)
	m.Holders("a", sessions(8), dawn)
	for _, x := range []struct {
		node    uint32
		members int
		unknown bool
	}{{8, 3, false}, {9, 2, true}, {9, 4, false}, {10, 0, false}} {
		if got := m.Heard("a", x.node, x.members); got != x.unknown {
			t.Errorf("%d members on node %d: unknown %v", x.members, x.node, got)
		}
	}
	m.Holders("a", sessions(8), dawn) // as the directory says when it is read again
	if n := m.Members("a", nobody); n != 3 {
		t.Errorf("%d members elsewhere, want 3", n)
	}
}

// What another process has heard of nodes that are not known to hold a room is
// looked at: they may be gone.
func TestInheritedCountsOfUnknownNodesAreLookedAt(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m := New()
	for _, room := range []string{"a", "b", "c"} {
		m.Counted(room, 1, now)
	}
	m.Holders("b", sessions(7), now)
	got := m.Inherit([]Tally{{"a", 7, 2}, {"b", 7, 2}, {"not held", 7, 2}}, nil, now)
	if want := []string{"a"}; !slices.Equal(got, want) {
		t.Errorf("%q are looked at, want %q", got, want)
	}
}

// TestANodeWithANewSessionIsToldOfRooms: it has asked, and was not found in the
// directory yet when it was answered.
// TestWhoComesToAVacantRoomAsksForOthers: a process that took the room over while
// it was vacant had found them there before.
func TestWhoComesToAVacantRoomAsksForOthers(t *testing.T) {
	m := New()
	m.Holders("a", sessions(8), dawn)
	m.Counted("a", 1, dawn)
	if got := m.Due(10, dawn.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
	if _, ask := m.Tell("a"); !ask {
		t.Error("nobody is asked")
	}
}

// TestWhoAsksIsToldThatNobodyIsThere: it may count members of whose leaving it
// was not told, and what it was told last is what there is again a moment later.
func TestWhoAsksIsToldThatNobodyIsThere(t *testing.T) {
	m := New()
	m.Counted("a", 1, dawn)
	m.Tell("a") // is lost
	m.Counted("a", 0, dawn)
	m.Retell("a", dawn)
	m.Counted("a", 1, dawn)
	if got := m.Due(10, dawn.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
}

func TestANodeWithANewSessionIsToldOfRooms(t *testing.T) {
	m := New()
	m.Counted("a", 1, dawn)
	m.Heard("a", 8, 2)
	m.Holders("a", sessions(8), dawn)
	m.Due(10, dawn.Add(time.Hour))
	m.Holders("a", []int64{wire.Session(8, 2)}, dawn)
	if got := m.Due(10, dawn.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
}

// TestWhatFailedIsSaidAgainSomeTimeLater and not at once, for as long as Redis
// is away.
func TestWhatFailedIsSaidAgainSomeTimeLater(t *testing.T) {
	m := New()
	m.Counted("a", 1, dawn)
	m.Holders("a", sessions(8), dawn)
	now := dawn.Add(time.Hour)
	m.Due(10, now)
	m.Tell("a")
	m.Asked("a")
	m.Failed("a", now)
	if got := m.Due(10, now.Add(askDelay)); got != nil {
		t.Errorf("%v is due at once", got)
	}
	if got := m.Due(10, now.Add(changeDelay)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("due %v, want a", got)
	}
	if _, ask := m.Tell("a"); !ask {
		t.Error("what was asked is not asked again")
	}
}

// TestARoomIsAskedForAsOftenAsSomethingIsMissed also when its holders have not
// been read in between, and nobody was counted there.
func TestARoomIsAskedForAsOftenAsSomethingIsMissed(t *testing.T) {
	m := New()
	m.Counted("a", 1, dawn)
	m.Holders("a", sessions(8), dawn)
	for range 2 {
		m.Due(10, dawn.Add(time.Hour))
		m.Asked("a")
		m.Missed(dawn)
		if got := m.Due(10, dawn.Add(askDelay)); !slices.Equal(got, []string{"a"}) {
			t.Errorf("due %v, want a", got)
		}
	}
}

// sessions are the first ones of some nodes.
func sessions(nodes ...uint32) (list []int64) {
	for _, node := range nodes {
		list = append(list, wire.Session(node, 1))
	}
	return list
}
