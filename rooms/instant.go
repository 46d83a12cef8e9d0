package rooms

import "time"

// Times from other programs are accepted from the year 2000 to farAhead from
// now. Others come from a clock that was never set, or have another unit than
// they should.
const (
	earliest = 946684800 // Unix s
	farAhead = 24 * time.Hour
)

// Plausible reports whether t, from another program's clock, may be the time of
// something that has already happened.
func Plausible(t, now time.Time) bool { return Between(t, now.Add(farAhead)) }

// Between reports whether t is between the year 2000 and the second of latest.
// It compares seconds, since Before and After are wrong about times so late that
// they overflow.
func Between(t, latest time.Time) bool {
	s := t.Unix()
	return s >= earliest && s <= latest.Unix()
}

// FromUnix converts a time that should be in seconds since 1970. If it is not
// between the year 2000 and latest, it is taken as milliseconds, microseconds
// or nanoseconds; ok is false if no unit fits.
func FromUnix(n float64, latest time.Time) (t time.Time, ok bool) {
	if !(n >= earliest && n < 1<<63) {
		return time.Time{}, false
	}
	whole := int64(n)
	fraction := n - float64(whole)
	for unit := time.Second; unit > 0; unit /= 1000 {
		per := int64(time.Second / unit)
		t = time.Unix(whole/per, whole%per*int64(unit)+int64(fraction*float64(unit)))
		if Between(t, latest) {
			return t, true
		}
	}
	return time.Time{}, false
}

// PlausibleUnix is FromUnix for the time of something that has already
// happened.
func PlausibleUnix(n float64, now time.Time) (t time.Time, ok bool) {
	return FromUnix(n, now.Add(farAhead))
}
