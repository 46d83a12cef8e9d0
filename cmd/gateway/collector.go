package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

const (
	// gcPercent trades collector time for memory. Connections live long and a
	// delivery allocates little, so the heap is mostly alive and collections
	// are rare.
	gcPercent = 50

	// leastGarbage is what a collection waits for when gcPercent of a small
	// heap is less: a chat among 2,000 clients would otherwise be collected nine
	// times a second, each time for milliseconds of one of the cores, and a
	// third of the CPU of a burst of new connections would go into it.
	leastGarbage = 4 << 20
)

// paceCollector sets how much garbage is collected at a time, unless GOGC does.
func paceCollector() *pacer {
	p := &pacer{}
	if os.Getenv("GOGC") == "" {
		p.set(collectorPercent(leastGarbage))
		p.arm(&collected{p})
	}
	return p
}

// A pacer sets the collector's percentage after each collection, and while a
// hand-over lasts. Safe for concurrent use.
type pacer struct {
	mu      sync.Mutex
	percent int
	held    bool // the percentage is set when the hold ends
}

// collected is an object nobody holds: each collection finds it. It has a
// pointer, because without one objects so small are collected in groups.
type collected struct{ *pacer }

func (p *pacer) arm(c *collected) {
	runtime.SetFinalizer(c, func(c *collected) {
		p.set(collectorPercent(runtimeFigure("/gc/heap/live:bytes")))
		p.arm(c)
	})
}

// set changes the percentage, for which the world stops, if it differs by a
// tenth.
func (p *pacer) set(percent int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held {
		p.percent = percent
		return
	}
	if difference := percent - p.percent; difference*10 > p.percent || -difference*10 > p.percent {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
}

// hold keeps the collector from running, unless GOMEMLIMIT is reached, until
// release is called. What is collected while clients wait for a hand-over is
// time that they wait.
func (p *pacer) hold() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.percent = true, debug.SetGCPercent(-1)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held = false
		debug.SetGCPercent(p.percent)
	}
}

// collectorPercent is how much garbage may come to live bytes of other things,
// as a percentage.
func collectorPercent(live uint64) int {
	return max(gcPercent, int(100*leastGarbage/max(live, leastGarbage/4)))
}
