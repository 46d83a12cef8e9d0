package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/fairpool"
)

// Values of Config.Policy.
const (
	Open    = "open"
	Claims  = "claims"
	Webhook = "webhook"
	Redis   = "redis"
)

// A Config is the configuration of a Gate.
type Config struct {
	Policy string // Open, Claims, Webhook or Redis

	// OwnNotifications allows a notification room only to the user whose id it
	// has.
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

const (
	defaultConcurrency = 32

	// userShare limits one user's questions to one part in userShare of the
	// concurrency, so that slow answers about one user do not delay others.
	userShare = 4

	// maxWaiting limits the questions that wait, in bytes: some 40,000.
	maxWaiting = 16 << 20

	// waitingShare lets one user have some 1,700 of them: a client that comes
	// back asks for all its rooms at once.
	waitingShare = 16
)

// New returns the gate of a policy, nil if every user may be in every room.
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

// Start connects the gate with the rooms of this node, until Close.
func (g *Gate) Start(members Members) {
	g.pool = fairpool.New[string](fairpool.Config{
		Workers: g.workers, Bytes: maxWaiting, Share: waitingShare, Running: max(1, g.workers/userShare),
	})
	ctx, end := context.WithCancel(context.Background())
	g.end = end
	if p, ok := g.policy.(interface {
		run(context.Context, Members)
	}); ok {
		g.background.Go(func() { p.run(ctx, members) })
	}
}

// Close stops the gate. Questions that wait get an error.
func (g *Gate) Close() {
	g.pool.Close()
	g.end()
	g.background.Wait()
}
