package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/rueidis"
)

// Values of Config.Policy.
const (
	Open    = "open"
	Claims  = "claims"
	Webhook = "webhook"
	Redis   = "redis"
)

// A Config says who may be in which room.
type Config struct {
	Policy string // Open, Claims, Webhook or Redis

	// OwnNotifications keeps everybody out of notification rooms but the user
	// whose id the room's is.
	OwnNotifications bool

	Concurrency int // questions decided at a time; 0: 32

	// Of Webhook.
	URL, Token string        // Token: "" for none
	Timeout    time.Duration // for one answer
	TTL        time.Duration // that an answer is good for; 0: answers are not kept

	// Of Redis.
	Prefix  string // of the sets' keys, which the room's name follows
	Connect func(invalidated func([]rueidis.RedisMessage)) (rueidis.Client, error)

	Log *slog.Logger
}

const defaultConcurrency = 32

// New returns the gate for a policy, nil when everybody may be everywhere.
// Nothing is asked before Start.
func New(c Config) (*Gate, error) {
	if c.Concurrency == 0 {
		c.Concurrency = defaultConcurrency
	}
	g := &Gate{own: c.OwnNotifications, workers: c.Concurrency}
	switch c.Policy {
	case Open:
		if !g.own {
			return nil, nil
		}
		g.policy = open{}
	case Claims:
		g.policy = claims{}
	case Webhook:
		if c.URL == "" || c.Timeout <= 0 {
			return nil, errors.New("authz: the webhook policy wants a URL and a timeout")
		}
		g.policy = newWebhook(c)
	case Redis:
		if c.Connect == nil {
			return nil, errors.New("authz: the redis policy wants Redis")
		}
		g.policy = newSets(c)
	default:
		return nil, fmt.Errorf("authz: policy %q, want %s, %s, %s or %s", c.Policy, Open, Claims, Webhook, Redis)
	}
	return g, nil
}

// Start has the gate answer for these rooms, until Close.
func (g *Gate) Start(members Members) {
	g.lines = newLines(g.workers)
	if p, ok := g.policy.(interface {
		run(context.Context, Members)
	}); ok {
		g.lines.done.Go(func() { p.run(g.lines.ctx, members) })
	}
}

// Close ends what Start has begun. Who waits for an answer gets none.
func (g *Gate) Close() { g.lines.close() }
