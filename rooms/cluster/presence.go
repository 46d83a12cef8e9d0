package cluster

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/rooms/cluster/presence"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// A PresencePublisher publishes events of presence to services. Publish never
// blocks. It returns false if too many wait already; otherwise it calls done
// once, from another goroutine: with nil when RabbitMQ has the event.
type PresencePublisher interface {
	Publish(e presence.Event, done func(error)) bool
	Connected() bool
}

// PresenceConfig is the configuration of a Presence.
type PresenceConfig struct {
	Grace     time.Duration // how long user.offline and room.vacated are delayed
	LastSeen  time.Duration // how long it is kept when a user was last online
	Publisher PresencePublisher
}

// Presence is this node's part in telling services which users and rooms have
// sockets: the port rooms.Presence. It drives a presence.Core with the
// connections of a Cluster. Its methods are safe for concurrent use.
type Presence struct {
	cluster   *Cluster
	publisher PresencePublisher
	work      chan struct{} // has a token when there is something to do

	mu   sync.Mutex // guards the following
	core *presence.Core
}

// Presence returns the cluster's Presence. It is called at most once, before
// Start.
func (c *Cluster) Presence(config PresenceConfig) *Presence {
	c.presence = &Presence{
		cluster: c, publisher: config.Publisher, work: make(chan struct{}, 1),
		core: presence.New(presence.Config{
			Names: c.names, Node: strings.ToLower(rand.Text()[:12]), Lease: c.config.Lease,
			Grace: config.Grace, LastSeen: config.LastSeen,
		}),
	}
	return c.presence
}

// Counted implements rooms.Presence.
func (p *Presence) Counted(room string, sockets int) {
	if !presence.Of(room) {
		return
	}
	now := time.Now()
	p.with(func(core *presence.Core) { core.Counted(room, sockets, now) })
}

func (p *Presence) with(do func(*presence.Core)) {
	p.mu.Lock()
	do(p.core)
	p.mu.Unlock()
	offer(p.work)
}

// Stats returns the counters.
func (p *Presence) Stats() presence.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.core.Stats
	s.Rooms = p.core.Len()
	return s
}

// run is the goroutine that sends batches and events.
func (p *Presence) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.work:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(p.step(time.Now()))
	}
}

// step sends all batches and events that are due, and returns how long nothing
// else is.
func (p *Presence) step(now time.Time) time.Duration {
	cs := p.cluster.connections()
	ready := p.publisher.Connected()
	p.mu.Lock()
	p.core.Ready(ready)
	p.core.Tick(now)
	for cs != nil {
		b, ok := p.core.Take(now)
		if !ok {
			break
		}
		p.cluster.done.Go(func() { p.execute(cs, b) })
	}
	events := p.core.Events()
	wait := tickInterval
	if next := p.core.Next(now); !next.IsZero() {
		wait = min(wait, max(next.Sub(now), time.Millisecond))
	}
	p.mu.Unlock()
	for _, e := range events {
		done := func(err error) {
			p.with(func(core *presence.Core) { core.Published(e, err == nil) })
		}
		if !p.publisher.Publish(e, done) {
			p.with(func(core *presence.Core) { core.Published(e, false) })
		}
	}
	return wait
}

func (p *Presence) execute(cs *conns, b presence.Batch) {
	replies := cs.run(b.Commands)
	p.with(func(core *presence.Core) { core.Reply(b.ID, replies, time.Now()) })
}

// left removes everything of this node from Redis, and reports whether that is
// done.
func (p *Presence) left() (done bool) {
	p.with(func(core *presence.Core) {
		core.Leave()
		done = core.Left()
	})
	return done
}

// Users returns the state of some users, in their order.
func (p *Presence) Users(ctx context.Context, users []string) (list []presence.User, err error) {
	commands := make([]presence.Command, len(users))
	for i, user := range users {
		commands[i] = presence.Ask(p.cluster.names, user)
	}
	answer := make(chan []wire.Reply, 1)
	cs := p.cluster.connections()
	go func() { answer <- cs.run(commands) }()
	select {
	case replies := <-answer:
		for _, r := range replies {
			u, err := presence.ParseUser(r)
			if err != nil {
				return nil, err
			}
			list = append(list, u)
		}
		return list, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// scriptSums has the hashes by which Redis knows the scripts of package
// presence.
var scriptSums = func() map[presence.Script]string {
	sums := make(map[presence.Script]string)
	for _, s := range presence.Scripts() {
		sum := sha1.Sum([]byte(s.Source()))
		sums[s] = hex.EncodeToString(sum[:])
	}
	return sums
}()

// run executes commands, some of which are scripts. It loads scripts that Redis
// does not have.
func (cs *conns) run(commands []presence.Command) []wire.Reply {
	if cs == nil {
		return failed(wire.Batch{Commands: make([]wire.Command, len(commands))}, errDisconnected)
	}
	replies, unknown := cs.try(commands)
	if !unknown {
		return replies
	}
	for _, server := range cs.directory.Nodes() {
		for _, s := range presence.Scripts() {
			if err := server.Do(context.Background(), server.B().ScriptLoad().Script(s.Source()).Build()).Error(); err != nil {
				return replies // of a replica, or it is away: the batch has failed
			}
		}
	}
	replies, _ = cs.try(commands)
	return replies
}

func (cs *conns) try(commands []presence.Command) (replies []wire.Reply, unknown bool) {
	list := make([]rueidis.Completed, len(commands))
	for i, c := range commands {
		if sum, isScript := scriptSums[c.Script]; isScript {
			list[i] = cs.directory.B().Arbitrary("EVALSHA", sum, strconv.Itoa(len(c.Keys))).Keys(c.Keys...).Args(c.Args...).Build()
		} else {
			list[i] = cs.directory.B().Arbitrary(c.Name).Keys(c.Keys...).Args(c.Args...).Build()
		}
	}
	results := cs.directory.DoMulti(context.Background(), list...)
	replies = make([]wire.Reply, len(results))
	for i, r := range results {
		replies[i] = reply(commands[i].Name, r)
		unknown = unknown || replies[i].Err != nil && strings.HasPrefix(replies[i].Err.Error(), "NOSCRIPT")
	}
	return replies, unknown
}
