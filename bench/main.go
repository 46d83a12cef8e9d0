package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

// workerCommand is the argument with which the suite runs itself as a load
// process.
const workerCommand = "load-worker"

func main() {
	if helped, err := runHelper(os.Args[1:]); helped {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: helper:", err)
			os.Exit(1)
		}
		return
	}
	switch err := run(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// runHelper reports whether the suite was started by itself, as one of the
// processes that it needs, and does what that process is for.
func runHelper(args []string) (helped bool, err error) {
	switch {
	case len(args) == 1 && args[0] == workerCommand:
		return true, load.Serve(os.Stdin, os.Stdout)
	case len(args) == 2 && args[0] == streamCommand:
		return true, readStream(args[1], os.Stdout)
	}
	return false, nil
}

// options are what one run of the suite may vary.
type options struct {
	scenarios, peers string
	runs             int
	out              string
	pin              bool
	full             bool
	list             bool
	soak             time.Duration
	rerender         string
}

// onOff is a flag that is written on or off.
type onOff bool

func (v *onOff) String() string {
	if v != nil && *v {
		return "on"
	}
	return "off"
}

func (v *onOff) Set(text string) error {
	if text != "on" && text != "off" {
		return fmt.Errorf("%q: want on or off", text)
	}
	*v = text == "on"
	return nil
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.scenarios, "scenario", "", "comma-separated scenarios; empty: all but the long ones")
	f.StringVar(&o.peers, "peers", "", "comma-separated peers; empty: all that can be started")
	f.IntVar(&o.runs, "runs", 3, "repetitions of the floors and the gateway, and of peers that are named; the report gives medians")
	f.StringVar(&o.out, "out", "", "directory of the report; empty: bench/results/<date>")
	o.pin = true
	f.Var((*onOff)(&o.pin), "pin", "on: bind servers to core 0 and the load to core 1; off: let the kernel choose")
	f.BoolVar(&o.full, "full", false, "more sizes, longer windows, everything repeated: about an hour")
	f.BoolVar(&o.list, "list", false, "print scenarios and peers, and stop")
	f.DurationVar(&o.soak, "soak", 10*time.Minute, "length of the soak scenario, per peer")
	f.StringVar(&o.rerender, "render", "", "write report and plots again from this results.json, and stop")
	var err error
	f.VisitAll(func(fl *flag.Flag) {
		if text, ok := os.LookupEnv(strings.ToUpper(fl.Name)); ok && text != "" && err == nil {
			if bad := fl.Value.Set(text); bad != nil {
				err = fmt.Errorf("%s=%q: %w", strings.ToUpper(fl.Name), text, bad)
			}
		}
	})
	if err != nil {
		return o, err
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.runs < 1 {
		return o, fmt.Errorf("runs %d: want at least 1", o.runs)
	}
	return o, nil
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.list {
		printList(os.Stdout)
		return nil
	}
	if o.rerender != "" {
		return render(o.rerender)
	}
	root, err := process.Root()
	if err != nil {
		return err
	}
	if o.out == "" {
		o.out = process.Results(root)
	}
	s, err := newSuite(root, o)
	if err != nil {
		return err
	}
	defer s.close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		s.stopped.Store(true)
	}()
	return s.runAll()
}
