package simulation

import (
	"testing"
	"time"
)

// Two times are read. In between, the monotonic clock advances by two seconds and
// the wall clock is set back by an hour. Package time must read both parts as
// they were written, and must subtract and compare the monotonic ones.
func TestClockReadsBothClocks(t *testing.T) {
	wall := epoch.Add(1234567 * time.Microsecond)
	one := clock(wall, time.Second)
	two := clock(wall.Add(-time.Hour), 3*time.Second) // the wall clock was set back
	switch {
	case !one.Equal(clock(epoch, time.Second)), one.Unix() != wall.Unix(), one.Nanosecond() != wall.Nanosecond():
		t.Errorf("clock(wall) = %v, want %v", one, wall)
	case two.Sub(one) != 2*time.Second:
		t.Errorf("the monotonic clock advances by %v, want 2s", two.Sub(one))
	case !two.After(one), !two.Round(0).Before(one.Round(0)):
		t.Error("After and Before do not compare the monotonic clocks, or not the wall clocks after Round(0)")
	case one.Add(time.Minute).Sub(two) != 58*time.Second:
		t.Errorf("a minute after the first time is %v after the second, want 58s", one.Add(time.Minute).Sub(two))
	case one.Round(0).Sub(wall) != 0:
		t.Errorf("the wall clock reads %v, want %v", one.Round(0), wall)
	}
}
