package loglimit

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestOneLineInAnInterval(t *testing.T) {
	var l Limiter
	now := time.Now()
	for i, row := range []struct {
		after   time.Duration
		ok      bool
		skipped int64
	}{{0, true, 0}, {0, false, 0}, {999 * time.Millisecond, false, 0}, {time.Second, true, 2}, {3 * time.Second, true, 0}} {
		if skipped, ok := l.Allow(now.Add(row.after), time.Second); ok != row.ok || skipped != row.skipped {
			t.Errorf("line %d: %v with %d skipped, want %v with %d", i, ok, skipped, row.ok, row.skipped)
		}
	}
}

func TestLinesOfManyGoroutinesAreCounted(t *testing.T) {
	var l Limiter
	now := time.Now()
	var all sync.WaitGroup
	var lines, skipped atomic.Int64
	for range 8 {
		all.Go(func() {
			for range 100 {
				if n, ok := l.Allow(now, time.Second); ok {
					lines.Add(1)
					skipped.Add(n)
				}
			}
		})
	}
	all.Wait()
	n, ok := l.Allow(now.Add(time.Second), time.Second)
	if skipped.Add(n); !ok || lines.Load() != 1 || skipped.Load() != 799 {
		t.Errorf("%v, %d lines, %d skipped, want one of 800", ok, lines.Load(), skipped.Load())
	}
}
