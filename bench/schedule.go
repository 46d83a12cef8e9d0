package main

import (
	"errors"
	"slices"
	"time"

	"github.com/hometrip/gateway/bench/report"
)

// runAll goes through scenarios, runs and peers, in this order: the peers of
// one run follow each other closely, so that a slow drift of the machine meets
// all alike.
func (s *suite) runAll() error {
	steps := s.plan()
	s.reportAbsent()
	took := make(map[*step]time.Duration)
	for i, st := range steps {
		if s.stopped.Load() {
			break
		}
		s.progress("%d/%d  %s  run %d  %s  (about %v left)", i+1, len(steps), st.scenario.name, st.run, st.peer.name,
			left(steps, took).Round(time.Second))
		began := time.Now()
		s.runOne(st.scenario, st.peer, st.run)
		took[st] = time.Since(began)
	}
	s.results.Took = time.Since(s.results.Began)
	return s.writeReport()
}

// step is one scenario at one peer, once.
type step struct {
	scenario *scenario
	peer     *peer
	run      int
}

func (s *suite) plan() []*step {
	var steps []*step
	for _, sc := range s.scenarios {
		for run := 1; run <= s.runs; run++ {
			for _, p := range s.peers {
				if p.has(sc.needs) && run <= s.runsOf(sc, p) {
					steps = append(steps, &step{sc, p, run})
				}
			}
		}
	}
	return steps
}

// runsOf is how often a peer goes through a scenario. To stay within minutes
// only what ratios are made of is repeated, the floors and the gateway; who
// names peers wants them repeated too.
func (s *suite) runsOf(sc *scenario, p *peer) int {
	named := s.full || s.options.peers != ""
	switch {
	case !named && slices.Contains(sc.without, p.name):
		return 0
	case sc.once && !s.full, !named && !p.reference:
		return 1
	}
	return s.runs
}

// left estimates how long the steps without a time will take: as long as the
// same peer took for the same scenario, or as the scenario usually takes,
// times what this peer, or all of them, took longer than usual so far.
func left(steps []*step, took map[*step]time.Duration) time.Duration {
	known := make(map[step]time.Duration)
	var all pace
	each := make(map[*peer]pace)
	for _, st := range steps {
		if d, ok := took[st]; ok {
			known[step{st.scenario, st.peer, 0}] = d
			all = all.and(d, st.scenario.usual)
			each[st.peer] = each[st.peer].and(d, st.scenario.usual)
		}
	}
	var rest time.Duration
	for _, st := range steps {
		if _, done := took[st]; done {
			continue
		}
		d, ok := known[step{st.scenario, st.peer, 0}]
		if own := each[st.peer]; !ok && own.usual > 0 {
			d = own.stretch(st.scenario.usual)
		} else if !ok {
			d = all.stretch(st.scenario.usual)
		}
		rest += d
	}
	return rest
}

// pace is how long some steps took, and how long they usually take.
type pace struct{ took, usual time.Duration }

func (p pace) and(took, usual time.Duration) pace { return pace{p.took + took, p.usual + usual} }

func (p pace) stretch(usual time.Duration) time.Duration {
	if p.usual == 0 {
		return usual
	}
	return time.Duration(usual.Seconds() * p.took.Seconds() / p.usual.Seconds() * float64(time.Second))
}

// reportAbsent records which peers lack what a scenario needs.
func (s *suite) reportAbsent() {
	for _, sc := range s.scenarios {
		for _, p := range s.peers {
			if !p.has(sc.needs) {
				s.results.Rows = append(s.results.Rows, report.Row{
					Scenario: sc.name, Case: "all", Peer: p.name, Skipped: lacking(sc.needs),
				})
			}
		}
	}
}

func (s *suite) runOne(sc *scenario, p *peer, run int) {
	t := &trial{suite: s, scenario: sc, peer: p, run: run, niceness: preferred}
	defer t.end()
	err := sc.run(t)
	var absent unavailable
	switch {
	case errors.As(err, &absent):
		t.row(sc.name, "all", report.Row{Skipped: absent.reason})
	case err != nil:
		s.progress("  failed: %v", err)
		t.row(sc.name, "all", report.Row{Wrong: 1, Problems: []string{err.Error()}})
	}
}
