package simulation

import "time"

// A channel is one direction of a connection. What is sent arrives in order after
// a delay, or never if the connection is lost before.
type channel struct {
	s    *schedule
	line *line
	last time.Duration // arrival time of what was sent last
	lost bool          // nothing that is sent in this direction arrives
}

// A line is the state that both directions of a connection share. It belongs to
// the run.
type line struct {
	open   bool
	silent bool // nothing arrives any more, and neither end has noticed
	least  time.Duration
	most   time.Duration
	slow   *time.Duration // added to every delay
}

// newLine opens a connection with delays from least to most.
func newLine(least, most time.Duration, slow *time.Duration) *line {
	return &line{open: true, least: least, most: most, slow: slow}
}

// send calls arrive when the message arrives at the other end.
func (w *channel) send(arrive func()) {
	l := w.line
	if !w.works() {
		return
	}
	w.last = max(w.last, w.s.now+w.s.between(l.least, l.most)+*l.slow)
	w.s.add(timer{at: w.last, do: arrive, via: w})
}

func (w *channel) works() bool { return w.line.open && !w.line.silent && !w.lost }

// A backlog has the requests that have arrived at a server while it does not
// execute any, in order. It belongs to its connection.
type backlog struct{ waiting []func() }

// take calls do now or, if the server hangs, when it continues.
func (b *backlog) take(s *schedule, hangs *time.Duration, line *line, do func()) {
	if len(b.waiting) == 0 && *hangs <= s.now {
		do()
		return
	}
	if b.waiting = append(b.waiting, do); len(b.waiting) == 1 {
		s.at(*hangs, func() { b.drain(s, hangs, line) })
	}
}

func (b *backlog) drain(s *schedule, hangs *time.Duration, line *line) {
	if *hangs > s.now { // the time was extended
		s.at(*hangs, func() { b.drain(s, hangs, line) })
		return
	}
	waiting := b.waiting
	b.waiting = nil
	for _, do := range waiting {
		if line.open && !line.silent {
			do()
		}
	}
}
