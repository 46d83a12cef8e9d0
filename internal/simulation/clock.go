package simulation

import (
	"time"
	"unsafe"
)

// A node has two clocks, as a process has. The wall clock differs from node to
// node, and faults set it. The monotonic clock is the simulated time.

// monotonicBase is the reading of the monotonic clock at the beginning of a run.
const monotonicBase = time.Hour

// instant is the layout of a time.Time.
type instant struct {
	wall     uint64
	ext      int64
	location *time.Location
}

const (
	hasMonotonic = 1 << 63
	secondShift  = 30
	since1885    = 2_682_288_000 // seconds from 1885, the epoch of such a time, to 1970
)

// clock returns a time with a monotonic reading, as time.Now does. Package time
// has no function for that. TestClockReadsBothClocks checks the layout.
func clock(wall time.Time, monotonic time.Duration) (t time.Time) {
	*(*instant)(unsafe.Pointer(&t)) = instant{
		wall:     hasMonotonic | uint64(wall.Unix()+since1885)<<secondShift | uint64(wall.Nanosecond()),
		ext:      int64(monotonicBase + monotonic),
		location: time.UTC,
	}
	return t
}

// now returns the time of the node's clocks.
func (m *machine) now() time.Time { return clock(epoch.Add(m.r.now+m.skew), m.r.now) }

// when returns the simulated time for a time of the node's clocks.
func (m *machine) when(at time.Time) time.Duration { return m.r.now + at.Sub(m.now()) }

// A dueTime is the time of the next scheduled call of a function.
type dueTime struct{ at time.Duration }

// next asks for a call at when. needed is false if an earlier call is already
// scheduled.
func (d *dueTime) next(m *machine, when time.Duration) (at time.Duration, needed bool) {
	when = max(when, m.r.now)
	if d.at > m.r.now && d.at <= when {
		return 0, false
	}
	d.at = when
	return when, true
}

// passed records that the call scheduled for at has been made.
func (d *dueTime) passed(at time.Duration) {
	if d.at == at {
		d.at = 0
	}
}

const (
	skewMost = 2 * time.Second // largest difference of a wall clock from the true time
	stepMost = time.Hour       // largest step by which a fault sets a wall clock
)

// setClock sets a node's wall clock: either by up to skewMost, or by up to
// stepMost and back after the fault's duration.
func (r *run) setClock(f *fault) {
	m := r.nodes[f.node]
	little := time.Duration(f.draw%uint64(2*skewMost)) - skewMost
	r.wallTrusted = false
	if !f.yes {
		m.skew = little
		return
	}
	life := m.life
	m.skew = time.Duration(f.draw%uint64(2*stepMost)) - stepMost
	r.after(f.last, func() {
		if m.life == life {
			m.skew = little
		}
	})
}
