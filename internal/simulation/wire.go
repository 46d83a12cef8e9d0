package simulation

import "time"

// A channel is one direction of a connection: what is sent arrives in order and
// some time later, or never when the connection is lost first.
type channel struct {
	s    *schedule
	line *line
	last time.Duration // when what was sent last arrives
}

// A line is what both directions of a connection have in common. Owned by the
// run.
type line struct {
	open   bool
	silent bool // everything sent is lost, and nobody is told
	least  time.Duration
	most   time.Duration
	slow   *time.Duration // what is added to every delay
}

// newLine opens a connection.
func newLine(least, most time.Duration, slow *time.Duration) *line {
	return &line{open: true, least: least, most: most, slow: slow}
}

// send has something arrive at the other end.
func (w *channel) send(arrive func()) {
	l := w.line
	if !l.open || l.silent {
		return
	}
	w.last = max(w.last, w.s.now+w.s.between(l.least, l.most)+*l.slow)
	w.s.at(w.last, func() {
		if l.open && !l.silent {
			arrive()
		}
	})
}
