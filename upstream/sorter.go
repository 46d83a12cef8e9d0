package upstream

import (
	"context"
	"log/slog"
	"sync"

	"github.com/hometrip/gateway/internal/backoff"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// Letters is the queue of dead letters: events that cannot be delivered, once
// for all nodes.
type Letters interface {
	// Lead waits until this node is the one that writes dead letters, and then
	// calls lead with a context that ends when it no longer is. It repeats that
	// until ctx is cancelled. done is the offset up to which the previous node
	// has written them; zero if none has.
	Lead(ctx context.Context, lead func(ctx context.Context, done eventlog.Offset))

	// PutAside returns when a letter is stored durably. A letter written twice
	// has the same id.
	PutAside(ctx context.Context, l eventlog.Letter) error

	// Done stores that all letters up to an offset have been written.
	Done(ctx context.Context, o eventlog.Offset) error
}

// A Sorter reads every event in the log and writes those that cannot be
// delivered to the dead letters. It reads the log on its own, on one node at a
// time, so nothing waits for it; the next node continues where the last one
// stopped. Run does the work; Trouble and PutAside may be called from any
// goroutine.
//
// It also reads what was published while no node ran. Orders that last are
// appended again, and so reach all nodes that run now.
type Sorter struct {
	config   Config
	letters  Letters
	chores   func(ctx context.Context) // other work for one node at a time; nil: none
	log      *slog.Logger
	sorting  *Sorting  // owned by Run
	follower *follower // of the last turn; owned by Run

	mu      sync.Mutex        // guards the following
	reading *follower         // nil: another node's turn
	trouble error             // why a letter cannot be written now
	total   int64             // letters written
	noted   eventlog.Position // the next turn begins after it
}

// NewSorter returns a sorter that Run starts. Rooms, Keep and Missed of the
// Config are not used. chores, which may be nil, is called at the beginning of
// each of this node's turns, in a goroutine of its own.
func NewSorter(c Config, letters Letters, chores func(ctx context.Context)) (*Sorter, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Sorter{config: c, letters: letters, chores: chores, log: c.Logger, sorting: NewSorting(c)}, nil
}

// Trouble returns why a dead letter cannot be written at the moment; nil if
// none waits.
func (s *Sorter) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// PutAside returns how many dead letters this node has written.
func (s *Sorter) PutAside() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Run reads the log whenever it is this node's turn, until ctx is cancelled.
func (s *Sorter) Run(ctx context.Context) {
	s.letters.Lead(ctx, func(ctx context.Context, done eventlog.Offset) {
		s.follower = newFollower("dead letters", &s.config, s)
		end := s.end(ctx)
		if done.Log == "" && end.Position > 0 && s.letters.Done(ctx, end) == nil {
			done = end // the next turn begins where this one ended
		}
		start, identity := s.sorting.Begin(done, end)
		s.follower.reader.Expect(identity)
		s.turn(s.follower)
		var chores sync.WaitGroup
		if s.chores != nil {
			chores.Go(func() { s.chores(ctx) })
		}
		s.follower.run(ctx, start)
		chores.Wait()
		s.turn(nil)
	})
}

// turn records that a turn has begun or, with nil, ended.
func (s *Sorter) turn(reading *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading, s.trouble = reading, nil
}

func (s *Sorter) set(trouble error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = trouble
}

// end returns the offset of the last entry in the log, zero if it cannot be
// read.
func (s *Sorter) end(ctx context.Context) eventlog.Offset {
	source, err := s.config.Log.Open(ctx, eventlog.Start{From: eventlog.FromNext, Window: 1})
	if err != nil {
		return eventlog.Offset{}
	}
	defer source.Close()
	info := source.Info()
	return eventlog.Offset{Log: info.Identity, Position: info.Behind}
}

func (s *Sorter) wait(ctx context.Context) error { return ctx.Err() }

// take writes an entry to the dead letters if it cannot be delivered.
func (s *Sorter) take(ctx context.Context, e *eventlog.Entry) bool {
	return s.do(ctx, s.sorting.Take(s.follower.reader.Identity(), e))
}

func (s *Sorter) skipped(ctx context.Context, log string, p eventlog.Position) bool {
	return s.do(ctx, s.sorting.Skipped(log, p))
}

// do does what the sorting requests for one entry.
func (s *Sorter) do(ctx context.Context, tasks []Task) bool {
	for i := range tasks {
		t := &tasks[i]
		switch t.Kind {
		case PutAside:
			if !s.putAside(ctx, t.Letter) {
				return false
			}
		case Repeat:
			if _, err := s.config.Log.Append(ctx, t.Entry)(); err != nil && ctx.Err() == nil {
				s.log.Warn("an order could not be appended again for nodes that were not running", "position", t.Position.String(), "error", err)
				return true // without Done: the next turn tries again
			}
		case Done:
			s.done(ctx, t.Position)
		}
	}
	return ctx.Err() == nil
}

// putAside writes the letter, and retries until it is stored. Later letters
// wait, and nothing else does.
func (s *Sorter) putAside(ctx context.Context, l eventlog.Letter) bool {
	retries := backoff.Backoff{Min: s.config.RetryMin, Max: s.config.RetryMax}
	for {
		err := s.letters.PutAside(ctx, l)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			break
		}
		if s.Trouble() == nil {
			s.log.Error("dead letters cannot be written, retrying", "position", l.Entry.Position.String(), "error", err)
		}
		s.set(err)
		pause(ctx, retries.Next())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble, s.total = nil, s.total+1
	return true
}

// done stores how far the sorter is. If that fails, the next node reads some
// entries again.
func (s *Sorter) done(ctx context.Context, p eventlog.Position) {
	if err := s.letters.Done(ctx, eventlog.Offset{Log: s.follower.reader.Identity(), Position: p}); err != nil && ctx.Err() == nil {
		s.log.Warn("the position of the dead letters could not be stored", "error", err)
	} else if err == nil {
		s.mu.Lock()
		s.noted = p
		s.mu.Unlock()
	}
}

func (s *Sorter) missed(from, to eventlog.Position) {
	s.log.Warn("events were removed from the log before they were checked for dead letters", "events", uint64(to-from+1))
}

func (s *Sorter) anew(string) {}

func (s *Sorter) opened(eventlog.From) {}

func (s *Sorter) begun(string, eventlog.Position, bool) {}

func (s *Sorter) between(ctx context.Context) context.Context { return ctx }
