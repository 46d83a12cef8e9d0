package upstream

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// A Choice is the log in RabbitMQ or, if RabbitMQ has no streams, another log.
// It is decided when the log is opened, once for the life of the process. Safe
// for concurrent use.
type Choice struct {
	main, other eventlog.Log
	log         *slog.Logger
	instead     chan struct{} // closed when other was chosen

	mu     sync.Mutex   // guards the following
	chosen eventlog.Log // nil: not decided yet
}

// NewChoice returns a choice between main and other.
func NewChoice(main, other eventlog.Log, log *slog.Logger) *Choice {
	return &Choice{main: main, other: other, log: log, instead: make(chan struct{})}
}

// Instead is closed when the other log was chosen.
func (c *Choice) Instead() <-chan struct{} { return c.instead }

// Other reports whether the other log was chosen.
func (c *Choice) Other() bool {
	select {
	case <-c.instead:
		return true
	default:
		return false
	}
}

// Open implements eventlog.Log.
func (c *Choice) Open(ctx context.Context, at eventlog.Start) (eventlog.Source, error) {
	if l := c.made(); l != nil {
		return l.Open(ctx, at)
	}
	s, err := c.main.Open(ctx, at)
	switch {
	case err == nil:
		if c.choose(c.main) == c.main {
			return s, nil
		}
		s.Close()
	case !errors.Is(err, eventlog.ErrNoLog):
		return nil, err
	case c.choose(c.other) == c.other:
		c.log.Warn("RabbitMQ has no streams: the log of the services' events is in Redis", "reason", err)
	}
	return c.made().Open(ctx, at)
}

// Append implements eventlog.Log. Before the decision it tries the main log,
// and fails if that one cannot be reached.
func (c *Choice) Append(ctx context.Context, e eventlog.Entry) (wait func() (eventlog.Position, error)) {
	if l := c.made(); l != nil {
		return l.Append(ctx, e)
	}
	return c.main.Append(ctx, e)
}

func (c *Choice) made() eventlog.Log {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.chosen
}

// choose decides for l unless it is decided already, and returns the chosen
// log.
func (c *Choice) choose(l eventlog.Log) eventlog.Log {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chosen == nil {
		if c.chosen = l; l == c.other {
			close(c.instead)
		}
	}
	return c.chosen
}
