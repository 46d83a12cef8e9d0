package rooms

import (
	"math"
	"time"
)

// A Rate limits how much a client may do: PerSecond in the long run, Burst at
// once. The zero Rate is no limit.
type Rate struct {
	PerSecond int
	Burst     int
}

// maxBurst is the longest time that a burst may be worth, so that arithmetic in
// nanoseconds cannot overflow.
const maxBurst = time.Hour

// epoch is the start of the process's monotonic time: see Monotonic.
var epoch = time.Now()

// Monotonic returns the time from the start of the process to t. It follows the
// monotonic clock if t comes from time.Now, so setting the system's clock does
// not change it. Durations are measured with it; unlike Unix times in 32 bits
// it never wraps.
func Monotonic(t time.Time) time.Duration { return t.Sub(epoch) }

// afterEpoch is the inverse of Monotonic.
func afterEpoch(d time.Duration) time.Time { return epoch.Add(d) }

// unused is the Throttle from which nothing was taken yet.
const unused Throttle = 0

// A Throttle enforces a Rate. It is a leaky bucket in eight bytes, because
// every client has one or two: the monotonic time, in ns, at which everything
// taken so far will have been earned. Owned by its client's event loop; the
// zero Throttle is ready.
type Throttle int64

// Take takes n and returns by how many bursts the client is ahead of its rate:
// up to 1 is allowed. What is refused counts too, so a client that does not
// stop reaches 2.
func (t *Throttle) Take(r Rate, n int, now time.Time) (bursts float64) {
	if r.PerSecond <= 0 {
		return 0
	}
	cost, burst := r.worth(n), r.worth(r.Burst)
	at := int64(Monotonic(now))
	ahead := min(t.ahead(at, 3*burst)+cost, 3*burst)
	if *t = Throttle(at + ahead); *t == unused {
		*t = 1
	}
	return float64(ahead) / float64(burst)
}

// ahead returns how far the throttle is ahead of the time at, in ns. A value
// that Take cannot have produced (more than most) counts as none.
func (t Throttle) ahead(at, most int64) int64 {
	if ahead := int64(t) - at; t != unused && ahead > 0 && ahead <= most {
		return ahead
	}
	return 0
}

// worth returns the time in which n is earned, in ns. It is rounded down, so
// that exactly a burst passes at once, but nothing is free.
func (r Rate) worth(n int) int64 {
	const most = math.MaxInt64 / int64(time.Second)
	if int64(n) > most {
		return math.MaxInt64 / 4 // more than any burst, and still a summand
	}
	return max(int64(n)*int64(time.Second)/int64(r.PerSecond), 1)
}

// Allow takes n if that keeps to the rate, and reports whether it did.
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
	return t == unused || int64(t) <= int64(Monotonic(now))
}

// ok reports whether a Throttle can be used with this rate.
func (r Rate) ok() bool {
	return r.PerSecond == 0 || r.PerSecond > 0 && r.Burst > 0 &&
		time.Duration(r.Burst)*time.Second/time.Duration(r.PerSecond) <= maxBurst
}
