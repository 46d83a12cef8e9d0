package rooms

import "time"

// A Rate is how much somebody may do: PerSecond in the long run, Burst at once.
// The zero Rate is no limit.
type Rate struct {
	PerSecond int
	Burst     int
}

// throttleUnit is a throttle's resolution. 2^32 of them are 12 hours, so what
// is older than that looks like the near future: see ahead.
const throttleUnit = 10 * time.Microsecond

// maxAhead bounds what a burst may be worth in time, so that it can be told
// from a throttle that has not been touched for hours.
const maxAhead = time.Hour

// A Throttle says whether somebody keeps to a Rate. It is a leaky bucket in
// four bytes, because every client has one or two: the time at which everything
// taken so far will have been earned. Owned by its client's event loop; the
// zero Throttle is ready.
type Throttle uint32

// Take takes n and returns by how many bursts the client is ahead of its
// rate: up to 1 is fine. What is refused counts too, so that somebody who does
// not stop is found at 2.
func (t *Throttle) Take(r Rate, n int, now time.Time) (bursts float64) {
	if r.PerSecond <= 0 {
		return 0
	}
	per := int64(r.PerSecond)
	cost := (int64(n)*int64(time.Second/throttleUnit) + per - 1) / per // nothing is free
	burst := int64(r.Burst) * int64(time.Second/throttleUnit) / int64(r.PerSecond)
	at := uint32(now.UnixNano() / int64(throttleUnit))
	ahead := int64(int32(uint32(*t) - at))
	if ahead < 0 || ahead > 3*burst { // earned long ago, or the clock was set
		ahead = 0
	}
	ahead = min(ahead+cost, 3*burst)
	*t = Throttle(at + uint32(ahead))
	return float64(ahead) / float64(burst)
}

// Allow takes n if the client keeps to the rate with it, and reports that.
func (t *Throttle) Allow(r Rate, n int, now time.Time) bool {
	before := *t
	if t.Take(r, n, now) <= 1 {
		return true
	}
	*t = before
	return false
}

// Rested reports whether everything taken has been earned.
func (t Throttle) Rested(now time.Time) bool {
	return int32(uint32(t)-uint32(now.UnixNano()/int64(throttleUnit))) <= 0
}

// ok reports whether a Throttle can count in this rate.
func (r Rate) ok() bool {
	return r.PerSecond == 0 || r.PerSecond > 0 && r.Burst > 0 &&
		time.Duration(r.Burst)*time.Second/time.Duration(r.PerSecond) <= maxAhead
}
