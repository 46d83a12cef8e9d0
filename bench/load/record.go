package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	maxLatency  = 120 * time.Second
	giveUpAfter = 10 * time.Second // without a byte from anyone
)

// recorder collects latencies in microseconds, three digits exact.
type recorder struct{ h *hdrhistogram.Histogram }

func newRecorder() recorder {
	return recorder{hdrhistogram.New(1, maxLatency.Microseconds(), 3)}
}

func (r recorder) add(ns int64) {
	_ = r.h.RecordValue(min(max(ns/1000, 1), maxLatency.Microseconds()))
}
