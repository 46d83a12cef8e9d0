package rooms

import (
	"testing"
	"time"
)

func TestThrottleLetsABurstAndTheRatePass(t *testing.T) {
	rate := Rate{PerSecond: 10, Burst: 50}
	var throttle Throttle
	now := dawn
	took := func(n int) (fine int) {
		for range n {
			if throttle.Take(rate, 1, now) <= 1 {
				fine++
			}
		}
		return fine
	}
	if got := took(50); got != 50 {
		t.Fatalf("%d of a burst of 50 pass", got)
	}
	for range 100 {
		now = now.Add(time.Second)
		if got := took(10); got != 10 {
			t.Fatalf("%d of 10 in a second pass", got)
		}
	}
	if got := took(1); got != 0 {
		t.Error("more than the rate passes")
	}
	now = now.Add(time.Minute)
	if got := took(60); got != 50 {
		t.Errorf("after a pause %d of 60 pass, want 50", got)
	}
}

func TestThrottleFindsWhoDoesNotStop(t *testing.T) {
	rate := Rate{PerSecond: 100, Burst: 200}
	var throttle Throttle
	for i := 1; i <= 1000; i++ {
		ahead := throttle.Take(rate, 1, dawn)
		switch {
		case i <= 200 && ahead > 1, i > 200 && ahead <= 1, i <= 400 && ahead > 2, i > 400 && ahead <= 2:
			t.Fatalf("event %d is %v bursts ahead", i, ahead)
		}
	}
	if ahead := throttle.Take(rate, 1, dawn.Add(6*time.Second)); ahead > 1 {
		t.Errorf("after the time the bursts were worth, a client is still %v ahead", ahead)
	}
}

// The throttle counts in 32 bits: whatever the pause, and wherever the clock
// is set to, a client is not worse off than a new one.
func TestThrottleForgets(t *testing.T) {
	rate := Rate{PerSecond: 1, Burst: 3600}
	for _, pause := range []time.Duration{
		4 * time.Hour, 6 * time.Hour, 8 * time.Hour, 12 * time.Hour, 1000 * time.Hour, -4 * time.Hour, -1000 * time.Hour,
	} {
		var throttle Throttle
		throttle.Take(rate, 3600, dawn)
		if ahead := throttle.Take(rate, 1, dawn.Add(pause)); ahead > 1 {
			t.Errorf("after %v a client is %v bursts ahead", pause, ahead)
		}
	}
}

func TestThrottleWithoutRate(t *testing.T) {
	var throttle Throttle
	for range 1000 {
		if ahead := throttle.Take(Rate{}, 1<<40, dawn); ahead != 0 {
			t.Fatalf("ahead by %v of no rate", ahead)
		}
	}
}

func TestThrottleNothingIsFree(t *testing.T) {
	rate := Rate{PerSecond: 100_000_000, Burst: 1_000_000_000}
	var throttle Throttle
	for range 10_000_000 {
		if throttle.Take(rate, 1, dawn) > 2 {
			return
		}
	}
	t.Error("ten million takes of one at once are within the rate")
}
