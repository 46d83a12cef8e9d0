package rooms

import (
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/clocktest"
)

func TestThrottleAllowsABurstAndTheRate(t *testing.T) {
	rate := Rate{PerSecond: 10, Burst: 50}
	var throttle Throttle
	now := startTime
	took := func(n int) (fine int) {
		for range n {
			if throttle.Take(rate, 1, now) <= 1 {
				fine++
			}
		}
		return fine
	}
	if got := took(50); got != 50 {
		t.Fatalf("%d of a burst of 50 are within the rate, want all", got)
	}
	for range 100 {
		now = now.Add(time.Second)
		if got := took(10); got != 10 {
			t.Fatalf("%d of 10 in a second are within the rate, want all", got)
		}
	}
	if got := took(1); got != 0 {
		t.Error("an event beyond the rate is within it, want it refused")
	}
	now = now.Add(time.Minute)
	if got := took(60); got != 50 {
		t.Errorf("after a pause %d of 60 are within the rate, want 50", got)
	}
}

func TestThrottleReportsHowFarAClientIsBeyondTheRate(t *testing.T) {
	rate := Rate{PerSecond: 100, Burst: 200}
	var throttle Throttle
	for i := 1; i <= 1000; i++ {
		ahead := throttle.Take(rate, 1, startTime)
		switch {
		case i <= 200 && ahead > 1, i > 200 && ahead <= 1, i <= 400 && ahead > 2, i > 400 && ahead <= 2:
			t.Fatalf("event %d is %v bursts ahead", i, ahead)
		}
	}
	if ahead := throttle.Take(rate, 1, startTime.Add(6*time.Second)); ahead > 1 {
		t.Errorf("after the time that the events are worth, a client is %v bursts ahead, want 1 at most", ahead)
	}
}

// everyRate has the default rates of all limiters, and extreme ones.
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

// The clock walks through two days. At any time a limiter must accept a burst
// of a new client, a burst of one that was silent, and the events of one that
// keeps to the rate.
func TestThrottleAtAnyTimeOfTwoDays(t *testing.T) {
	for name, rate := range everyRate {
		silent := map[time.Duration]Throttle{}
		for _, pause := range []time.Duration{11 * time.Hour} { // 32 bits of 10 us are 11.9 h
			var throttle Throttle
			throttle.Take(rate, rate.Burst, (&clocktest.Clock{Wall: startTime}).Now())
			silent[pause] = throttle
		}
		var steady Throttle
		clocktest.Walk(startTime, func(now time.Time) {
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
					t.Fatalf("%s: at %v Rested is false for a client that was silent", name, Monotonic(now))
				}
				if ahead := throttle.Take(rate, rate.Burst, now); ahead > 1 {
					t.Fatalf("%s: at %v a client that was silent is %v bursts ahead", name, Monotonic(now), ahead)
				}
			}
		})
	}
}

// The wall clock is set back and forth. A client that keeps to the rate must not be
// refused, and one that exceeds it must be.
func TestThrottleWhileTheClockIsSet(t *testing.T) {
	for name, rate := range everyRate {
		var steady, greedy Throttle
		c := clocktest.Clock{Wall: startTime}
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
		if ahead := throttle.Take(Rate{}, 1<<40, startTime); ahead != 0 {
			t.Fatalf("%v bursts ahead without a rate, want 0", ahead)
		}
	}
}

func TestThrottleCountsSingleEventsAtTheHighestRate(t *testing.T) {
	rate := Rate{PerSecond: 100_000_000_000, Burst: 100_000_000}
	var throttle Throttle
	for range 10_000_000 {
		if throttle.Take(rate, 1, startTime) > 2 {
			return
		}
	}
	t.Error("ten million events at one time are within the rate, want them beyond two bursts")
}
