package upstream

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Config says where events come from and where they go.
type Config struct {
	Addresses   []string // AMQP URLs of RabbitMQ's nodes, tried in this order
	Exchanges   []string // topic exchanges that services publish to
	QueuePrefix string   // of the queues' names
	Prefetch    int      // events of one queue on their way; 0: 500
	MaxBody     int      // bytes
	Table       *Table
	Rooms       Rooms
	Log         *slog.Logger

	RetryMin time.Duration // first pause before trying again; 0: 100 ms
	RetryMax time.Duration // longest one; 0: 15 s
}

const (
	defaultPrefetch = 500 // measured: 2,000 take 4 % more events a second, and mean four times the duplicates

	// stableAfter is how long a connection must have lasted for the next
	// attempt to come at once.
	stableAfter = 10 * time.Second

	// failureLogEvery is the pause between log lines while RabbitMQ is away.
	failureLogEvery = time.Minute
)

// A Consumer takes events from RabbitMQ and brings them to their rooms. Run
// does the work; Status and Totals may be called from anywhere.
type Consumer struct {
	config  Config
	log     *slog.Logger
	board   board
	count   counters
	letters *letterbox
	memory  map[*Route]*recent // each owned by its route's intake
	quiet   limiter            // for lines about poison

	quietTimestamps limiter

	warned map[string]bool // foreign queues the log has told of; owned by Run
}

// New returns a consumer that Run starts.
func New(c Config) (*Consumer, error) {
	if len(c.Addresses) == 0 || len(c.Exchanges) == 0 || c.QueuePrefix == "" || c.MaxBody <= 0 ||
		c.Table == nil || c.Rooms == nil || c.Log == nil {
		return nil, errors.New("upstream: want addresses, exchanges, a queue prefix, a limit on bodies, routes, rooms and a log")
	}
	if c.Prefetch == 0 {
		c.Prefetch = defaultPrefetch
	}
	if c.RetryMin == 0 {
		c.RetryMin = defaultRetryMin
	}
	if c.RetryMax == 0 {
		c.RetryMax = defaultRetryMax
	}
	consumer := &Consumer{config: c, log: c.Log, memory: make(map[*Route]*recent), warned: make(map[string]bool)}
	consumer.board.status = Status{Since: time.Now(), Host: hostOf(c.Addresses[0])}
	consumer.letters = newLetterbox(consumer)
	for _, r := range c.Table.Routes() {
		consumer.memory[r] = newRecent(recentPerPrefetch * c.Prefetch)
	}
	return consumer, nil
}

// Status returns the state of the connection.
func (c *Consumer) Status() Status { return c.board.snapshot() }

// Totals returns the counters.
func (c *Consumer) Totals() Totals { return c.count.totals() }

func (c *Consumer) backoff() backoff { return backoff{min: c.config.RetryMin, max: c.config.RetryMax} }

// Run consumes until ctx is cancelled, then acknowledges what it has delivered
// and returns. When the connection fails it makes another, for ever.
func (c *Consumer) Run(ctx context.Context) {
	letters := make(chan struct{})
	go func() { defer close(letters); c.letters.run(ctx) }()
	wait := c.backoff()
	var logged time.Time
	for ctx.Err() == nil {
		started := time.Now()
		progress, err := c.serve(ctx)
		if ctx.Err() != nil {
			break
		}
		now := time.Now()
		if progress || now.Sub(started) > stableAfter {
			wait.reset()
		}
		attempts := c.board.lost(now, err)
		pauseFor := wait.next()
		if attempts == 1 || now.Sub(logged) > failureLogEvery {
			logged = now
			c.log.Warn("no connection to RabbitMQ, trying again", "host", c.Status().Host, "error", err,
				"attempts", attempts, "pause", pauseFor.Round(time.Millisecond))
		}
		pause(ctx, pauseFor)
	}
	<-letters
}

// serve makes one connection and consumes until it ends. progress is whether
// an event was acknowledged over it.
func (c *Consumer) serve(ctx context.Context) (progress bool, err error) {
	l, err := c.connect(ctx)
	if err != nil {
		return false, err
	}
	acked := c.count.acked.Load()
	err = l.run(ctx, func() {
		number := c.board.connected(time.Now(), l.foreign)
		c.log.Info("connected to RabbitMQ", "host", l.host, "connection", number, "queues", len(l.intakes))
	})
	return c.count.acked.Load() > acked, err
}

// connect tries the addresses in turn, and returns a link to the first that
// works.
func (c *Consumer) connect(ctx context.Context) (*link, error) {
	var errs []error
	for _, address := range c.config.Addresses {
		c.board.trying(hostOf(address))
		l, err := c.open(ctx, address)
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// tryAgain calls do until it succeeds, with growing pauses; the error is
// ctx's.
func (c *Consumer) tryAgain(ctx context.Context, what string, do func() error) error {
	wait := c.backoff()
	for {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.count.retries.Add(1)
		if wait.tries == 0 {
			c.log.Warn(what+" failed, trying again; the events behind wait", "error", err)
		}
		if !pause(ctx, wait.next()) {
			return ctx.Err()
		}
	}
}
