package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hometrip/gateway/bench/harness"
	"github.com/hometrip/gateway/bench/process"
)

func main() {
	harness.Main("chaos", execute)
}

func execute(args []string) error {
	o := options{kinds: kinds, calm: 3 * time.Second}
	var out string
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.Uint64Var(&o.seed, "seed", 0, "which faults, and when; 0: any")
	f.DurationVar(&o.duration, "duration", 2*time.Minute, "time in which faults begin")
	f.IntVar(&o.clients, "clients", 2000, "clients")
	f.IntVar(&o.nodes, "nodes", 3, "gateways")
	f.Float64Var(&o.rate, "rate", 300, "events a second")
	f.StringVar(&out, "out", "", "directory of the report; empty: bench/results/<date>")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.clients < 1 || o.nodes < 1 || o.rate <= 0 {
		return fmt.Errorf("-clients %d -nodes %d -rate %v: want one at least of each", o.clients, o.nodes, o.rate)
	}
	if o.seed == 0 {
		o.seed = uint64(rand.Uint32()) + 1
	}
	w, err := harness.NewWorkspace("chaos", out)
	if err != nil {
		return err
	}
	fmt.Println("seed", o.seed)
	r, err := judged(o, w.Gateway, w.Dir)
	if err == nil {
		r.revision = process.Revision(w.Root)
		err = r.write(w)
	}
	if err != nil {
		return fmt.Errorf("seed %d: %w; the gateways' output is in %s", o.seed, err, w.Dir)
	}
	w.Remove()
	return nil
}

// judged runs a scenario and judges it.
func judged(o options, binary, tmp string) (*report, error) {
	s, end, err := newScenario(o, binary, tmp)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := s.run(); err != nil {
		return nil, err
	}
	s.checkHeld()
	if err := s.explain(); err != nil {
		return nil, err
	}
	j := newJudge(s.rounds, s.book.rooms, s.clients)
	for _, c := range s.clients {
		j.client(c)
	}
	return &report{scenario: s, verdict: j.verdict, took: s.now()}, nil
}
