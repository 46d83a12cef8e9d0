// Package backoff computes how long to wait between attempts at something that
// fails. It has no clock and no randomness, so that state machines can use it.
package backoff

import "time"

// A Backoff computes the pauses between attempts at one thing: Min after the
// first failure, then twice the last pause, at most Max. Owned by one
// goroutine.
type Backoff struct {
	Min, Max time.Duration

	failures int // in a row
}

// Next returns the pause after another failure.
func (b *Backoff) Next() time.Duration {
	b.failures++
	return Pause(b.Min, b.Max, b.failures)
}

// Reset is called after a success: the next pause is Min.
func (b *Backoff) Reset() { b.failures = 0 }

// Pause returns the pause after that many failures in a row, at least one:
// shortest after the first, twice that after the second, at most longest.
func Pause(shortest, longest time.Duration, failures int) time.Duration {
	for ; failures > 1 && shortest < longest; failures-- {
		shortest *= 2
	}
	return min(shortest, longest)
}
