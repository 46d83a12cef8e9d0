package main

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdogIsFedOnlyWhileLoopsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 20 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var fed atomic.Int64
		var stuckSince atomic.Pointer[time.Time]
		go watchdog(ctx, limit, func(now time.Time) time.Duration {
			if since := stuckSince.Load(); since != nil {
				return now.Sub(*since)
			}
			return 0
		}, func() { fed.Add(1) })

		time.Sleep(limit + time.Millisecond)
		synctest.Wait()
		if n := fed.Swap(0); n != watchdogNotifications {
			t.Errorf("fed %d times in %v, want %d", n, limit, watchdogNotifications)
		}
		now := time.Now()
		stuckSince.Store(&now)
		time.Sleep(2 * limit)
		synctest.Wait()
		if n := fed.Load(); n != watchdogNotifications/2 { // in the first half of the limit
			t.Errorf("fed %d times with loops that hang, want %d", n, watchdogNotifications/2)
		}
	})
}
