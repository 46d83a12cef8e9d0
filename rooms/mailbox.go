package rooms

import (
	"context"
	"sync"
	"time"
)

// A mailbox is the one way into a shard from outside its event loop. Tasks and
// broadcasts are each first in, first out, whoever posts. Safe for concurrent
// use. gnet's own queues are not used for messages because they reorder once
// 1,024 are waiting.
type mailbox struct {
	limit int // broadcasts that may wait

	mu         sync.Mutex
	bell       func() // wakes the event loop; nil until there is one
	rung       bool   // and the loop has not come for the tasks since
	tasks      []func(now time.Time)
	spareTasks []func(now time.Time) // the slice drained last, to be filled again
	broadcasts []Broadcast
	head       int // index of the oldest broadcast

	space chan struct{} // has a token when broadcasts were taken out
}

func newMailbox(limit int) mailbox {
	return mailbox{limit: limit, space: make(chan struct{}, 1)}
}

// task has fn run on the event loop. Tasks are always taken: each belongs to a
// socket or to a caller that waits for it, which bounds them.
func (m *mailbox) task(fn func(now time.Time)) {
	m.mu.Lock()
	m.tasks = append(m.tasks, fn)
	m.unlockAndRing()
}

// broadcast queues b. It reports false when the box is full; space then has a
// token as soon as it is worth trying again.
func (m *mailbox) broadcast(b Broadcast) bool {
	m.mu.Lock()
	if len(m.broadcasts)-m.head >= m.limit {
		m.mu.Unlock()
		return false
	}
	m.broadcasts = append(m.broadcasts, b)
	m.unlockAndRing()
	return true
}

// wait queues b as soon as there is room for it.
func (m *mailbox) wait(ctx context.Context, b Broadcast) error {
	for !m.broadcast(b) {
		select {
		case <-m.space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// unlockAndRing rings, outside the lock, once for all letters that come before
// the loop does.
func (m *mailbox) unlockAndRing() {
	ring := !m.rung && m.bell != nil
	m.rung = m.rung || ring
	m.mu.Unlock()
	if ring {
		m.bell()
	}
}

// attach names the bell, and rings it in case something is waiting already.
func (m *mailbox) attach(bell func()) {
	m.mu.Lock()
	m.bell = bell
	m.unlockAndRing()
}

// takeTasks returns all tasks, and has the bell ring for what comes from here
// on. The tasks are valid until the next call.
func (m *mailbox) takeTasks() []func(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rung = false
	taken := m.tasks
	clear(m.spareTasks) // let go of what the last batch referred to
	m.tasks, m.spareTasks = m.spareTasks[:0], taken
	return taken
}

// takeBroadcasts appends waiting broadcasts to dst until their messages sum up
// to budget bytes, and reports what is left of the budget: zero when it was
// used up, and something may still wait.
func (m *mailbox) takeBroadcasts(dst []Broadcast, budget int) ([]Broadcast, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.head < len(m.broadcasts) && budget > 0 {
		b := &m.broadcasts[m.head]
		if b.Message != nil {
			budget -= b.Message.Size()
		}
		dst = append(dst, *b)
		*b = Broadcast{}
		m.head++
	}
	m.compact()
	if len(dst) > 0 {
		select {
		case m.space <- struct{}{}:
		default:
		}
	}
	return dst, max(budget, 0)
}

// compact moves what is waiting to the front once more than half of the slice
// is behind it, so that appending does not grow it for ever.
func (m *mailbox) compact() {
	if m.head*2 < len(m.broadcasts) {
		return
	}
	n := copy(m.broadcasts, m.broadcasts[m.head:])
	clear(m.broadcasts[n:])
	m.broadcasts, m.head = m.broadcasts[:n], 0
}

// waiting is the number of letters in the box.
func (m *mailbox) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.tasks) + len(m.broadcasts) - m.head
}
