package pace

import (
	"testing"
	"time"
)

func TestWindowDependsOnReplyTimes(t *testing.T) {
	const most = 256
	w, now := NewWindow(most), time.Unix(0, 0)
	exchange := func(took time.Duration, failed bool) {
		n, sent := w.Free(now), now
		w.Sent(n)
		if w.Free(now) != 0 {
			t.Fatalf("%d commands may be sent with a full window, want none", w.Free(now))
		}
		now = now.Add(took)
		w.Done(n, sent, now, failed)
	}
	for _, step := range []struct {
		name   string
		times  int
		took   time.Duration
		failed bool
		size   int
	}{
		{name: "it begins small", size: Least},
		{name: "replies are quick", times: 20, took: time.Millisecond, size: most},
		{name: "neither quick nor late", times: 5, took: Late * 3 / 4, size: most},
		{name: "late once", times: 1, took: 2 * Late, size: most / 2},
		{name: "a failure", times: 1, took: time.Millisecond, failed: true, size: most / 4},
		{name: "late for long", times: 20, took: 2 * Late, size: Least},
		{name: "quick again", times: 20, took: time.Millisecond, size: most},
	} {
		for range step.times {
			exchange(step.took, step.failed)
		}
		if w.size != step.size {
			t.Errorf("%s: the window is %d, want %d", step.name, w.size, step.size)
		}
	}
	w.Reset()
	if w.size != Least {
		t.Errorf("after a reset the window is %d, want %d", w.size, Least)
	}
}

func TestWindowShrinksOnceForBatchesSentTogether(t *testing.T) {
	w, start := NewWindow(256), time.Unix(0, 0)
	w.size = 256
	for range 4 {
		w.Sent(64)
	}
	for i := range 4 {
		w.Done(64, start, start.Add(time.Second+time.Duration(i)*time.Millisecond), false)
	}
	if free := w.Free(start.Add(time.Second)); w.size != 128 || free != 128 {
		t.Errorf("the window is %d with %d free, want 128 and 128", w.size, free)
	}
}

// The round trip to Redis takes up to 150 ms. The window must still grow to its
// maximum: it depends on how long commands wait in Redis.
func TestWindowGrowsWithADistantRedis(t *testing.T) {
	const most = 256
	for _, distance := range []time.Duration{time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond} {
		w, now := NewWindow(most), time.Unix(0, 0)
		exchange := func(times int, waited time.Duration) int {
			for range times {
				n, sent := w.Free(now), now
				w.Sent(n)
				now = now.Add(distance + waited)
				w.Done(n, sent, now, false)
			}
			return w.size
		}
		if n := exchange(20, 0); n != most {
			t.Errorf("the window is %d with a round trip of %v, want %d", n, distance, most)
		}
		if n := exchange(20, 2*Late); n != Least {
			t.Errorf("the window is %d when that Redis is slow, want %d", n, Least)
		}
	}
}

// All replies take longer than any network. The window must stay at its
// minimum, although no faster reply is known.
func TestWindowStaysSmallWhenRedisIsSlowFromTheStart(t *testing.T) {
	w, now := NewWindow(256), time.Unix(0, 0)
	for range 20 {
		n, sent := w.Free(now), now
		w.Sent(n)
		now = now.Add(farthest + 2*Late)
		w.Done(n, sent, now, false)
	}
	if w.size != Least {
		t.Errorf("the window is %d, want %d", w.size, Least)
	}
}

// After Reset the shortest round trip must be measured again, because the next
// server may be farther away.
func TestResetForgetsTheRoundTrip(t *testing.T) {
	w, now := NewWindow(256), time.Unix(0, 0)
	w.Done(0, now, now.Add(time.Millisecond), false)
	w.Reset()
	for range 20 {
		n := w.Free(now)
		w.Sent(n)
		w.Done(n, now, now.Add(2*Late), false)
	}
	if w.size != 256 {
		t.Errorf("the window is %d, want 256", w.size)
	}
}

// A node sends single commands, or none for some time. The window must be small
// then: replies to few commands do not show that Redis can take many.
func TestUnusedWindowIsSmall(t *testing.T) {
	const most = 256
	w, now := NewWindow(most), time.Unix(0, 0)
	exchange := func(n int) {
		w.Sent(n)
		sent := now
		now = now.Add(time.Millisecond)
		w.Done(n, sent, now, false)
	}
	for range 1000 {
		w.Free(now)
		exchange(1)
	}
	if w.size != Least {
		t.Errorf("after single commands the window is %d, want %d", w.size, Least)
	}
	for range 20 {
		exchange(w.Free(now))
	}
	if w.Free(now) != most {
		t.Errorf("the window is %d, want %d", w.size, most)
	}
	if free := w.Free(now.Add(memory)); free != most {
		t.Errorf("the window is %d after a short rest, want %d", free, most)
	}
	if free := w.Free(now.Add(memory + 1)); free != Least {
		t.Errorf("the window is %d after a long rest, want %d", free, Least)
	}
}

// While Redis is slow, the nodes share a minimum of commands in flight, so that
// one node does not write a few rooms at a time only. With many nodes each gets
// the least.
func TestNodesShareTheMinimumInFlight(t *testing.T) {
	for _, c := range []struct{ nodes, most, want int }{{1, 1024, Together}, {1, 256, 256}, {4, 1024, Together / 4}, {1000, 1024, Least}} {
		w, now := NewWindow(c.most), time.Unix(0, 0)
		w.Share(c.nodes)
		for range 20 {
			n, sent := w.Free(now), now
			w.Sent(n)
			now = now.Add(time.Second)
			w.Done(n, sent, now, true)
		}
		if free := w.Free(now); free != c.want {
			t.Errorf("one of %d nodes may have %d commands in flight, want %d", c.nodes, free, c.want)
		}
		if w.Reset(); w.size != c.want {
			t.Errorf("after a reset one of %d nodes may have %d commands in flight, want %d", c.nodes, w.size, c.want)
		}
	}
}
