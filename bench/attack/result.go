package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hometrip/gateway/bench/load"
)

const mib = 1 << 20

// The bounds. What is not here must not change at all.
const (
	p99Bound    = 100 * time.Millisecond // of the good clients' events
	healthBound = time.Second            // for an answer of /health

	// peakBound is what may be resident during a row. The runtime keeps to
	// GOMEMLIMIT, but the limit is a soft one: it may be late.
	peakBound = memoryLimit + 64*mib

	heapGrowth       = 8 * mib  // after a collection; sessions that nobody polls take their time
	residentGrowth   = 96 * mib // at the end: the runtime keeps some of what it has freed
	descriptorGrowth = 8        // connections of /health and of the watcher
	goroutineGrowth  = 16       // requests under way
)

// A result is a row that was played.
type result struct {
	row           *row
	attack        *attack
	chat          *load.Result
	observed      observation
	before, after footprint
	problems      []string
	earlier       []string // problems of earlier attempts
}

func (r *result) failed() bool { return len(r.problems) > 0 }

func (r *result) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// check compares what happened with the bounds.
func (r *result) check(clients int) {
	r.problems = append(r.problems, r.attack.problems...)
	if r.chat.Wrong() > 0 {
		r.problem("good clients: %s", describeFaults(r.chat))
	}
	if _, p99, _ := r.latency(); p99 > p99Bound {
		r.problem("good clients: p99 %v, bound %v (loop at most %.0f ms late; other processes took %.1f of %d cores)",
			p99, p99Bound, 1000*r.observed.turnAge, r.others(), runtime.NumCPU())
	}
	if n := len(r.observed.unhealthy); n > 0 {
		r.problem("%d times /health was not answered with 200 within %v: %s", n, healthBound, r.observed.unhealthy[0])
	}
	if r.observed.rss > peakBound {
		r.problem("%d MiB resident, bound %d", r.observed.rss/mib, peakBound/mib)
	}
	r.checkLeft(clients)
	for _, name := range r.row.moved {
		if r.grown(name) <= 0 {
			r.problem("%s did not move", name)
		}
	}
	for _, name := range slices.Concat(never, r.row.still) {
		if n := r.grown(name) - r.byGood(name); n > 0 {
			r.problem("%s moved by %.0f", name, n)
		}
	}
}

// checkLeft looks for what the attackers have left behind.
func (r *result) checkLeft(clients int) {
	if r.after.connections != clients {
		r.problem("%d connections %v after the attack, of %d good clients", r.after.connections, recoveryLimit, clients)
	}
	if n := r.after.Descriptors - r.before.Descriptors; n > descriptorGrowth {
		r.problem("%d descriptors more than before, %d are allowed", n, descriptorGrowth)
	}
	if n := r.after.goroutines - r.before.goroutines; n > goroutineGrowth {
		r.problem("%d goroutines more than before, %d are allowed", n, goroutineGrowth)
	}
	if n := r.after.heap - r.before.heap; n > heapGrowth {
		r.problem("%.1f MiB more on the heap than before, %d are allowed", n/mib, heapGrowth/mib)
	}
}

// grown is how much a figure of the gateway has grown.
func (r *result) grown(name string) float64 {
	return r.after.Metrics[name] - r.before.Metrics[name]
}

// byGood is how much of that the good clients did.
func (r *result) byGood(name string) float64 {
	if name == "broadcasts_total" {
		return float64(r.chat.Events)
	}
	return 0
}

// latency is the good clients', from when an event was due.
func (r *result) latency() (p50, p99, most time.Duration) {
	h := hdrhistogram.Import(r.chat.Latency)
	at := func(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
	return at(h.ValueAtQuantile(50)), at(h.ValueAtQuantile(99)), at(h.Max())
}

// counters says which figures moved, of those that should have.
func (r *result) counters() string {
	var parts []string
	for _, name := range r.row.moved {
		parts = append(parts, fmt.Sprintf("%s +%s", name, count(int64(r.grown(name)))))
	}
	return strings.Join(parts, ", ")
}

// others is how many cores other processes of the machine took.
func (r *result) others() float64 {
	ours := (r.observed.gateway + r.observed.attackers + r.chat.CPU).Seconds() / r.observed.length.Seconds()
	return max(r.observed.machine*float64(runtime.NumCPU())-ours, 0)
}

func (r *result) verdict() string {
	switch {
	case r.failed():
		return "BROKEN"
	case len(r.earlier) > 0:
		return "held in the end"
	}
	return "held"
}
