package cluster

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/backoff"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/core"
	"github.com/hometrip/gateway/rooms/cluster/presence"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// redialMin and redialMax bound the pause between two attempts to connect.
	redialMin = 50 * time.Millisecond
	redialMax = time.Second

	errorLogInterval = 10 * time.Second // between two lines about the same error
)

// run is the goroutine that calls the node when something is due, and sends all
// batches except messages.
func (c *Cluster) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.work:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(c.step(time.Now()))
	}
}

// step does what is due, and returns how long nothing else will be.
func (c *Cluster) step(now time.Time) time.Duration {
	sockets, missed := c.config.Sockets(), c.cut.Missed(now)
	c.mu.Lock()
	if missed {
		c.node.Missed(now)
	}
	c.node.Tell(sockets)
	c.node.Tick(now)
	for {
		b, ok := c.node.Take(now)
		if !ok {
			break
		}
		cs := c.conns
		c.done.Go(func() { c.execute(cs, b) })
	}
	redial := c.node.Redial()
	wait := tickInterval
	if next := c.node.Next(); !next.IsZero() {
		wait = min(wait, max(next.Sub(now), time.Millisecond))
	}
	messages := c.node.HasMessages()
	c.mu.Unlock()
	if redial {
		offer(c.redial)
	}
	if messages {
		offer(c.messages)
	}
	c.report()
	return wait
}

// publish is the goroutine that sends messages. Messages that arrive during a
// flush are collected for the next one.
func (c *Cluster) publish(ctx context.Context) {
	for {
		c.mu.Lock()
		b, ok := c.node.TakeMessages()
		cs := c.conns
		work := c.node.HasWork()
		c.mu.Unlock()
		if work {
			offer(c.work)
		}
		if ok {
			c.execute(cs, b)
			continue
		}
		select {
		case <-c.messages:
		case <-ctx.Done():
			return
		}
	}
}

// execute sends a batch and passes the replies to the node.
func (c *Cluster) execute(cs *conns, b wire.Batch) {
	replies := cs.do(b)
	now := time.Now()
	c.mu.Lock()
	c.node.Reply(b.ID, replies, now)
	c.mu.Unlock()
	if b.Kind != wire.Publish {
		offer(c.work)
	}
}

// report carries out the orders that were found, and writes the lines for the
// log.
func (c *Cluster) report() {
	c.mu.Lock()
	orders, lines := c.node.Obey(), c.node.Lines()
	c.mu.Unlock()
	for _, o := range orders {
		if err := c.local.Obey(o); err != nil {
			c.config.Log.Warn("an order in Redis names neither a user nor a token", "error", err)
		}
	}
	for _, l := range lines {
		c.write(l)
	}
}

func (c *Cluster) write(l core.Line) {
	level := slog.LevelInfo
	args := []any{"node", c.number}
	if l.Error != nil {
		level = slog.LevelDebug
		args = append(args, "error", l.Error)
		if l.Warn {
			level = slog.LevelWarn
		}
		skipped, ok := c.errorLines.Allow(l.Text+": "+l.Error.Error(), time.Now(), errorLogInterval)
		if !ok {
			return
		}
		if skipped > 0 {
			args = append(args, "notLogged", skipped)
		}
	}
	c.config.Log.Log(context.Background(), level, l.Text, args...)
}

// connect is the goroutine that makes the connections, and makes them again
// when nothing succeeds on them. A connection that is lost is restored by
// rueidis.
func (c *Cluster) connect(ctx context.Context) {
	retries := backoff.Backoff{Min: redialMin, Max: redialMax}
	for ctx.Err() == nil {
		cs, err := c.dial(ctx)
		if err != nil {
			c.with(func(n *core.Node, now time.Time) { n.Disconnected(err, now) })
			sleep(ctx, retries.Next())
			continue
		}
		retries.Reset()
		select { // an old wish
		case <-c.redial:
		default:
		}
		c.with(func(n *core.Node, now time.Time) {
			c.conns = cs
			n.Connected(cs.sharded, now)
		})
		c.done.Go(func() { c.subscribe(cs) })
		if c.sessions != nil {
			c.done.Go(func() { c.sessions.subscribe(cs) })
		}
		if c.config.Answer != nil {
			c.done.Go(func() { c.hear(cs) })
		}
		select {
		case <-c.redial:
			c.config.Log.Warn("all commands to Redis fail, reconnecting")
		case <-ctx.Done():
		}
		c.with(func(n *core.Node, now time.Time) {
			c.conns = nil
			n.Disconnected(nil, now)
		})
		go cs.close() // it may wait for a server that hangs
	}
}

// with passes an input to the node.
func (c *Cluster) with(do func(*core.Node, time.Time)) {
	now := time.Now()
	c.mu.Lock()
	do(c.node, now)
	c.mu.Unlock()
	offer(c.work)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// invalidated is called by rueidis, on the goroutine that reads the connection.
// nil stands for all keys: the connection is lost or the database was flushed.
func (c *Cluster) invalidated(cs *conns, keys []rueidis.RedisMessage) {
	if keys == nil && c.presence != nil {
		c.presence.with(func(core *presence.Core) { core.Lost(time.Now()) })
	}
	c.with(func(n *core.Node, now time.Time) {
		if c.conns != cs {
			return // connections of before
		}
		if keys == nil {
			n.Lost("the connection was lost or the database flushed", now)
		}
		for i := range keys {
			if key, err := keys[i].ToString(); err == nil {
				n.Changed(key)
			}
		}
	})
}

// subscribe is the goroutine that receives what other nodes publish. It must
// not be delayed: it only appends to mailboxes.
func (c *Cluster) subscribe(cs *conns) {
	tell := func(yes bool) {
		c.with(func(n *core.Node, now time.Time) {
			if c.conns == cs {
				n.Subscribed(yes, now)
			}
		})
	}
	defer tell(false)
	hooked := rueidis.WithOnSubscriptionHook(cs.ctx, func(s rueidis.PubSubSubscription) {
		tell(!strings.HasSuffix(s.Kind, "unsubscribe"))
	})
	for cs.ctx.Err() == nil {
		err := cs.subscriber.Receive(hooked, cs.subscription(c.names.Channel(c.number)), func(m rueidis.PubSubMessage) {
			c.cut.Receive([]byte(m.Message), time.Now()) // one copy, which the messages keep
		})
		tell(false)
		if err != nil && cs.ctx.Err() == nil {
			c.with(func(n *core.Node, _ time.Time) { n.Trouble(err) })
		}
		sleep(cs.ctx, redialMin)
	}
}

// receive delivers what another node has sent.
func (c *Cluster) receive(body []byte, list []core.Delivery) []core.Delivery {
	now := time.Now()
	c.mu.Lock()
	list = c.node.Message(body, list, now)
	c.mu.Unlock()
	for i := range list {
		if c.local.Receive(rooms.Broadcast{Room: list[i].Room, Message: list[i].Message}) == 0 {
			atomic.AddInt64(&c.strays, 1)
		}
		list[i] = core.Delivery{}
	}
	return list
}
