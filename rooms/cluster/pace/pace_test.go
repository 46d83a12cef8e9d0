package pace

import (
	"testing"
	"time"
)

func TestAWindowFollowsHowLongRepliesTake(t *testing.T) {
	const most = 256
	w, now := NewWindow(most), time.Unix(0, 0)
	exchange := func(took time.Duration, failed bool) {
		n, sent := w.Free(), now
		w.Sent(n)
		if w.Free() != 0 {
			t.Fatalf("%d commands may be sent when the window is full", w.Free())
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
		if w.Size() != step.size {
			t.Errorf("%s: the window is %d, want %d", step.name, w.Size(), step.size)
		}
	}
	w.Reset()
	if w.Size() != Least {
		t.Errorf("after a reset the window is %d", w.Size())
	}
}

func TestAWindowIsMadeSmallerOnceForWhatWasSentTogether(t *testing.T) {
	w, start := NewWindow(256), time.Unix(0, 0)
	w.size = 256
	for range 4 {
		w.Sent(64)
	}
	for i := range 4 {
		w.Done(64, start, start.Add(time.Second+time.Duration(i)*time.Millisecond), false)
	}
	if w.Size() != 128 || w.Free() != 128 {
		t.Errorf("the window is %d, %d free, want 128", w.Size(), w.Free())
	}
}
