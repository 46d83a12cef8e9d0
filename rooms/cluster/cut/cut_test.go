package cut

import (
	"slices"
	"testing"
	"time"
)

// What comes on a channel is taken by one of two processes, whatever comes
// before and behind the mark, and whenever the second one begins.
func TestEachMessageIsTakenByOneOfTwoProcesses(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	mark := MarkPrefix + "1"
	messages := []string{"a", "b", MarkPrefix + "of an attempt before", "c", mark, "d", "e"}
	all := []string{"a", "b", "c", "d", "e"}
	for begins := range len(messages) + 1 {
		var first, second []string
		giver := &Cut{Take: func(b []byte) { first = append(first, string(b)) }}
		taker := &Cut{Take: func(b []byte) { second = append(second, string(b)) }}
		taker.StandBy()
		reached := giver.End(mark)
		for i, m := range messages {
			if i == begins {
				taker.Begin(mark, now)
			}
			giver.Receive([]byte(m), now)
			taker.Receive([]byte(m), now)
		}
		if begins == len(messages) {
			taker.Begin(mark, now)
		}
		select {
		case <-reached:
		default:
			t.Fatal("the mark has come, and the giver does not know")
		}
		if got := slices.Concat(first, second); !slices.Equal(got, all) || len(first) != 3 {
			t.Errorf("begun before message %d: the giver has %q, the taker %q", begins, first, second)
		}
	}
}

func TestAProcessThatGoesOnHasMissedNothing(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var got []string
	c := &Cut{Take: func(b []byte) { got = append(got, string(b)) }}
	mark := MarkPrefix + "1"
	c.End(mark)
	for _, m := range []string{"a", mark, "b"} {
		c.Receive([]byte(m), now)
	}
	c.GoOn()
	c.Receive([]byte("c"), now)
	if !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("taken: %q", got)
	}
}

// A mark that was lost with a connection is not waited for without end.
func TestALostMarkIsNotWaitedForWithoutEnd(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var got []string
	c := &Cut{Take: func(b []byte) { got = append(got, string(b)) }}
	c.StandBy()
	c.Begin(MarkPrefix+"1", now)
	c.Receive([]byte("a"), now.Add(skipTime))
	c.Receive([]byte("b"), now.Add(skipTime+1))
	if !slices.Equal(got, []string{"b"}) {
		t.Errorf("taken: %q", got)
	}
}

// When Redis was away there is no mark, and the process before may have taken
// what this one has: nothing of it is taken twice.
func TestWithoutAMarkNothingIsTakenTwice(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var got []string
	c := &Cut{Take: func(b []byte) { got = append(got, string(b)) }}
	c.StandBy()
	c.Receive([]byte("a"), now)
	c.Begin("", now)
	c.Receive([]byte("b"), now)
	if !slices.Equal(got, []string{"b"}) {
		t.Errorf("taken: %q", got)
	}
}

// What is kept is bounded: the newest stays.
func TestWhatIsKeptForAHandOverIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	count := 0
	c := &Cut{Take: func([]byte) { count++ }}
	c.End("")
	message := make([]byte, 1<<20)
	for range 2 * maxKept / len(message) {
		c.Receive(message, now)
	}
	c.GoOn()
	if count != maxKept/len(message) {
		t.Errorf("%d messages kept, want %d", count, maxKept/len(message))
	}
}

func TestWhatTheOtherProcessMayNotHaveTakenIsMissed(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	mark := MarkPrefix + "1"
	for _, x := range []struct {
		name       string
		kept, come []string
		mark       string
		want       bool
	}{
		{"the mark was kept", []string{"a", mark, "b"}, []string{"c"}, mark, false},
		{"the mark comes", []string{"a"}, []string{"b", mark, "c"}, mark, false},
		{"the mark comes at once", nil, []string{mark, "c"}, mark, false},
		{"the mark is lost", nil, []string{"b"}, mark, true},
		{"the mark is lost, and what was kept is dropped", []string{"a"}, nil, mark, true},
		{"the mark is lost, and nothing came", nil, nil, mark, false},
		{"there is no mark", []string{"a"}, []string{"b"}, "", true},
		{"there is no mark, and nothing was kept", nil, []string{"b"}, "", false},
	} {
		c := &Cut{Take: func([]byte) {}}
		c.StandBy()
		for _, m := range x.kept {
			c.Receive([]byte(m), now)
		}
		c.Begin(x.mark, now)
		for _, m := range x.come {
			c.Receive([]byte(m), now)
		}
		if x.mark != "" && c.phase == cutSkips && c.Missed(now.Add(skipTime)) {
			t.Errorf("%s: missed while the mark may still come", x.name)
		}
		later := now.Add(skipTime + time.Nanosecond)
		if got := c.Missed(later); got != x.want {
			t.Errorf("%s: missed %v, want %v", x.name, got, x.want)
		}
		if c.Missed(later) {
			t.Errorf("%s: missed is told twice", x.name)
		}
	}
}
