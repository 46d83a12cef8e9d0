package eventlog

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"
)

// A Memory is a log in the memory of the process, for a single node and for
// development. Its entries are lost when the process ends. Safe for concurrent
// use.
type Memory struct {
	identity string

	mu      sync.Mutex // guards the following
	ring    *Ring
	last    Position
	changed chan struct{} // closed when an entry is added
}

// NewMemory returns an empty log that keeps up to limit bytes.
func NewMemory(limit int) *Memory {
	return &Memory{identity: NewIdentity(), ring: NewRing(limit), changed: make(chan struct{})}
}

// identityLen is the number of characters of an identity. It makes it unlikely
// that two logs get the same one.
const identityLen = 5

// NewIdentity returns a random identity for a log.
func NewIdentity() string { return strings.ToLower(rand.Text()[:identityLen]) }

// Append implements Log. It never fails.
func (m *Memory) Append(_ context.Context, e Entry) (wait func() (Position, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	e.Position = m.last
	m.ring.Add(e)
	close(m.changed)
	m.changed = make(chan struct{})
	return func() (Position, error) { return e.Position, nil }
}

// Kept returns the positions of the oldest and the newest entry, 0 if there is
// none, and the bytes of all entries.
func (m *Memory) Kept() (first, last Position, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ring.First(), m.ring.Last(), m.ring.Bytes()
}

// Contents returns the log, for another process to continue with. The entries
// are read-only.
func (m *Memory) Contents() (identity string, last Position, entries []Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.identity, m.last, m.ring.From(0, len(m.ring.entries), nil)
}

// Restore gives an empty log the contents of another process's log.
func (m *Memory) Restore(identity string, last Position, entries []Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.identity, m.last = identity, last
	for _, e := range entries {
		m.ring.Add(e)
	}
}

// Open implements Log.
func (m *Memory) Open(_ context.Context, at Start) (Source, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &memorySource{log: m, window: max(at.Window, 1), info: Info{Identity: m.identity}}
	switch at.From {
	case FromNext:
		s.info.Behind, s.next = m.last, m.last+1
	case FromPosition:
		s.next = at.Position
	}
	return s, nil
}

// A memorySource reads a Memory. It implements Source.
type memorySource struct {
	log    *Memory
	info   Info
	next   Position
	window int
	batch  []Entry
}

func (s *memorySource) Info() Info     { return s.info }
func (s *memorySource) Taken(Position) {}
func (s *memorySource) Close()         {}

func (s *memorySource) Next(ctx context.Context, wait time.Duration) ([]Entry, error) {
	batch, changed := s.take()
	if len(batch) > 0 || wait <= 0 {
		return batch, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-changed:
		batch, _ = s.take()
	case <-timer.C:
	case <-ctx.Done():
	}
	return batch, nil
}

// take returns the entries that are there, and a channel that is closed when an
// entry is added.
func (s *memorySource) take() ([]Entry, <-chan struct{}) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	clear(s.batch)
	s.batch = s.log.ring.From(s.next, s.window, s.batch[:0])
	if n := len(s.batch); n > 0 {
		s.next = s.batch[n-1].Position + 1
	}
	return s.batch, s.log.changed
}
