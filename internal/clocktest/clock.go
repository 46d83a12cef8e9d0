// Package clocktest makes times for tests in which the system's clock is set:
// the time of day and the monotonic time move independently.
package clocktest

import (
	"time"
	"unsafe"
)

// year1885 is the start of the 33 bits of seconds in a time.Time, in Unix s.
var year1885 = time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()

// start is the monotonic time at which every Clock begins.
var start = time.Now()

// A Clock has a time of day and, independent of it, a monotonic time. Owned by
// one test.
type Clock struct {
	Monotonic time.Duration // since about the start of the process
	Wall      time.Time
}

// Now returns a time like those of time.Now. It sets the fields of time.Time
// directly, because no function changes the time of day alone.
func (c *Clock) Now() time.Time {
	const hasMonotonic, nsBits = 1 << 63, 30
	type layout struct {
		wall uint64 // a flag, seconds since 1885 in 33 bits, ns in 30
		ext  int64  // monotonic time
		loc  *time.Location
	}
	t := start.Add(c.Monotonic)
	l := (*layout)(unsafe.Pointer(&t))
	l.wall = hasMonotonic | uint64(c.Wall.Unix()-year1885)<<nsBits | uint64(c.Wall.Nanosecond())
	return t
}

// Pass advances both times by d.
func (c *Clock) Pass(d time.Duration) {
	c.Monotonic += d
	c.Wall = c.Wall.Add(d)
}

// Set moves the time of day by d.
func (c *Clock) Set(d time.Duration) { c.Wall = c.Wall.Add(d) }

// Steps are the amounts by which tests set the clock, forward and back.
var Steps = []time.Duration{
	-6 * time.Second, -10 * time.Second, -25 * time.Second, 25 * time.Second, -time.Hour, 2 * time.Hour,
	-12 * time.Hour, 24 * time.Hour, -90 * time.Second, 5 * time.Second, -5 * time.Second,
	-365 * 24 * time.Hour, 365 * 24 * time.Hour,
}

// Walk calls step for each second of two days from a time of day on. 32 bits of
// 10 us overflow four times in that time.
func Walk(from time.Time, step func(now time.Time)) {
	c := Clock{Wall: from}
	for range 48 * 3600 {
		step(c.Now())
		c.Pass(time.Second)
	}
}
