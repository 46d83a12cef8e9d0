package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/hometrip/gateway/bench/process"
)

func main() {
	switch err := run(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	o := options{kinds: kinds, calm: 3 * time.Second}
	var out string
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.Uint64Var(&o.seed, "seed", 0, "which harms, and when; 0: any")
	f.DurationVar(&o.duration, "duration", 2*time.Minute, "time in which harms begin")
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
	root, err := process.Root()
	if err != nil {
		return err
	}
	if out == "" {
		out = process.Results(root)
	}
	return play(o, root, out)
}

// play runs a storm. What the gateways printed is kept when something was
// wrong.
func play(o options, root, out string) error {
	tmp, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return err
	}
	binary := filepath.Join(tmp, "gateway")
	if err := process.Build(root, binary, "./cmd/gateway"); err != nil {
		os.RemoveAll(tmp)
		return err
	}
	fmt.Println("seed", o.seed)
	r, err := judged(o, binary, tmp)
	if err == nil {
		r.revision = process.Revision(root)
		err = r.write(out)
	}
	if err != nil {
		return fmt.Errorf("seed %d: %w; the gateways' output is in %s", o.seed, err, tmp)
	}
	return os.RemoveAll(tmp)
}

// judged runs a storm and says what it has shown.
func judged(o options, binary, tmp string) (*report, error) {
	s, end, err := newStorm(o, binary, tmp)
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
	return &report{storm: s, verdict: j.verdict, took: s.now()}, nil
}
