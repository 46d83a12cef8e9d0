package rooms

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A mailbox is the queue through which tasks and broadcasts enter a shard from
// outside its event loop. Both are first in, first out. Safe for concurrent
// use. gnet's own queues are not used for messages, because they reorder once
// 1,024 are waiting.
type mailbox struct {
	limit int // broadcasts that may wait
	brake *brake

	mu         sync.Mutex
	bell       func() // wakes the event loop; nil until there is one
	rung       bool   // since the loop last took the tasks
	tasks      []func(now time.Time)
	spareTasks []func(now time.Time) // the slice drained last, to be filled again
	broadcasts []Broadcast
	head       int  // index of the oldest broadcast
	full       bool // has limit broadcasts or more
}

func newMailbox(limit int, b *brake) mailbox { return mailbox{limit: limit, brake: b} }

// task queues fn to run on the event loop. Tasks are never refused: each
// belongs to a socket or to a caller that waits for it, which limits their
// number.
func (m *mailbox) task(fn func(now time.Time)) {
	m.mu.Lock()
	m.tasks = append(m.tasks, fn)
	m.unlockAndRing()
}

// broadcast queues b. It returns false if the mailbox is full.
func (m *mailbox) broadcast(b Broadcast) bool {
	m.mu.Lock()
	if m.full {
		m.mu.Unlock()
		return false
	}
	m.append(b)
	m.unlockAndRing()
	return true
}

// add queues b even if the mailbox is full.
func (m *mailbox) add(b Broadcast) {
	m.mu.Lock()
	m.append(b)
	m.unlockAndRing()
}

func (m *mailbox) append(b Broadcast) {
	m.broadcasts = append(m.broadcasts, b)
	m.level()
}

// level notifies the brake when the mailbox becomes full, and when it no longer
// is.
func (m *mailbox) level() {
	if full := len(m.broadcasts)-m.head >= m.limit; full != m.full {
		m.full = full
		m.brake.turn(full)
	}
}

// unlockAndRing unlocks, and then rings the bell once for all messages that are
// queued before the loop takes them.
func (m *mailbox) unlockAndRing() {
	ring := !m.rung && m.bell != nil
	m.rung = m.rung || ring
	m.mu.Unlock()
	if ring {
		m.bell()
	}
}

// attach sets the bell, and rings it if something is waiting already.
func (m *mailbox) attach(bell func()) {
	m.mu.Lock()
	m.bell = bell
	m.unlockAndRing()
}

// takeTasks returns all tasks; the bell rings again for later ones. The tasks
// are the caller's, who clears each, until the next call.
func (m *mailbox) takeTasks() []func(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rung = false
	taken := m.tasks
	m.tasks, m.spareTasks = m.spareTasks[:0], taken
	return taken
}

// takeBroadcasts appends waiting broadcasts to dst until their messages add up
// to budget bytes, and returns the rest of the budget: zero if it was used up
// and more may wait.
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
	m.level()
	return dst, max(budget, 0)
}

// compact moves the waiting broadcasts to the front once more than half of the
// slice is used up, so that appending does not grow it without end.
func (m *mailbox) compact() {
	if m.head*2 < len(m.broadcasts) {
		return
	}
	n := copy(m.broadcasts, m.broadcasts[m.head:])
	clear(m.broadcasts[n:])
	m.broadcasts, m.head = m.broadcasts[:n], 0
}

// waiting returns the number of broadcasts in the mailbox.
func (m *mailbox) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.tasks) + len(m.broadcasts) - m.head
}

// empty reports whether no broadcast waits.
func (m *mailbox) empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.head == len(m.broadcasts)
}

// A brake blocks callers that deliver while a mailbox of the node is full. Safe
// for concurrent use.
type brake struct {
	full  atomic.Int32  // number of full mailboxes
	space chan struct{} // has a token when none is full
}

func newBrake() brake { return brake{space: make(chan struct{}, 1)} }

func (b *brake) turn(full bool) {
	if full {
		b.full.Add(1)
	} else if b.full.Add(-1) == 0 {
		b.signal()
	}
}

func (b *brake) signal() {
	select {
	case b.space <- struct{}{}:
	default:
	}
}

func (b *brake) wait(ctx context.Context) error {
	if b.full.Load() == 0 {
		return nil
	}
	for b.full.Load() > 0 {
		select {
		case <-b.space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.signal() // for another waiting caller
	return nil
}
