package rooms

import (
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/clocktest"
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

// everyRate has the rates of all limiters by default, and extreme ones.
var everyRate = map[string]Rate{
	"events":             {100, 1000},
	"a few, a crowd":     {10, 1000},
	"an hour's burst":    {1, 3600},
	"bytes":              {1 << 20, 4 << 20},
	"the least bytes":    {1, 4_000_000},
	"the most bytes":     {1 << 30, 4 << 30},
	"handshakes":         {4000, 8000},
	"of an address":      {5, 10},
	"one a second":       {1, 2},
	"messages to crowds": {100_000, 100_000},
	"the most messages":  {100_000_000, 100_000_000},
	"a third":            {3, 10},
}

// A limiter lets a new client, one that has been silent, and one that keeps to
// the rate do what they may, at any time.
func TestThrottleAtAnyTimeOfTwoDays(t *testing.T) {
	for name, rate := range everyRate {
		silent := map[time.Duration]Throttle{}
		for _, pause := range []time.Duration{11 * time.Hour} { // 32 bits of 10 us are 11.9 h
			var throttle Throttle
			throttle.Take(rate, rate.Burst, (&clocktest.Clock{Wall: dawn}).Now())
			silent[pause] = throttle
		}
		var steady Throttle
		clocktest.Walk(dawn, func(now time.Time) {
			var fresh Throttle
			if ahead := fresh.Take(rate, rate.Burst, now); ahead > 1 {
				t.Fatalf("%s: at %v a new client is %v bursts ahead", name, Monotonic(now), ahead)
			}
			if ahead := steady.Take(rate, rate.PerSecond, now); ahead > 1 {
				t.Fatalf("%s: at %v a client that keeps to the rate is %v bursts ahead", name, Monotonic(now), ahead)
			}
			for pause, throttle := range silent {
				earned := max(pause, time.Duration(rate.worth(rate.Burst)))
				if Monotonic(now) < earned {
					continue
				}
				if !throttle.Rested(now) {
					t.Fatalf("%s: at %v a client that was silent has not rested", name, Monotonic(now))
				}
				if ahead := throttle.Take(rate, rate.Burst, now); ahead > 1 {
					t.Fatalf("%s: at %v a client that was silent is %v bursts ahead", name, Monotonic(now), ahead)
				}
			}
		})
	}
}

// Whoever sets the clock, back or forth, changes nothing: neither is a client
// refused that keeps to the rate, nor is one let through that does not.
func TestThrottleWhileTheClockIsSet(t *testing.T) {
	for name, rate := range everyRate {
		var steady, greedy Throttle
		c := clocktest.Clock{Wall: dawn}
		for _, step := range clocktest.Steps {
			for range 20 {
				c.Pass(time.Second)
				if ahead := steady.Take(rate, rate.PerSecond, c.Now()); ahead > 1 {
					t.Fatalf("%s: a client that keeps to the rate is %v bursts ahead before %v", name, ahead, step)
				}
				if ahead := greedy.Take(rate, rate.Burst+rate.PerSecond+1, c.Now()); ahead <= 1 {
					t.Fatalf("%s: a client beyond the rate is only %v bursts ahead before %v", name, ahead, step)
				}
			}
			c.Set(step)
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
	rate := Rate{PerSecond: 100_000_000_000, Burst: 100_000_000}
	var throttle Throttle
	for range 10_000_000 {
		if throttle.Take(rate, 1, dawn) > 2 {
			return
		}
	}
	t.Error("ten million takes of one at once are within the rate")
}
