// Command simulate simulates fleets of gateway nodes: see docs/simulation.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hometrip/gateway/internal/simulation"
)

// shrinkRuns is how many runs may be made to reduce a failing one.
const shrinkRuns = 600

func main() {
	var c simulation.Config
	seed := flag.Uint64("seed", 1, "the first seed")
	seeds := flag.Int("seeds", 0, "how many seeds; 0: as many as there is time for, or one with -trace")
	long := flag.Duration("for", time.Minute, "how long, when -seeds is not given")
	most := flag.Duration("cpu", 0, "limit of the CPU time of the process; 0: none")
	flag.IntVar(&c.Nodes, "nodes", 0, "nodes; 0: 1 to 5, by the seed")
	flag.IntVar(&c.Clients, "clients", 0, "clients; 0: 5 to 200, by the seed")
	flag.IntVar(&c.Faults, "faults", 0, "faults; 0: by the seed, -1: none")
	flag.DurationVar(&c.Span, "span", 0, "simulated time in which faults happen; 0: 20 s to 2 min, by the seed")
	flag.IntVar(&c.Recovery, "recovery", 0, "percent of the clients that ask for recovery; 0: 0, 30 or 100, by the seed")
	flag.StringVar(&c.Log, "log", "", "redis or redis-http: the log is in Redis, and services publish to RabbitMQ or over HTTP; \"\": by the seed")
	flag.BoolVar(&c.Presence, "presence", false, "nodes publish presence events; without it, in a third of the fleets")
	one := flag.String("run", "", "one run, in the form that a failure prints")
	trace := flag.Bool("trace", false, "write the trace: time, who, what")
	shrink := flag.Bool("shrink", true, "reduce a failing run before it is printed")
	keep := flag.Bool("keep", false, "continue after a broken rule, and print all at the end")
	report := flag.String("report", "", "write a report to this file")
	flag.Parse()
	debug.SetGCPercent(2000) // the memory of a run is small and short-lived

	if *trace {
		c.Trace = os.Stdout
		*shrink = false
		*seeds = max(*seeds, 1)
	}
	s := session{began: time.Now(), counts: make(map[string]int)}
	if *one != "" {
		again, err := simulation.Parse(*one)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		again.Trace = c.Trace
		s.run(again, false)
		*seeds = -1
	}
	for n := uint64(0); *seeds > 0 && n < uint64(*seeds) || *seeds == 0 && time.Since(s.began) < *long; n++ {
		if *most > 0 && cpuTime() >= *most {
			break
		}
		if !s.run(simulation.Draw(c, *seed+n), *shrink) && !*keep {
			break
		}
	}
	s.print(os.Stdout)
	if *report != "" {
		file, err := os.Create(*report)
		if err == nil {
			s.print(file)
			err = file.Close()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	if len(s.broken) > 0 {
		os.Exit(1)
	}
}

// A session is the sum of all runs.
type session struct {
	began      time.Time
	runs       int
	simulated  time.Duration
	steps      uint64
	deliveries int
	events     int
	counts     map[string]int
	hash       uint64
	broken     []failure
}

// A failure is a run that broke a rule, and a smaller one if there is any.
type failure struct{ found, small *simulation.Result }

// run simulates one fleet, and reports whether every rule held.
func (s *session) run(c simulation.Config, shrink bool) bool {
	r := simulation.Run(c)
	s.runs++
	s.simulated += r.Simulated
	s.steps += r.Steps
	s.deliveries += r.Deliveries
	s.events += r.Events
	s.hash = s.hash*31 + r.Hash
	for what, n := range r.Counts {
		s.counts[what] += n
	}
	if r.Broken == nil {
		return true
	}
	fmt.Fprintf(os.Stderr, "seed %d, fleet %d: %v\n", c.Seed, s.runs, r.Broken) // print shows the details at the end
	f := failure{found: &r}
	if shrink {
		small := simulation.Shrink(r, shrinkRuns)
		f.small = &small
	}
	s.broken = append(s.broken, f)
	return false
}

func (s *session) print(w io.Writer) {
	cpu := cpuTime()
	fmt.Fprintf(w, "%d fleets, %v simulated in %v with %v of CPU: %.0f simulated seconds a second of CPU\n", s.runs,
		s.simulated.Round(time.Second), time.Since(s.began).Round(time.Millisecond), cpu.Round(time.Millisecond),
		s.simulated.Seconds()/cpu.Seconds())
	fmt.Fprintf(w, "%d steps, %d events of services, %d deliveries of them to clients\n", s.steps, s.events, s.deliveries)
	fmt.Fprintf(w, "hash of all traces %016x\n\n", s.hash)
	names := make([]string, 0, len(s.counts))
	for name := range s.counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "%8d  %s\n", s.counts[name], name)
	}
	if len(s.broken) == 0 {
		fmt.Fprintf(w, "\nEvery rule held.\n")
	}
	for _, f := range s.broken {
		fmt.Fprintf(w, "\nA rule is broken, ")
		show(w, f.found)
		if f.small != nil {
			fmt.Fprintf(w, "\nSmaller, ")
			show(w, f.small)
		}
	}
}

// cpuTime returns the CPU time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// show prints a failing run, and the command that repeats it.
func show(w io.Writer, r *simulation.Result) {
	c := &r.Config
	fmt.Fprintf(w, "seed %d, %d nodes, %d clients, %d rooms:\n%v\n", c.Seed, c.Nodes, c.Clients, c.Rooms, r.Broken)
	for _, f := range r.Faults {
		fmt.Fprintf(w, "  fault %s\n", f)
	}
	fmt.Fprintf(w, "Its trace: make simulate TRACE=1 RUN='%s'\n", strings.TrimSpace(simulation.Format(*c)))
}
