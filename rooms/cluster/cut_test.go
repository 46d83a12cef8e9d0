package cluster

import (
	"slices"
	"testing"
	"time"
)

// What comes on a channel is taken by one of two processes, whatever comes
// before and behind the mark, and whenever the second one begins.
func TestEachMessageIsTakenByOneOfTwoProcesses(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	mark := markPrefix + "1"
	messages := []string{"a", "b", markPrefix + "of an attempt before", "c", mark, "d", "e"}
	all := []string{"a", "b", "c", "d", "e"}
	for begins := range len(messages) + 1 {
		var first, second []string
		giver := &cut{take: func(b []byte) { first = append(first, string(b)) }}
		taker := &cut{take: func(b []byte) { second = append(second, string(b)) }}
		taker.standBy()
		reached := giver.end(mark)
		for i, m := range messages {
			if i == begins {
				taker.begin(mark, now)
			}
			giver.receive([]byte(m), now)
			taker.receive([]byte(m), now)
		}
		if begins == len(messages) {
			taker.begin(mark, now)
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
	c := &cut{take: func(b []byte) { got = append(got, string(b)) }}
	mark := markPrefix + "1"
	c.end(mark)
	for _, m := range []string{"a", mark, "b"} {
		c.receive([]byte(m), now)
	}
	c.goOn()
	c.receive([]byte("c"), now)
	if !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("taken: %q", got)
	}
}

// A mark that was lost with a connection is not waited for without end.
func TestALostMarkIsNotWaitedForWithoutEnd(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var got []string
	c := &cut{take: func(b []byte) { got = append(got, string(b)) }}
	c.standBy()
	c.begin(markPrefix+"1", now)
	c.receive([]byte("a"), now.Add(skipTime))
	c.receive([]byte("b"), now.Add(skipTime+1))
	if !slices.Equal(got, []string{"b"}) {
		t.Errorf("taken: %q", got)
	}
}

// Without Redis there is no mark: the next process takes what it gets.
func TestWithoutAMarkTheNextProcessTakesEverything(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var got []string
	c := &cut{take: func(b []byte) { got = append(got, string(b)) }}
	c.standBy()
	c.receive([]byte("a"), now)
	c.begin("", now)
	c.receive([]byte("b"), now)
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("taken: %q", got)
	}
}

// What is kept is bounded: the newest stays.
func TestWhatIsKeptForAHandOverIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	count := 0
	c := &cut{take: func([]byte) { count++ }}
	c.standBy()
	message := make([]byte, 1<<20)
	for range 2 * maxKept / len(message) {
		c.receive(message, now)
	}
	c.begin("", now)
	if count != maxKept/len(message) {
		t.Errorf("%d messages kept, want %d", count, maxKept/len(message))
	}
}
