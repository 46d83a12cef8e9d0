package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// Config says where events come from and where they go.
type Config struct {
	Log     eventlog.Log
	Window  int // entries on their way; 0: 500
	MaxBody int // bytes
	Table   *Table
	Rooms   Rooms
	Keep    func(rooms.Order) // keeps an order that lasts, for nodes that start later; nil: nobody does
	Missed  func()            // entries were lost: the clients of this node have missed events
	Tail    int               // bytes of the log in memory for clients that come back; 0: none do
	Logger  *slog.Logger

	RetryMin time.Duration // first pause before trying again; 0: 100 ms
	RetryMax time.Duration // longest one; 0: 15 s
}

const (
	defaultWindow   = 500
	defaultRetryMin = 100 * time.Millisecond
	defaultRetryMax = 15 * time.Second

	// failureLogEvery is the pause between log lines while the log is away.
	failureLogEvery = time.Minute

	// idleWait is how long to wait for entries when nothing else is due.
	idleWait = time.Minute
)

// A Consumer follows the log and brings its events to the rooms of this node.
// What to do it asks an eventlog.Reader; it does it. Run does the work; Status
// and Totals may be called from anywhere.
type Consumer struct {
	config Config
	log    *slog.Logger
	board  board
	count  counters
	quiet  limiter // for lines about poison

	history *history // nil: nobody comes back to events
	waiting atomic.Pointer[waiting]

	// Owned by Run.
	reader  *eventlog.Reader
	intake  *intake
	source  eventlog.Source // nil while there is none
	opening bool            // the log is to be opened at start
	start   eventlog.Start
	todo    []eventlog.Output
	logged  time.Time // when the last failure was
	fresh   bool      // the rooms do not know of this log yet
}

// New returns a consumer that Run starts.
func New(c Config) (*Consumer, error) {
	if c.Log == nil || c.MaxBody <= 0 || c.Table == nil || c.Rooms == nil || c.Logger == nil {
		return nil, errors.New("upstream: want a log, a limit on bodies, routes, rooms and a logger")
	}
	orDefault(&c.Window, defaultWindow)
	orDefault(&c.RetryMin, defaultRetryMin)
	orDefault(&c.RetryMax, defaultRetryMax)
	consumer := &Consumer{config: c, log: c.Logger}
	consumer.board.status.Since = time.Now()
	consumer.intake = newIntake(&c, &consumer.count)
	consumer.fresh = true
	if c.Tail > 0 {
		consumer.history = newHistory(&c)
		consumer.intake.history = consumer.history
	}
	consumer.reader = eventlog.NewReader(eventlog.ReaderConfig{
		Window: c.Window, RetryMin: c.RetryMin, RetryMax: c.RetryMax, Seed: rand.Uint64(),
	})
	return consumer, nil
}

func orDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// Status returns the state of the reading.
func (c *Consumer) Status() Status {
	s := c.board.snapshot()
	if l, ok := c.config.Log.(interface{ Host() string }); ok {
		s.Host = l.Host()
	}
	if l, ok := c.config.Log.(interface{ Foreign() []string }); ok {
		s.Foreign = l.Foreign()
	}
	return s
}

// Totals returns the counters.
func (c *Consumer) Totals() Totals { return c.count.totals() }

// Run follows the log until ctx is cancelled.
func (c *Consumer) Run(ctx context.Context) {
	var readers sync.WaitGroup
	if c.history != nil {
		for range historyReaders {
			readers.Go(func() { c.history.run(ctx) })
		}
		readers.Go(func() { c.ring(ctx) })
	}
	c.step(ctx, eventlog.Input{Kind: eventlog.Begin, Start: eventlog.Start{From: eventlog.FromNext}})
	for ctx.Err() == nil {
		awake := c.awake(ctx)
		if c.history != nil {
			c.history.stamp()
		}
		switch {
		case c.opening:
			c.open(ctx)
		case c.source != nil:
			c.receive(ctx, awake)
		default:
			pause(awake, c.untilTick())
			c.step(ctx, eventlog.Input{Kind: eventlog.Tick})
		}
	}
	c.close()
	readers.Wait()
}

// A waiting is what the goroutine that follows the log waits with: it ends when
// somebody has a question.
type waiting struct {
	ctx context.Context
	end context.CancelFunc
}

// awake returns a context to wait with, which ends when a question comes.
func (c *Consumer) awake(ctx context.Context) context.Context {
	if c.history == nil {
		return ctx
	}
	if w := c.waiting.Load(); w != nil && w.ctx.Err() == nil {
		return w.ctx
	}
	w := &waiting{}
	w.ctx, w.end = context.WithCancel(ctx)
	c.waiting.Store(w)
	return w.ctx
}

// ring is the goroutine that ends the waiting when a question comes.
func (c *Consumer) ring(ctx context.Context) {
	for {
		select {
		case <-c.history.bell:
			if w := c.waiting.Load(); w != nil {
				w.end()
			}
		case <-ctx.Done():
			return
		}
	}
}

// untilTick is how long to wait for entries.
func (c *Consumer) untilTick() time.Duration {
	due := c.reader.Deadline()
	if due.IsZero() {
		return idleWait
	}
	return max(time.Until(due), 0)
}

// step tells the reader what has happened, and does what is to be done.
func (c *Consumer) step(ctx context.Context, in eventlog.Input) {
	in.Now = time.Now()
	c.todo = append(c.todo, c.reader.Step(&in)...)
	for i := 0; i < len(c.todo) && ctx.Err() == nil; i++ {
		if out := &c.todo[i]; out.Kind == eventlog.Hand {
			if c.take(ctx, &out.Entry) {
				taken := eventlog.Input{Kind: eventlog.Taken, Now: time.Now()}
				c.todo = append(c.todo, c.reader.Step(&taken)...)
			}
		} else {
			c.do(out)
		}
	}
	clear(c.todo)
	c.todo = c.todo[:0]
}

// take hands an entry to the rooms as soon as they can take it; false means
// that ctx is over.
func (c *Consumer) take(ctx context.Context, e *eventlog.Entry) bool {
	if c.config.Rooms.Wait(ctx) != nil {
		return false
	}
	if bad := asPoison(c.intake.take(e, time.Now())); bad != nil {
		c.reject(e.Position, e.Key, bad)
	}
	return true
}

// do does everything but handing over.
func (c *Consumer) do(out *eventlog.Output) {
	switch out.Kind {
	case eventlog.Open:
		c.close()
		c.opening, c.start = true, out.Start
	case eventlog.Credit:
		if c.source != nil {
			c.source.Taken(out.Position)
		}
	case eventlog.Skipped:
		c.reject(out.Position, "", &Poison{ReasonUndecodable, "its headers cannot be read"})
	case eventlog.Gap:
		c.missed(out.From, out.Position)
	case eventlog.OtherLog:
		c.count.logs.Add(1)
		c.intake.duplicates.Reset()
		c.fresh = true
		c.log.Warn("the log of the services' events is another one than before: positions begin anew, "+
			"and clients that were away cannot recover what they have missed", "log", out.Identity)
	}
}

// missed handles entries that were lost before they were read.
func (c *Consumer) missed(from, to eventlog.Position) {
	c.config.Rooms.Gap()
	if c.history != nil {
		c.history.gap(to)
	}
	c.count.gaps.Add(1)
	c.count.missed.Add(int64(to - from + 1))
	c.log.Error("events were removed from the log before this node has read them: its clients have to connect anew",
		"from", from.String(), "to", to.String(), "events", uint64(to-from+1))
	if c.config.Missed != nil {
		c.config.Missed()
	}
}

func (c *Consumer) close() {
	if c.source != nil {
		c.source.Close()
		c.source = nil
	}
}

func (c *Consumer) open(ctx context.Context) {
	c.opening = false
	source, err := c.config.Log.Open(ctx, c.start)
	if ctx.Err() != nil {
		if err == nil {
			source.Close()
		}
		return
	}
	if err != nil {
		c.failed(ctx, err)
		return
	}
	c.source = source
	info := source.Info()
	c.step(ctx, eventlog.Input{Kind: eventlog.Opened, Info: info})
	if c.fresh && c.source == source {
		c.begin()
	}
	if c.source == source {
		number := c.board.connected(time.Now(), info.Identity)
		c.log.Info("reading the log of the services' events", "host", c.Status().Host, "log", info.Identity,
			"from", fmt.Sprint(c.start.From), "position", c.reader.Last().String(), "connection", number)
	}
}

// begin tells the rooms which log it is that is read now, and from where.
func (c *Consumer) begin() {
	c.fresh = false
	behind := c.reader.Last()
	c.config.Rooms.Anew(c.reader.Identity(), uint64(behind))
	if c.history != nil {
		c.history.begin(c.reader.Identity(), behind, behind != 0 || c.start.From == eventlog.FromFirst)
	}
}

// receive takes what the log sends next. It waits until awake is over.
func (c *Consumer) receive(ctx, awake context.Context) {
	entries, err := c.source.Next(awake, c.untilTick())
	if err != nil {
		c.failed(ctx, err)
		return
	}
	source := c.source
	for i := range entries {
		if c.source != source {
			return // the reader wants another one
		}
		c.step(ctx, eventlog.Input{Kind: eventlog.Delivered, Entry: entries[i]})
	}
	if due := c.reader.Deadline(); !due.IsZero() && !time.Now().Before(due) {
		c.step(ctx, eventlog.Input{Kind: eventlog.Tick})
	}
}

// failed tells that the log could not be opened, or that the reading has ended.
func (c *Consumer) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	c.close()
	now := time.Now()
	attempts := c.board.lost(now, err)
	c.step(ctx, eventlog.Input{Kind: eventlog.Closed, Undecodable: errors.Is(err, eventlog.ErrUndecodable)})
	if attempts == 1 || now.Sub(c.logged) > failureLogEvery {
		c.logged = now
		c.log.Warn("the log of the services' events cannot be read, trying again", "host", c.Status().Host,
			"error", err, "attempts", attempts)
	}
}

// pause waits; it ends early when ctx does.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
