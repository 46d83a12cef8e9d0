package simulation

import (
	"maps"
	"time"
)

// shrinkTries is how many sequences of delays are tried for each smaller
// configuration. A smaller one draws other delays, so the rule may only be broken
// with some of them.
const shrinkTries = 12

// Shrink looks for a smaller configuration that breaks the same rule, with fewer
// faults, clients, nodes and rooms, and less time. It simulates up to most runs.
func Shrink(broken Result, most int) Result {
	s := shrinker{best: broken, left: most}
	s.best.Config.Trace = nil
	for again := true; again && s.left > 0; {
		again = s.time() || s.clients() || s.nodes() || s.fewerFaults()
	}
	return s.best
}

// A shrinker is the state of one call of Shrink.
type shrinker struct {
	best Result
	left int // runs that may still be made
}

// try reports whether a smaller configuration breaks the same rule. If so, it
// becomes the best one.
func (s *shrinker) try(change func(*Config)) bool {
	for i := range uint64(shrinkTries) {
		if s.left--; s.left < 0 {
			return false
		}
		c := s.best.Config
		c.Skip = maps.Clone(c.Skip)
		if c.Skip == nil {
			c.Skip = make(map[int]bool)
		}
		change(&c)
		c.Delays += i // other delays for the same plan of faults
		if r := Run(c); r.Broken != nil && r.Broken.Rule == s.best.Broken.Rule {
			s.best = r
			return true
		}
	}
	return false
}

// time ends the run soon after the rule was broken.
func (s *shrinker) time() bool {
	span := min(s.best.Broken.At+time.Second, s.best.Config.Span*3/4)
	if span < 5*time.Second || span > s.best.Config.Span*9/10 {
		return false
	}
	return s.try(func(c *Config) { c.Span, c.PlanSpan = span, s.planSpan() })
}

func (s *shrinker) planSpan() time.Duration {
	if s.best.Config.PlanSpan != 0 {
		return s.best.Config.PlanSpan
	}
	return s.best.Config.Span
}

func (s *shrinker) clients() bool {
	n := s.best.Config.Clients / 2
	return n >= 2 && s.try(func(c *Config) { c.Clients, c.Rooms = n, max(c.Rooms/2, 2) })
}

func (s *shrinker) nodes() bool {
	n := s.best.Config.Nodes - 1
	return n >= 1 && s.try(func(c *Config) { c.Nodes = n })
}

// fewerFaults removes faults one by one.
func (s *shrinker) fewerFaults() (less bool) {
	for i := range s.best.Planned {
		if !s.best.Config.Skip[i] && s.try(func(c *Config) { c.Skip[i] = true }) {
			less = true
		}
	}
	return less
}
