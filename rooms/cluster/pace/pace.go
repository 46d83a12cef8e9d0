// Package pace limits how many commands of a node wait in Redis at once. It is a
// state machine without goroutines and I/O, and the time is an argument.
//
// All nodes share one Redis, which executes their commands one after the other.
// If each node had a fixed number of commands under way, many nodes would keep
// Redis so late that leases end, and what a node writes after that would keep it
// late. So the number depends on how long commands wait in Redis, as with the
// congestion window of TCP.
package pace

import "time"

const (
	// Together is how many commands all nodes may always have under way, and Least
	// how many each of them may. A reply is late as well if this process waits for a
	// processor. It must not write a few rooms at a time then.
	Together = 512
	Least    = 8

	// Late is how long commands may wait in Redis before fewer are sent. With half
	// of it, more are sent.
	Late = 100 * time.Millisecond

	// farthest limits the time that is taken for the round trip to Redis. If all
	// nodes connect while Redis is late, that delay looks like a round trip.
	farthest = 250 * time.Millisecond

	// memory is how long a window keeps its size while less than half of it is used.
	// What it grew to says nothing about a Redis that is busy since.
	memory = time.Second
)

// A Window is the number of commands that may be under way at once. It is not
// safe for concurrent use.
type Window struct {
	most     int
	least    int
	size     int
	underWay int
	narrowed time.Time // when it was last made smaller
	used     time.Time // when at least half of it was last under way

	// distance is the shortest time that a reply took, at most farthest: the round
	// trip. What a reply took longer, its commands waited in Redis.
	distance time.Duration
}

// NewWindow returns a window that begins with Least and grows up to most.
func NewWindow(most int) Window {
	return Window{most: most, least: Least, size: Least, distance: farthest}
}

// Share sets the number of nodes that have commands under way.
func (w *Window) Share(nodes int) {
	w.least = min(w.most, max(Least, Together/nodes))
	w.size = max(w.size, w.least)
}

// Reset makes the window as small as it begins, for a connection that may lead to
// another server. Commands that are under way stay counted.
func (w *Window) Reset() { w.size, w.distance = w.least, farthest }

// Free returns how many commands may be sent now.
func (w *Window) Free(now time.Time) int {
	if now.Sub(w.used) > memory && 2*w.underWay < w.size {
		w.size = max(w.least, 2*w.underWay)
	}
	return max(0, w.size-w.underWay)
}

// Late reports whether what was replied to now has waited in Redis for long.
func (w *Window) Late(sent, now time.Time) bool { return now.Sub(sent)-w.distance > Late }

// Sent records that n commands were sent.
func (w *Window) Sent(n int) { w.underWay += n }

// Done records the reply to n commands that were sent together. The window grows
// only while it is used. For the replies to what was sent before it was made
// smaller, it is not made smaller again.
func (w *Window) Done(n int, sent, now time.Time, failed bool) {
	used := 2*w.underWay >= w.size
	if used {
		w.used = now
	}
	w.underWay -= n
	if !failed {
		w.distance = min(w.distance, now.Sub(sent))
	}
	switch {
	case failed || w.Late(sent, now):
		if !sent.Before(w.narrowed) {
			w.size, w.narrowed = max(w.least, w.size/2), now
		}
	case used && now.Sub(sent)-w.distance < Late/2:
		w.size = min(w.most, w.size+max(1, n/4))
	}
}
