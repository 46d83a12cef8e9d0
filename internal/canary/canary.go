// Package canary measures what users get: every few seconds it publishes an
// event as a service does, and receives it on a socket connected to this node's
// own port. The event goes through RabbitMQ, the log and the rooms.
package canary

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/internal/sioclient"
)

// lostAfter is how long an event may take before it counts as lost.
const lostAfter = 10 * time.Second

// reconnectPause is the pause between two attempts to connect.
const reconnectPause = time.Second

// Config configures a Canary.
type Config struct {
	URL      func() string                                // of this node
	User     string                                       // whose user room it sits in
	Token    func() (string, error)                       // a token for that user
	Publish  func(ctx context.Context, body []byte) error // a notification.created
	Observe  func(latency time.Duration)                  // told of each event that arrives
	Interval time.Duration
	Log      *slog.Logger
}

// A Canary publishes and receives test events until the context of Run ends.
// Any goroutine may call Stats.
type Canary struct {
	config Config
	number uint64               // of the last event; owned by fly
	sent   map[uint64]time.Time // under way; owned by fly

	connected atomic.Bool
	published atomic.Int64
	arrived   atomic.Int64
	lost      atomic.Int64
	failed    atomic.Int64
}

// Stats are the canary's figures.
type Stats struct {
	Connected bool
	Published int64 // events that are on their way, or were
	Arrived   int64
	Lost      int64 // not there after 10 s
	Failed    int64 // attempts to connect or to publish
}

// Stats returns the figures so far.
func (c *Canary) Stats() Stats {
	return Stats{
		Connected: c.connected.Load(), Published: c.published.Load(), Arrived: c.arrived.Load(),
		Lost: c.lost.Load(), Failed: c.failed.Load(),
	}
}

// An arrival is a test event that was received.
type arrival struct {
	number uint64
	at     time.Time
}

// New returns a canary for Run.
func New(c Config) *Canary { return &Canary{config: c, sent: make(map[uint64]time.Time)} }

// Run connects, and reconnects, until ctx ends.
func (c *Canary) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.fly(ctx)
		c.connected.Store(false)
		if ctx.Err() == nil {
			c.failed.Add(1)
			c.config.Log.Warn("canary: not connected, retrying", "error", err)
		}
		select {
		case <-time.After(reconnectPause):
		case <-ctx.Done():
		}
	}
}

// fly publishes and receives until the connection ends.
func (c *Canary) fly(ctx context.Context) error {
	token, err := c.config.Token()
	if err != nil {
		return err
	}
	client, err := sioclient.Connect(ctx, c.config.URL(), sioclient.Options{Token: token})
	if err != nil {
		return err
	}
	defer client.Close()
	c.connected.Store(true)
	arrivals := make(chan arrival)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go c.listen(ctx, client, arrivals)
	ticker := time.NewTicker(c.config.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.expire(time.Now())
			c.publish(ctx)
		case a := <-arrivals:
			c.arrive(a)
		case <-client.Done():
			return client.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// publish sends the next event.
func (c *Canary) publish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lostAfter)
	defer cancel()
	c.number++
	body := fmt.Appendf(nil, `{"userId":%q,"notificationId":"canary","type":"canary","data":{"number":%d}}`, c.config.User, c.number)
	c.sent[c.number] = time.Now()
	if err := c.config.Publish(ctx, body); err != nil {
		delete(c.sent, c.number)
		c.failed.Add(1)
		c.config.Log.Debug("canary: not published", "error", err)
		return
	}
	c.published.Add(1)
}

// listen sends the numbers of received test events to arrivals.
func (c *Canary) listen(ctx context.Context, client *sioclient.Client, arrivals chan<- arrival) {
	for {
		event, err := client.Next(ctx)
		if err != nil {
			return
		}
		var body struct {
			Type string
			Data struct{ Number uint64 }
		}
		if len(event.Args) == 0 || json.Unmarshal(event.Args[0], &body) != nil || body.Type != "canary" {
			continue
		}
		select {
		case arrivals <- arrival{body.Data.Number, time.Now()}:
		case <-ctx.Done():
			return
		}
	}
}

// arrive records a received event. One that comes twice counts once.
func (c *Canary) arrive(a arrival) {
	if sent, under := c.sent[a.number]; under {
		delete(c.sent, a.number)
		c.arrived.Add(1)
		c.config.Observe(a.at.Sub(sent))
	}
}

// expire counts events that have been under way for too long as lost.
func (c *Canary) expire(now time.Time) {
	for number, sent := range c.sent {
		if now.Sub(sent) > lostAfter {
			delete(c.sent, number)
			c.lost.Add(1)
			c.config.Log.Warn("canary: an event did not arrive", "number", number, "after", lostAfter)
		}
	}
}
