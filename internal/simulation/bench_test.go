package simulation

import (
	"runtime/debug"
	"syscall"
	"testing"
	"time"
)

// BenchmarkFleet measures how many seconds are simulated in a second of CPU.
func BenchmarkFleet(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(2000))
	simulated, began := time.Duration(0), cpuTime(b)
	for seed := uint64(1); b.Loop(); seed++ {
		r := Run(Config{Seed: seed, Nodes: 5, Clients: 200, Span: time.Minute})
		if simulated += r.Simulated; r.Broken != nil {
			b.Fatal(r.Broken)
		}
	}
	b.ReportMetric(simulated.Seconds()/(cpuTime(b)-began).Seconds(), "simulated-s/cpu-s")
}

// cpuTime returns the CPU time that this process has used, with garbage
// collection. Unlike elapsed time it does not depend on other processes.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
