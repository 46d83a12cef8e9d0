package simulation

import (
	"maps"
	"time"
)

// shrinkTries is how many runs of each smaller form are tried: what is left
// out changes the delays of the rest, so the fault may need another seed.
const shrinkTries = 12

// Shrink looks for a smaller run in which the same rule is broken: fewer
// faults, clients, nodes, rooms and time. It runs up to most fleets.
func Shrink(broken Result, most int) Result {
	s := shrinker{best: broken, left: most}
	s.best.Config.Trace = nil
	for again := true; again && s.left > 0; {
		again = s.time() || s.clients() || s.nodes() || s.fewerFaults()
	}
	return s.best
}

// A shrinker looks for a smaller run that breaks the same rule.
type shrinker struct {
	best Result
	left int
}

// try reports whether a smaller form breaks the same rule, and keeps it then.
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
		c.Delays += i // other delays, the same plan
		if r := Run(c); r.Broken != nil && r.Broken.Rule == s.best.Broken.Rule {
			s.best = r
			return true
		}
	}
	return false
}

// time ends the faults soon after the rule was broken.
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

// fewerFaults leaves out faults one by one.
func (s *shrinker) fewerFaults() (less bool) {
	for i := range s.best.Planned {
		if !s.best.Config.Skip[i] && s.try(func(c *Config) { c.Skip[i] = true }) {
			less = true
		}
	}
	return less
}
