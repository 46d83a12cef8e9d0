package upstream

import (
	"slices"
	"sync"
)

// An ackTracker knows which deliveries of one AMQP channel can be acknowledged.
// RabbitMQ numbers them from 1 without gaps, and an acknowledgement is for all
// up to its number: so for the longest run from the start in which each is
// with its receivers or with the dead letters. Safe for concurrent use.
type ackTracker struct {
	wake chan struct{} // has a token when next has news

	mu     sync.Mutex // guards the following
	passed uint64     // all up to here are with their receivers, but those in held
	held   []uint64   // poison that is not among the dead letters yet; ascending
	acked  uint64
}

func newAckTracker() *ackTracker { return &ackTracker{wake: make(chan struct{}, 1)} }

// hold keeps a delivery from being acknowledged. Deliveries are held in their
// order and before they pass.
func (t *ackTracker) hold(tag uint64) {
	t.mu.Lock()
	t.held = append(t.held, tag)
	t.mu.Unlock()
}

// release lets a held delivery go.
func (t *ackTracker) release(tag uint64) {
	t.mu.Lock()
	if i, found := slices.BinarySearch(t.held, tag); found {
		t.held = slices.Delete(t.held, i, i+1)
	}
	t.mu.Unlock()
	t.ring()
}

// pass notes that everything up to tag is with its receivers.
func (t *ackTracker) pass(tag uint64) {
	t.mu.Lock()
	t.passed = max(t.passed, tag)
	t.mu.Unlock()
	t.ring()
}

func (t *ackTracker) ring() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// next returns up to which delivery to acknowledge, and how many that are; 0
// when there is nothing new.
func (t *ackTracker) next() (tag, count uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tag = t.passed
	if len(t.held) > 0 {
		tag = min(tag, t.held[0]-1)
	}
	if tag <= t.acked {
		return 0, 0
	}
	count = tag - t.acked
	t.acked = tag
	return tag, count
}
