package upstream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// A Fallback is a log for development: in memory until another log can be
// reached for the first time, and that one from then on. What was appended to
// the memory is read before the change. Safe for concurrent use.
type Fallback struct {
	main   eventlog.Log
	memory *eventlog.Memory
	log    *slog.Logger

	mu      sync.Mutex // guards the following
	found   bool       // main was reached
	looking bool       // a goroutine tries to reach it
	err     error      // of its last attempt
}

// lookEvery is the time between two attempts to reach the main log.
const lookEvery = time.Second

var errFound = errors.New("the log in memory is not needed any more")

// NewFallback returns a log that uses memory until main can be reached.
func NewFallback(main eventlog.Log, memory *eventlog.Memory, log *slog.Logger) *Fallback {
	return &Fallback{main: main, memory: memory, log: log}
}

// Missing returns why the main log is not used yet, nil if it is.
func (f *Fallback) Missing() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.found {
		return nil
	}
	return f.err
}

// Append implements eventlog.Log.
func (f *Fallback) Append(ctx context.Context, e eventlog.Entry) (wait func() (eventlog.Position, error)) {
	f.mu.Lock() // nothing gets into the memory after it was left
	if !f.found {
		defer f.mu.Unlock()
		return f.memory.Append(ctx, e)
	}
	f.mu.Unlock()
	return f.main.Append(ctx, e)
}

// Open implements eventlog.Log.
func (f *Fallback) Open(ctx context.Context, at eventlog.Start) (eventlog.Source, error) {
	if f.isFound() {
		return f.openMain(ctx, at)
	}
	s, err := f.openMain(ctx, at)
	if err == nil {
		f.find()
		return s, nil
	}
	if ctx.Err() != nil {
		return nil, err
	}
	f.look(ctx, err)
	memory, err := f.memory.Open(ctx, at)
	return &fallbackSource{Source: memory, f: f}, err
}

func (f *Fallback) isFound() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.found
}

func (f *Fallback) find() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.found = true
}

// openMain opens the main log. If this node changes from its memory, it does
// not read earlier events of the main log.
func (f *Fallback) openMain(ctx context.Context, at eventlog.Start) (eventlog.Source, error) {
	s, err := f.main.Open(ctx, at)
	if err != nil {
		return nil, err
	}
	return olderSource{s}, nil
}

// look starts a goroutine that tries to reach the main log, unless there is
// one.
func (f *Fallback) look(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err = err; f.looking {
		return
	}
	f.looking = true
	f.log.Warn("service events are kept in the memory of this process until their log can be reached", "error", err)
	go func() {
		for ctx.Err() == nil {
			pause(ctx, lookEvery)
			s, err := f.main.Open(ctx, eventlog.Start{From: eventlog.FromNext, Window: 1})
			if err == nil {
				s.Close()
				f.find()
				return
			}
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
		}
	}()
}

// An olderSource is a source whose log existed before.
type olderSource struct{ eventlog.Source }

func (s olderSource) Info() eventlog.Info {
	info := s.Source.Info()
	info.Older = true
	return info
}

// A fallbackSource reads the memory until it is empty and the main log can be
// reached.
type fallbackSource struct {
	eventlog.Source
	f *Fallback
}

func (s *fallbackSource) Next(ctx context.Context, wait time.Duration) ([]eventlog.Entry, error) {
	found := s.f.isFound() // before the look into the memory
	entries, err := s.Source.Next(ctx, min(wait, lookEvery))
	if found && len(entries) == 0 && err == nil {
		return nil, errFound
	}
	return entries, err
}
