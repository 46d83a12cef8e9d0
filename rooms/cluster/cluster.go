package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/rooms"
)

// Defaults of Config.
const (
	defaultLease       = 5 * time.Second
	defaultLinger      = 30 * time.Second
	defaultJoinTimeout = 2 * time.Second
	defaultAnswer      = 5 * time.Second
	defaultQueue       = 1 << 16
	defaultQueueBytes  = 64 << 20
)

const (
	// laneCount spreads rooms over goroutines, so that a lane that waits for
	// Redis does not hold up all rooms.
	laneCount = 8

	// clockInterval is how exact lingering rooms and waiting joins are timed.
	clockInterval = 100 * time.Millisecond
)

// Config says how a node joins the others. Zero values mean the defaults.
type Config struct {
	Server Server
	Prefix string // of all keys and channels; without braces
	DB     int    // number of the database

	Lease       time.Duration // a node that has not been heard of for so long is dead; 5 s
	Linger      time.Duration // a room stays in the directory after its last member; 30 s
	JoinTimeout time.Duration // a join does not wait longer for Redis; 2 s
	MaxQueue    int           // messages that wait to be published; 65,536
	MaxBytes    int           // bytes of these; 64 MiB

	// Alone: as long as Redis has not been reached, this node is the only one.
	Alone bool

	Sockets func() int64 // connected to this node, for the others' information
	Missed  func()       // events of other nodes have passed this one by; must not block
	Log     *slog.Logger // not nil
}

// Local is this node's rooms.
type Local interface {
	// Wait, Deliver, Obey, Sync: as those of rooms.Hub.
	Wait(ctx context.Context) error
	Deliver(b rooms.Broadcast) (shards int)
	Obey(o rooms.Order) error
	Sync(done func())

	// Receive hands over what came from another node, and never waits.
	Receive(b rooms.Broadcast) (shards int)
}

// A Cluster is this node's part in the cluster: the port rooms.Cluster for the
// event loops, and the port upstream.Rooms for the services' events. Its
// methods are safe for concurrent use.
type Cluster struct {
	config Config
	names  names
	node   uint32
	seed   maphash.Seed
	lanes  [laneCount]*lane
	local  Local // set by Start
	stats  Stats

	view    atomic.Pointer[view] // nil without a session
	epoch   atomic.Uint64        // changes when no lane may rely on what it has read
	away    atomic.Bool          // Redis does not answer
	reached atomic.Bool          // it has answered once
	flights *flights
	orders  orders

	keeper keeper
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// New makes a node of a cluster. Nothing is done before Start.
func New(c Config) (*Cluster, error) {
	if strings.ContainsAny(c.Prefix, "{}") {
		return nil, fmt.Errorf("KEY_PREFIX=%q: want no braces, they have a meaning in Redis Cluster", c.Prefix)
	}
	if len(c.Server.Addresses) == 0 {
		return nil, errors.New("redis: no address")
	}
	orDefault(&c.Lease, defaultLease)
	orDefault(&c.Linger, defaultLinger)
	orDefault(&c.JoinTimeout, defaultJoinTimeout)
	orDefault(&c.Server.AnswerTimeout, defaultAnswer)
	orDefault(&c.MaxQueue, defaultQueue)
	orDefault(&c.MaxBytes, defaultQueueBytes)
	if c.Sockets == nil {
		c.Sockets = func() int64 { return 0 }
	}
	if c.Missed == nil {
		c.Missed = func() {}
	}
	cl := &Cluster{
		config: c, names: newNames(c.Prefix, c.DB), seed: maphash.MakeSeed(),
		node:    rand.Uint32N(1<<31-1) + 1,
		flights: newFlights(),
	}
	cl.away.Store(c.Alone) // else joins wait for the first attempt, whose end is soon known
	cl.keeper.init(cl)
	for i := range cl.lanes {
		cl.lanes[i] = newLane(cl, i)
	}
	return cl, nil
}

func orDefault[T time.Duration | int](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Start connects this node's rooms with the others'. It returns at once and
// goes on trying to reach Redis until Close.
func (c *Cluster) Start(local Local) {
	c.local = local
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.Occupied(rooms.EveryNode) // where orders are sent
	c.done.Go(func() { c.keeper.run(ctx) })
	c.done.Go(func() { c.tick(ctx) })
	for _, l := range c.lanes {
		c.done.Go(func() { l.run(ctx) })
	}
}

// tick is the clock of the lanes.
func (c *Cluster) tick(ctx context.Context) {
	ticker := time.NewTicker(clockInterval)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			for _, l := range c.lanes {
				l.tick(now)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Close publishes what waits, takes this node out of the directory and ends
// the connections, all within ctx. Start must have been called.
func (c *Cluster) Close(ctx context.Context) error {
	err := c.await(ctx, func() bool { return c.view.Load() == nil || c.Stats().Queued == 0 })
	v := c.view.Load()
	c.stop()
	ended := make(chan struct{})
	go func() { c.done.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done(): // something hangs in connecting
		return errors.Join(err, ctx.Err())
	}
	if v != nil {
		err = errors.Join(err, c.unregister(ctx, v))
	}
	c.keeper.close()
	return err
}

// await polls a condition that holds soon.
func (c *Cluster) await(ctx context.Context, holds func() bool) error {
	for !holds() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d messages to other nodes not published: %w", c.Stats().Queued, ctx.Err())
		}
	}
	return nil
}

func (c *Cluster) lane(room string) *lane {
	return c.lanes[maphash.String(c.seed, room)%laneCount]
}

// alone reports whether there are no other nodes as far as anybody knows.
func (c *Cluster) alone() bool { return c.config.Alone && !c.reached.Load() }

// Occupied implements rooms.Cluster.
func (c *Cluster) Occupied(room string) bool { return c.lane(room).occupied(room) }

// Await implements rooms.Cluster.
func (c *Cluster) Await(room string, known func()) { c.lane(room).await(room, known) }

// Vacated implements rooms.Cluster.
func (c *Cluster) Vacated(room string) { c.lane(room).vacated(room) }

// Elsewhere implements rooms.Cluster.
func (c *Cluster) Elsewhere(room string) bool { return !c.alone() && c.lane(room).elsewhere(room) }

// Publish implements rooms.Cluster. While Redis is away, what is volatile is
// dropped.
func (c *Cluster) Publish(b rooms.Broadcast) {
	if c.alone() {
		return
	}
	if b.Message.Volatile && c.away.Load() {
		c.stats.dropped[DropAway].Add(1)
		return
	}
	c.lane(b.Room).post(b)
}

// invalidated is called by rueidis, on the goroutine that reads the
// connection. nil stands for everything: the connection is lost or the
// database was flushed.
func (c *Cluster) invalidated(keys []rueidis.RedisMessage) {
	if keys == nil {
		c.keeper.lose("the connection was lost or the database flushed")
		return
	}
	for i := range keys {
		if key, err := keys[i].ToString(); err == nil {
			if room, ok := c.names.roomOf(key); ok {
				c.lane(room).forget(room)
			} else {
				offer(c.keeper.kick) // the set of nodes has changed
			}
		}
	}
}
