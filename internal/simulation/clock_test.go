package simulation

import (
	"testing"
	"time"
)

func TestClockReadsBothClocks(t *testing.T) {
	wall := epoch.Add(1234567 * time.Microsecond)
	one := clock(wall, time.Second)
	two := clock(wall.Add(-time.Hour), 3*time.Second) // the wall clock was set back
	switch {
	case !one.Equal(clock(epoch, time.Second)), one.Unix() != wall.Unix(), one.Nanosecond() != wall.Nanosecond():
		t.Errorf("the clock has %v, want %v", one, wall)
	case two.Sub(one) != 2*time.Second:
		t.Errorf("the monotonic clock has gone on by %v, want 2s", two.Sub(one))
	case !two.After(one), !two.Round(0).Before(one.Round(0)):
		t.Error("times are compared by the wrong clock")
	case one.Add(time.Minute).Sub(two) != 58*time.Second:
		t.Errorf("a later time is %v ahead, want 58s", one.Add(time.Minute).Sub(two))
	case one.Round(0).Sub(wall) != 0:
		t.Errorf("the wall clock has %v, want %v", one.Round(0), wall)
	}
}
