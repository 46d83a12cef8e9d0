package upstream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/internal/loglimit"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/routes"
)

// Config is the configuration of a Consumer.
type Config struct {
	Log     eventlog.Log
	Window  int // entries on their way; 0: 500
	MaxBody int // bytes
	Table   *routes.Table
	Rooms   Rooms
	Keep    func(rooms.Order) // stores an order that lasts, for nodes that start later; nil: orders are not stored

	// Orders reads orders again from where they are stored, because some may
	// not have been read from the log; nil: they are not stored.
	Orders func()

	// Tell passes an order on to servers that do not read the log. Every node
	// calls it, with the order's position; nil: there are no such servers.
	Tell   func(rooms.Order, eventlog.Position)
	Missed func() // entries were lost: the clients of this node have missed events
	Tail   int    // bytes of the log in memory for clients that come back; 0: clients cannot recover sessions
	Logger *slog.Logger

	RetryMin time.Duration // first pause before trying again; 0: 100 ms
	RetryMax time.Duration // longest one; 0: 500 ms
}

const (
	defaultWindow   = 500
	defaultRetryMin = 100 * time.Millisecond
	defaultRetryMax = 500 * time.Millisecond
)

// check returns an error if something required is missing, and sets defaults.
func (c *Config) check() error {
	if c.Log == nil || c.MaxBody <= 0 || c.Table == nil || c.Logger == nil {
		return errors.New("upstream: want a log, a limit on bodies, routes and a logger")
	}
	orDefault(&c.Window, defaultWindow)
	orDefault(&c.RetryMin, defaultRetryMin)
	orDefault(&c.RetryMax, defaultRetryMax)
	return nil
}

func orDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// A Consumer follows the log and delivers its events to the rooms of this node.
// Run does the work; Status and Totals may be called from any goroutine.
type Consumer struct {
	config      Config
	log         *slog.Logger
	follower    *follower
	intake      *intake // owned by Run
	count       counters
	poisonLines loglimit.Limiter

	history *history // nil: clients cannot recover sessions
	waiting atomic.Pointer[waiting]

	turn  chan struct{} // has a token while an entry is with the rooms, or from Hold to Release
	start eventlog.Start
	at    place
}

// New returns a consumer that Run starts.
func New(c Config) (*Consumer, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Rooms == nil {
		return nil, errors.New("upstream: want rooms")
	}
	consumer := &Consumer{config: c, log: c.Logger, turn: make(chan struct{}, 1), start: eventlog.Start{From: eventlog.FromNext}}
	consumer.intake = newIntake(&c, &consumer.count)
	if c.Tail > 0 {
		consumer.history = newHistory(&c)
		consumer.history.listen()
		consumer.intake.history = consumer.history
	}
	consumer.follower = newFollower("the rooms", &c, consumer)
	return consumer, nil
}

// Status returns the state of reading.
func (c *Consumer) Status() Status {
	s := c.follower.board.snapshot()
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

// Tried is closed after the first attempt to open the log, and Begun after the
// first success. Events published before that are not read.
func (c *Consumer) Tried() <-chan struct{} { return c.follower.board.tried }

// Begun is described at Tried.
func (c *Consumer) Begun() <-chan struct{} { return c.follower.board.begun }

// Run follows the log until ctx is cancelled.
func (c *Consumer) Run(ctx context.Context) {
	var readers sync.WaitGroup
	if c.history != nil {
		for range historyReaders {
			readers.Go(func() { c.history.run(ctx) })
		}
		readers.Go(func() { c.ring(ctx) })
	}
	c.follower.run(ctx, c.start)
	readers.Wait()
}

// A waiting is the context with which the goroutine that follows the log waits.
// It ends when a question arrives.
type waiting struct {
	ctx context.Context
	end context.CancelFunc
}

// between answers the waiting questions with how far the log was delivered. It
// returns a context to wait with, which ends when another question arrives.
func (c *Consumer) between(ctx context.Context) context.Context {
	if c.history == nil {
		return ctx
	}
	w := c.waiting.Load()
	if w == nil || w.ctx.Err() != nil {
		w = &waiting{}
		w.ctx, w.end = context.WithCancel(ctx)
		c.waiting.Store(w)
	}
	c.history.stamp(time.Now()) // behind the store: a later question ends the waiting
	return w.ctx
}

// ring is the goroutine that ends the waiting when a question arrives.
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

func (c *Consumer) wait(ctx context.Context) error { return c.config.Rooms.Wait(ctx) }

// take delivers an entry to the rooms.
func (c *Consumer) take(ctx context.Context, e *eventlog.Entry) bool {
	if c.Hold(ctx) != nil {
		return false
	}
	defer c.Release()
	c.at.pass(e.Position)
	if bad := asPoison(c.intake.take(e, time.Now())); bad != nil {
		c.reject(e.Position, e.Key, bad)
	}
	return true
}

func (c *Consumer) skipped(_ context.Context, _ string, p eventlog.Position) bool {
	c.reject(p, "", errUndecodable)
	return true
}

// errUndecodable is the error of an entry that was skipped because it cannot be
// decoded.
var errUndecodable = &routes.Poison{Reason: routes.ReasonUndecodable, Detail: "its headers cannot be read"}

func (c *Consumer) missed(from, to eventlog.Position) {
	c.config.Rooms.Gap()
	if c.history != nil {
		c.history.gap(to)
	}
	c.count.gaps.Add(1)
	c.count.missed.Add(int64(to - from + 1))
	c.log.Error("events were removed from the log before this node had read them; its clients are told to reconnect",
		"from", from.String(), "to", to.String(), "events", uint64(to-from+1))
	if c.config.Missed != nil {
		c.config.Missed()
	}
	c.readOrders()
}

// opened records that reading has begun or continues. Events before the end of
// the log, also those published while opening was being tried, are not read.
func (c *Consumer) opened(from eventlog.From) {
	if from == eventlog.FromNext {
		c.readOrders()
	}
}

// readOrders reads orders again that this node may not have read from the log.
func (c *Consumer) readOrders() {
	if c.config.Orders != nil {
		c.config.Orders()
	}
}

func (c *Consumer) anew(log string) {
	c.count.logs.Add(1)
	_ = c.Hold(context.Background())
	c.intake.reset()
	c.Release()
	c.readOrders()
	c.log.Warn("the event log was created anew: positions start again, "+
		"and clients that were disconnected cannot recover what they missed", "log", log)
}

// begun tells the rooms which log is read from here on.
func (c *Consumer) begun(log string, behind eventlog.Position, known bool) {
	c.config.Rooms.Anew(log, uint64(behind))
	c.at.set(log, behind)
	if c.history != nil {
		c.history.begin(log, behind, known)
	}
}

// poisonLogEvery is the shortest pause between two log lines about poison.
const poisonLogEvery = time.Second

// reject counts an event that cannot be delivered, and logs it from time to
// time.
func (c *Consumer) reject(position eventlog.Position, key string, bad *routes.Poison) {
	c.count.poison[bad.Reason].Add(1)
	if skipped, ok := c.poisonLines.Allow(time.Now(), poisonLogEvery); ok {
		c.log.Warn("an event cannot be delivered", "position", position.String(), "key", key,
			"reason", bad.Reason.String(), "detail", bad.Detail, "notLogged", skipped)
	}
}
