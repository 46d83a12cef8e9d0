package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/hometrip/gateway/bench/harness"
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
	harness.Main("attack", execute)
}

// options are what one run may vary.
type options struct {
	rows, out string
	good      int
	list      bool
}

func execute(args []string) error {
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
	w, err := harness.NewWorkspace("attack", o.out)
	if err != nil {
		return err
	}
	defer w.Remove()
	r, err := newRun(w, o.good)
	if err != nil {
		return err
	}
	defer r.close()
	results, err := r.play(chosen)
	if err != nil {
		return err
	}
	return report{began: r.began, revision: process.Revision(w.Root), good: o.good, results: results}.write(w)
}
