package simulation

import "time"

// A channel is one direction of a connection: what is sent arrives in order and
// some time later, or never when the connection is lost first.
type channel struct {
	s    *schedule
	line *line
	last time.Duration // when what was sent last arrives
	lost bool          // what is sent in this direction never arrives
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
	if !w.works() {
		return
	}
	w.last = max(w.last, w.s.now+w.s.between(l.least, l.most)+*l.slow)
	w.s.add(moment{at: w.last, do: arrive, via: w})
}

func (w *channel) works() bool { return w.line.open && !w.line.silent && !w.lost }

// A backlog is what has arrived at a server that stands still, in order. Owned
// by its connection.
type backlog struct{ waiting []func() }

// take has something done now or, while the server stands still, then.
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
	if *hangs > s.now { // for longer, meanwhile
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
