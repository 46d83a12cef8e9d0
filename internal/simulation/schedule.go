package simulation

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"
)

// epoch is the wall clock's time at which every run begins.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// A moment is something that is to happen: on a node, unless that has died
// meanwhile; at the end of a channel, unless that is lost; or in any case.
type moment struct {
	at   time.Duration
	seq  uint64 // of two at one time the one scheduled first is first
	do   func()
	on   *machine // nil: none
	life int      // of that
	via  *channel // nil: none
}

func (m *moment) happen() {
	switch {
	case m.on != nil:
		if m.on.up && m.on.life == m.life {
			m.on.execute(m.do)
		}
	case m.via == nil || m.via.works():
		m.do()
	}
}

// A schedule is virtual time: what is to happen, the earliest first. Owned by
// its run.
type schedule struct {
	now  time.Duration
	todo agenda
	rng  *rand.Rand // of delays

	steps uint64
	still int // steps since time has moved on
	hash  uint64
	out   io.Writer // nil: no trace
}

func newSchedule(seed uint64, out io.Writer) schedule {
	return schedule{todo: newAgenda(), rng: stream(seed, 1), out: out, hash: fnv.New64a().Sum64()}
}

// stream returns one of the independent sources of chance of a seed: taking
// something out of a run does not change what the others draw.
func stream(seed, n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }

// after has something happen when d has passed.
func (s *schedule) after(d time.Duration, do func()) { s.at(s.now+d, do) }

func (s *schedule) at(at time.Duration, do func()) { s.add(moment{at: at, do: do}) }

func (s *schedule) add(m moment) {
	m.at = max(m.at, s.now)
	s.todo.add(m)
}

// step has the next thing happen; false when there is none.
func (s *schedule) step() bool {
	top, any := s.todo.take()
	if !any {
		return false
	}
	if s.still++; top.at > s.now {
		s.still = 0
	}
	s.now = top.at
	s.steps++
	top.happen()
	return true
}

// between draws a time.
func (s *schedule) between(least, most time.Duration) time.Duration {
	return between(s.rng, least, most)
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// note puts a fact into the hash of the trace.
func (s *schedule) note(what byte, a, b, c uint64) {
	const prime = 1099511628211
	h := s.hash
	for _, x := range [4]uint64{uint64(s.now)<<8 | uint64(what), a, b, c} {
		h = (h ^ x) * prime
		h ^= h >> 29
	}
	s.hash = h
}

// tracing reports whether anybody reads the trace.
func (s *schedule) tracing() bool { return s.out != nil }

// trace writes a line of the trace: when, who, what.
func (s *schedule) trace(who, format string, args ...any) {
	if s.out != nil {
		fmt.Fprintf(s.out, "%10.3fms %-9s %s\n", float64(s.now.Microseconds())/1000, who, fmt.Sprintf(format, args...))
	}
}
