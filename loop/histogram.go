package loop

import (
	"sync/atomic"
	"time"
)

// durationBounds are the upper bounds of a Histogram's buckets.
var durationBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second,
}

// A Histogram counts durations by size. One event loop writes it, any goroutine
// may read it. It is not a prometheus.Histogram, which the canary uses: to record
// a duration takes 16 ns instead of 42, once for each broadcast and loop, and
// loop does not import Prometheus.
type Histogram struct {
	counts [len(durationBounds) + 1]atomic.Int64 // the last one has no bound
	sum    atomic.Int64                          // ns
}

func (h *Histogram) record(d time.Duration) {
	i := 0
	for i < len(durationBounds) && d > durationBounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Durations is a snapshot of Histograms, summed over the loops.
type Durations struct {
	counts [len(durationBounds) + 1]int64
	Count  int64
	Sum    time.Duration
}

func (d *Durations) add(h *Histogram) {
	for i := range h.counts {
		n := h.counts[i].Load()
		d.counts[i] += n
		d.Count += n
	}
	d.Sum += time.Duration(h.sum.Load())
}

// Buckets returns how many durations were up to each bound, in seconds.
func (d *Durations) Buckets() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(durationBounds))
	var n int64
	for i, bound := range durationBounds {
		n += d.counts[i]
		buckets[bound.Seconds()] = uint64(n)
	}
	return buckets
}
