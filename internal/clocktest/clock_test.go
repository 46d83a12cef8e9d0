package clocktest

import (
	"testing"
	"time"
)

func TestClockBehavesLikeTheSystemClock(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 5e6, time.UTC)
	c := Clock{Wall: noon}
	first := c.Now()
	if !first.Equal(noon) || first.Unix() != noon.Unix() || first.Nanosecond() != noon.Nanosecond() {
		t.Fatalf("shows %v, want %v", first, noon)
	}
	c.Pass(time.Hour)
	c.Set(-time.Minute)
	if now := c.Now(); now.Sub(first) != time.Hour || now.Unix() != noon.Unix()+3600-60 {
		t.Fatalf("shows %v, %v later; want %v and 1h", now, now.Sub(first), noon.Add(time.Hour-time.Minute))
	}
}
