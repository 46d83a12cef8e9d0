package loglimit

import (
	"sync"
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
	for range 8 {
		all.Go(func() {
			for range 100 {
				l.Allow(now, time.Second)
			}
		})
	}
	all.Wait()
	if skipped, ok := l.Allow(now.Add(time.Second), time.Second); !ok || skipped != 799 {
		t.Errorf("%v with %d skipped, want all but one of 800", ok, skipped)
	}
}
