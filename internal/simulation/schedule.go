package simulation

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"
)

// epoch is the wall clock time at the beginning of every run.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// A timer is a function to be called at a simulated time. If it belongs to a
// node, it is only called if that node has not died meanwhile. If it belongs to a
// channel, it is only called if the channel is not lost.
type timer struct {
	at   time.Duration
	seq  uint64 // order of timers with the same time
	do   func()
	on   *machine // nil: belongs to no node
	life int      // the machine's life it was made in
	via  *channel // nil: belongs to no channel
}

func (m *timer) fire() {
	switch {
	case m.on != nil:
		if m.on.up && m.on.life == m.life {
			m.on.execute(m.do)
		}
	case m.via == nil || m.via.works():
		m.do()
	}
}

// A schedule is the simulated clock with its pending timers, and the trace. It
// belongs to its run.
type schedule struct {
	now  time.Duration
	todo timerQueue
	rng  *rand.Rand // draws the delays

	steps       uint64
	stepsAtOnce int // steps since the time last advanced
	hash        uint64
	out         io.Writer // nil: no trace
}

func newSchedule(seed uint64, out io.Writer) schedule {
	return schedule{todo: newTimerQueue(), rng: stream(seed, 1), out: out, hash: fnv.New64a().Sum64()}
}

// stream returns a source of random numbers for a seed. The sources of different
// n are independent: leaving out a part of a run does not change what the other
// parts draw.
func stream(seed, n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }

// after calls do when d has passed.
func (s *schedule) after(d time.Duration, do func()) { s.at(s.now+d, do) }

func (s *schedule) at(at time.Duration, do func()) { s.add(timer{at: at, do: do}) }

func (s *schedule) add(m timer) {
	m.at = max(m.at, s.now)
	s.todo.add(m)
}

// step runs the next timer. It returns false when there is none.
func (s *schedule) step() bool {
	top, any := s.todo.take()
	if !any {
		return false
	}
	if s.stepsAtOnce++; top.at > s.now {
		s.stepsAtOnce = 0
	}
	s.now = top.at
	s.steps++
	top.fire()
	return true
}

// between draws a duration from [least, most).
func (s *schedule) between(least, most time.Duration) time.Duration {
	return between(s.rng, least, most)
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// note adds a fact to the hash of the trace.
func (s *schedule) note(what byte, a, b, c uint64) {
	const prime = 1099511628211
	h := s.hash
	for _, x := range [4]uint64{uint64(s.now)<<8 | uint64(what), a, b, c} {
		h = (h ^ x) * prime
		h ^= h >> 29
	}
	s.hash = h
}

// tracing reports whether the trace is written.
func (s *schedule) tracing() bool { return s.out != nil }

// trace writes a line of the trace: the time, who did it, and what.
func (s *schedule) trace(who, format string, args ...any) {
	if s.out != nil {
		fmt.Fprintf(s.out, "%10.3fms %-9s %s\n", float64(s.now.Microseconds())/1000, who, fmt.Sprintf(format, args...))
	}
}
