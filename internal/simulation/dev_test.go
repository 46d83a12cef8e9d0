package simulation

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func TestDev(t *testing.T) {
	c := Config{Seed: 1, Nodes: 3, Clients: 20, Span: 20 * time.Second}
	fmt.Sscan(os.Getenv("SPAN"), &c.Span)
	if s, err := time.ParseDuration(os.Getenv("SPAN")); err == nil {
		c.Span = s
	}
	fmt.Sscan(os.Getenv("SEED"), &c.Seed)
	fmt.Sscan(os.Getenv("FAULTS"), &c.Faults)
	fmt.Sscan(os.Getenv("NODES"), &c.Nodes)
	fmt.Sscan(os.Getenv("CLIENTS"), &c.Clients)
	if os.Getenv("TRACE") != "" {
		c.Trace = os.Stdout
	}
	n := 1
	fmt.Sscan(os.Getenv("SEEDS"), &n)
	for range n {
		began := time.Now()
		r := Run(c)
		fmt.Printf("seed %d: %016x steps %d simulated %v in %v deliveries %d events %d broken %v\n", c.Seed, r.Hash, r.Steps, r.Simulated, time.Since(began), r.Deliveries, r.Events, r.Broken)
		if r.Broken != nil {
			for _, f := range r.Faults {
				fmt.Println("  ", f)
			}
		}
		c.Seed++
	}
}
