package backoff

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestPausesDoubleUpToTheLongest(t *testing.T) {
	b := Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	want := []time.Duration{100, 200, 400, 800, 1000, 1000}
	for round := range 2 {
		var got []time.Duration
		for range want {
			got = append(got, b.Next()/time.Millisecond)
		}
		if !slices.Equal(got, want) {
			t.Errorf("round %d: pauses of %d ms, want %d", round, got, want)
		}
		b.Reset()
	}
}

func TestPauseAfterManyFailures(t *testing.T) {
	if got := Pause(time.Millisecond, time.Minute, math.MaxInt); got != time.Minute {
		t.Errorf("%v, want a minute", got)
	}
	if got := Pause(time.Minute, time.Second, 1); got != time.Second {
		t.Errorf("a first pause above the longest: %v, want a second", got)
	}
}
