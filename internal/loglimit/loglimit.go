// Package loglimit limits how often log lines about the same thing are written.
package loglimit

import (
	"sync/atomic"
	"time"
)

// epoch is the monotonic time from which times are counted.
var epoch = time.Now()

// A Limiter lets one line through in an interval and counts those it holds
// back. The zero value lets the first line through. Safe for concurrent use; it
// does not block.
type Limiter struct {
	next    atomic.Int64 // ns since epoch: when a line may be written again; 0: now
	skipped atomic.Int64 // lines held back since the last one
}

// Allow reports whether a line may be written at now, and how many were held
// back since the last one. After a line, the next one may follow after interval.
func (l *Limiter) Allow(now time.Time, interval time.Duration) (skipped int64, ok bool) {
	at, next := int64(now.Sub(epoch)), l.next.Load()
	if next != 0 && at < next || !l.next.CompareAndSwap(next, at+int64(interval)) {
		l.skipped.Add(1)
		return 0, false
	}
	return l.skipped.Swap(0), true
}
