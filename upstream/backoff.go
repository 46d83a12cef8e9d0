package upstream

import (
	"context"
	"math/rand/v2"
	"time"
)

// Waiting times when nothing else is configured.
const (
	defaultRetryMin = 100 * time.Millisecond
	defaultRetryMax = 15 * time.Second
)

// A backoff says how long to wait before trying again: twice as long each
// time, and between half and all of that, so that nodes which have lost the
// same broker do not come back in step. Owned by one goroutine.
type backoff struct {
	min, max time.Duration
	tries    int
}

func (b *backoff) next() time.Duration {
	d := b.max
	if b.tries < 32 && b.min<<b.tries < b.max {
		d = b.min << b.tries
	}
	b.tries++
	return d/2 + rand.N(d/2+1)
}

func (b *backoff) reset() { b.tries = 0 }

// pause waits; false means that ctx is over.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
