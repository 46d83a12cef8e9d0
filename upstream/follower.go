package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// A handler handles the entries of a log. Its methods are called by the
// goroutine that follows the log.
type handler interface {
	// wait returns when the next entry can be handled. The error is ctx's.
	wait(ctx context.Context) error

	// take handles an entry; false means that ctx was over before it was
	// handled.
	take(ctx context.Context, e *eventlog.Entry) bool

	// skipped is called for an entry that cannot be decoded; false is as in
	// take.
	skipped(ctx context.Context, log string, p eventlog.Position) bool

	// missed is called for entries that were removed before they were read, and
	// anew if the log is another one from here on.
	missed(from, to eventlog.Position)
	anew(log string)

	// opened is called when the log was opened.
	opened(from eventlog.From)

	// begun is called when the entries from here on are of another log, behind
	// a position; unless known that is 0 because it is not known.
	begun(log string, behind eventlog.Position, known bool)

	// between is called between two entries. It returns a context to wait for
	// the next one with.
	between(ctx context.Context) context.Context
}

const (
	// failureLogEvery is the pause between log lines while the log is away.
	failureLogEvery = time.Minute

	// idleWait is how long to wait for entries when nothing else is due.
	idleWait = time.Minute
)

// A follower follows a log: an eventlog.Reader decides, the follower does it.
// Owned by the goroutine of run, except board.
type follower struct {
	what    string // for the gateway's log
	log     eventlog.Log
	handler handler
	reader  *eventlog.Reader
	logger  *slog.Logger
	board   board

	source  eventlog.Source // nil while there is none
	opening bool            // the log is to be opened at start
	start   eventlog.Start
	todo    []eventlog.Output
	logged  time.Time // when the last failure was
	fresh   bool      // the handler has not been told of this log
}

func newFollower(what string, c *Config, h handler) *follower {
	f := &follower{what: what, log: c.Log, handler: h, logger: c.Logger, board: newBoard(time.Now()), fresh: true}
	f.reader = eventlog.NewReader(eventlog.ReaderConfig{
		Window: c.Window, RetryMin: c.RetryMin, RetryMax: c.RetryMax, Seed: rand.Uint64(),
	})
	return f
}

// run follows the log until ctx is cancelled.
func (f *follower) run(ctx context.Context, at eventlog.Start) {
	f.step(ctx, eventlog.Input{Kind: eventlog.Begin, Start: at})
	for ctx.Err() == nil {
		awake := f.handler.between(ctx)
		switch {
		case f.opening:
			f.open(ctx)
		case f.source != nil:
			f.receive(ctx, awake)
		default:
			pause(awake, f.untilTick())
			f.step(ctx, eventlog.Input{Kind: eventlog.Tick})
		}
	}
	f.close()
}

// untilTick returns how long to wait for entries.
func (f *follower) untilTick() time.Duration {
	due := f.reader.Deadline()
	if due.IsZero() {
		return idleWait
	}
	return max(time.Until(due), 0)
}

// step passes an input to the reader, and does what it returns.
func (f *follower) step(ctx context.Context, in eventlog.Input) {
	in.Now = time.Now()
	f.todo = append(f.todo, f.reader.Step(&in)...)
	for i := 0; i < len(f.todo) && ctx.Err() == nil; i++ {
		if out := &f.todo[i]; out.Kind != eventlog.Hand {
			f.do(ctx, out)
		} else if f.handler.wait(ctx) == nil && f.handler.take(ctx, &out.Entry) {
			taken := eventlog.Input{Kind: eventlog.Taken, Now: time.Now()}
			f.todo = append(f.todo, f.reader.Step(&taken)...)
		}
	}
	clear(f.todo)
	f.todo = f.todo[:0]
}

// do does one output, except giving entries to the handler.
func (f *follower) do(ctx context.Context, out *eventlog.Output) {
	switch out.Kind {
	case eventlog.Open:
		f.close()
		f.opening, f.start = true, out.Start
	case eventlog.Credit:
		if f.source != nil {
			f.source.Taken(out.Position)
		}
	case eventlog.Skipped:
		f.handler.skipped(ctx, f.reader.Identity(), out.Position)
	case eventlog.Gap:
		f.handler.missed(out.From, out.Position)
	case eventlog.OtherLog:
		f.fresh = true
		f.handler.anew(out.Identity)
	}
}

func (f *follower) close() {
	if f.source != nil {
		f.source.Close()
		f.source = nil
	}
}

func (f *follower) open(ctx context.Context) {
	f.opening = false
	source, err := f.log.Open(ctx, f.start)
	if ctx.Err() != nil {
		if err == nil {
			source.Close()
		}
		return
	}
	if err != nil {
		f.failed(ctx, err)
		return
	}
	f.source = source
	info := source.Info()
	from := f.start.From
	f.step(ctx, eventlog.Input{Kind: eventlog.Opened, Info: info})
	f.handler.opened(from)
	if f.source == source {
		f.tell()
		number := f.board.connected(time.Now(), info.Identity)
		f.logger.Info("reading the log of the services' events", "for", f.what, "log", info.Identity,
			"from", fmt.Sprint(f.start.From), "position", f.reader.Last().String(), "connection", number)
	}
}

// tell tells the handler which log is read, if it does not know.
func (f *follower) tell() {
	if !f.fresh {
		return
	}
	f.fresh = false
	behind := f.reader.Last()
	f.handler.begun(f.reader.Identity(), behind, behind != 0 || f.start.From == eventlog.FromFirst)
}

// receive waits for the next entries from the log, until awake is over.
func (f *follower) receive(ctx, awake context.Context) {
	entries, err := f.source.Next(awake, f.untilTick())
	if err != nil {
		f.failed(ctx, err)
		return
	}
	source := f.source
	for i := range entries {
		if f.source != source {
			return // the reader wants another one
		}
		f.step(ctx, eventlog.Input{Kind: eventlog.Delivered, Entry: entries[i]})
	}
	if due := f.reader.Deadline(); !due.IsZero() && !time.Now().Before(due) {
		f.step(ctx, eventlog.Input{Kind: eventlog.Tick})
	}
}

// failed records that the log could not be opened, or that reading has ended.
func (f *follower) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	f.close()
	now := time.Now()
	attempts := f.board.lost(now, err)
	f.step(ctx, eventlog.Input{Kind: eventlog.Closed, Undecodable: errors.Is(err, eventlog.ErrUndecodable)})
	if attempts == 1 || now.Sub(f.logged) > failureLogEvery {
		f.logged = now
		f.logger.Warn("the log of the services' events cannot be read, trying again", "for", f.what,
			"error", err, "attempts", attempts)
	}
}

// pause waits for a time or until ctx is over.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
