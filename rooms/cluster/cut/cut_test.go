package cut

import (
	"slices"
	"testing"
	"time"
)

// Two processes receive the same channel during a hand-over; the first one
// stops at a mark. Each message must be handled by one of them, wherever the
// mark is in the stream, and whenever the second one begins.
func TestEachMessageIsHandledByOneProcess(t *testing.T) {
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
			t.Fatal("the giver was not told that the mark has arrived")
		}
		if got := slices.Concat(first, second); !slices.Equal(got, all) || len(first) != 3 {
			t.Errorf("begun before message %d: the giver handled %q, the taker %q", begins, first, second)
		}
	}
}

func TestProcessThatGoesOnHandlesKeptMessages(t *testing.T) {
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
		t.Errorf("handled %q, want a, b and c", got)
	}
}

// The mark was lost with a connection. After skipTime the process must handle
// messages.
func TestLostMarkIsNotAwaitedForEver(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var got []string
	c := &Cut{Take: func(b []byte) { got = append(got, string(b)) }}
	c.StandBy()
	c.Begin(MarkPrefix+"1", now)
	c.Receive([]byte("a"), now.Add(skipTime))
	c.Receive([]byte("b"), now.Add(skipTime+1))
	if !slices.Equal(got, []string{"b"}) {
		t.Errorf("handled %q, want only b, which came after skipTime", got)
	}
}

// Redis was down, so there is no mark. The earlier process may have handled
// what this one has kept, so it must be dropped.
func TestKeptMessagesAreDroppedWithoutAMark(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var got []string
	c := &Cut{Take: func(b []byte) { got = append(got, string(b)) }}
	c.StandBy()
	c.Receive([]byte("a"), now)
	c.Begin("", now)
	c.Receive([]byte("b"), now)
	if !slices.Equal(got, []string{"b"}) {
		t.Errorf("handled %q, want only b", got)
	}
}

// The messages kept for a hand-over are limited to maxKept bytes; the oldest
// are dropped.
func TestKeptMessagesAreLimited(t *testing.T) {
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

func TestMissedReportsPossiblyLostMessages(t *testing.T) {
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
			t.Errorf("%s: Missed is true while the mark may still come", x.name)
		}
		later := now.Add(skipTime + time.Nanosecond)
		if got := c.Missed(later); got != x.want {
			t.Errorf("%s: Missed is %v, want %v", x.name, got, x.want)
		}
		if c.Missed(later) {
			t.Errorf("%s: Missed is true a second time", x.name)
		}
	}
}
