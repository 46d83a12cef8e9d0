package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

const (
	// gcPercent trades CPU of the garbage collector for memory. Connections
	// live long and a delivery allocates little, so most of the heap is live
	// and collections are rare.
	gcPercent = 50

	// leastGarbage is the least garbage for which a collection runs, if
	// gcPercent of a small heap is less. Otherwise the garbage of a chat among
	// 2,000 clients would be collected nine times a second, each time for
	// milliseconds of one core, and a third of the CPU of a burst of new
	// connections would go into it: 18,000 connections cost 41 us of CPU each
	// with 4 MiB, 36 with 8 MiB and 35 with 16 MiB.
	leastGarbage = 8 << 20
)

// paceCollector sets how much garbage is collected at a time, unless GOGC is
// set.
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

// collected is an unreferenced object, which each collection finds. It has a
// pointer, because small objects without one are collected in groups.
type collected struct{ *pacer }

func (p *pacer) arm(c *collected) {
	runtime.SetFinalizer(c, func(c *collected) {
		p.set(collectorPercent(runtimeFigure("/gc/heap/live:bytes")))
		p.arm(c)
	})
}

// set changes the percentage if it differs by a tenth. Each change stops the
// world.
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
// release is called. During a hand-over clients wait, so a collection would
// make them wait longer.
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

// collectorPercent returns the percentage for a number of live bytes.
func collectorPercent(live uint64) int {
	return max(gcPercent, int(100*leastGarbage/max(live, leastGarbage/4)))
}
