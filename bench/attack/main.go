package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

// workerCommand is the argument with which the command runs itself as the
// process of the good clients.
const workerCommand = "load-worker"

func main() {
	if len(os.Args) > 1 && os.Args[1] == workerCommand {
		if err := load.Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "attack: worker:", err)
			os.Exit(1)
		}
		return
	}
	switch err := run(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

// options are what one run may vary.
type options struct {
	rows, out string
	good      int
	list      bool
}

func run(args []string) error {
	var o options
	f := flag.NewFlagSet("attack", flag.ContinueOnError)
	f.StringVar(&o.rows, "rows", "", "comma-separated rows; empty: all")
	f.StringVar(&o.out, "out", "", "directory of the report; empty: bench/results/<date>")
	f.IntVar(&o.good, "good", 1000, "good clients, an even number")
	f.BoolVar(&o.list, "list", false, "print the rows, and stop")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.list {
		printRows(os.Stdout)
		return nil
	}
	chosen, err := chooseRows(o.rows)
	if err != nil {
		return err
	}
	root, err := process.Root()
	if err != nil {
		return err
	}
	if o.out == "" {
		o.out = process.Results(root)
	}
	s, err := newSiege(root, o.good)
	if err != nil {
		return err
	}
	defer s.close()
	results, err := s.play(chosen)
	if err != nil {
		return err
	}
	return report{began: s.began, revision: process.Revision(root), good: o.good, results: results}.write(o.out)
}
