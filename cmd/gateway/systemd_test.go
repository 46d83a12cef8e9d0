package main

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The service manager's watchdog is notified at a regular interval, and not any more
// when the event loops have been stuck for half of its limit.
func TestWatchdogIsNotifiedOnlyWhileLoopsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 20 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var notified atomic.Int64
		var stuckSince atomic.Pointer[time.Time]
		go watchdog(ctx, limit, func(now time.Time) time.Duration {
			if since := stuckSince.Load(); since != nil {
				return now.Sub(*since)
			}
			return 0
		}, func() { notified.Add(1) })

		time.Sleep(limit + time.Millisecond)
		synctest.Wait()
		if n := notified.Swap(0); n != watchdogNotifications {
			t.Errorf("the watchdog was notified %d times in %v, want %d", n, limit, watchdogNotifications)
		}
		now := time.Now()
		stuckSince.Store(&now)
		time.Sleep(2 * limit)
		synctest.Wait()
		if n := notified.Load(); n != watchdogNotifications/2 { // in the first half of the limit
			t.Errorf("the watchdog was notified %d times while the loops hang, want %d", n, watchdogNotifications/2)
		}
	})
}
