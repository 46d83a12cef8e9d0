package simulation

import (
	"runtime/debug"
	"testing"
	"time"
)

// BenchmarkFleet reports how much simulated time a second of one core is.
func BenchmarkFleet(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	simulated := time.Duration(0)
	for seed := uint64(1); b.Loop(); seed++ {
		r := Run(Config{Seed: seed, Nodes: 5, Clients: 200, Span: time.Minute})
		if simulated += r.Simulated; r.Broken != nil {
			b.Fatal(r.Broken)
		}
	}
	b.ReportMetric(simulated.Seconds()/b.Elapsed().Seconds(), "simulated-s/s")
}
