package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/loglimit"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/core"
	"github.com/hometrip/gateway/rooms/cluster/cut"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Defaults of Config.
const (
	defaultLease      = 5 * time.Second
	defaultLinger     = 30 * time.Second
	defaultAnswer     = 5 * time.Second
	defaultQueue      = 1 << 16
	defaultQueueBytes = 64 << 20
)

// tickInterval is the longest time between two looks at what is due.
const tickInterval = 100 * time.Millisecond

// Config is the configuration of a Cluster. Zero values mean the defaults.
type Config struct {
	Server Server
	Prefix string // of all keys and channels; without braces
	DB     int    // number of the database

	Lease    time.Duration // a node whose lease was not renewed for that long is dead; 5 s
	Linger   time.Duration // how long a room stays in the directory after its last member left; 30 s
	MaxQueue int           // messages that wait to be published; 65,536
	MaxBytes int           // bytes of these; 64 MiB

	// Takes is the place of the running node that this process is to take over:
	// it only listens before Assume. Nil: it is a node of its own.
	Takes *Place

	// Alone: as long as Redis has not been reached, this node assumes that it
	// is the only one.
	Alone bool

	// Answer answers a question that another node asks all: see Ask. It may take
	// as long as ctx lasts. Nil: questions are not answered.
	Answer func(ctx context.Context, question []byte) []byte

	Sockets func() int64 // connected to this node, for the others' information
	Log     *slog.Logger // not nil
}

// Local is this node's rooms. Neither method waits.
type Local interface {
	// Receive delivers what a client of another node has sent.
	Receive(b rooms.Broadcast) (shards int)

	// Obey carries out a lasting order that was found in Redis.
	Obey(o rooms.Order) error
}

// A Cluster is this node's part in the cluster: the port rooms.Cluster, and
// where orders are kept. It drives a core.Node with a real Redis. Its methods
// are safe for concurrent use.
type Cluster struct {
	config Config
	names  wire.Names
	number uint32
	local  Local // set by Start

	sessions *Sessions // nil: clients cannot recover sessions
	presence *Presence // nil: presence events are off
	cut      cut.Cut   // of the node's channel

	work     chan struct{} // has a token when there is something to do
	messages chan struct{} // has a token when there is something to publish
	redial   chan struct{} // has a token when the connections are to be made anew

	mu    sync.Mutex // guards the following
	node  *core.Node
	conns *conns // nil while there are none
	mark  string // of the hand-over under way; "" when Redis was away

	errorLines loglimit.Texts // of run
	stop       context.CancelFunc
	done       sync.WaitGroup // all goroutines but those of closing connections
	strays     int64          // messages for rooms without members here; atomic
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
	orDefault(&c.Server.AnswerTimeout, defaultAnswer)
	orDefault(&c.MaxQueue, defaultQueue)
	orDefault(&c.MaxBytes, defaultQueueBytes)
	if c.Sockets == nil {
		c.Sockets = func() int64 { return 0 }
	}
	number := rand.Uint32N(1<<31-1) + 1
	if c.Takes != nil {
		number = c.Takes.Number
	}
	cl := &Cluster{
		config: c, names: wire.NewNames(c.Prefix, c.DB), number: number,
		work: make(chan struct{}, 1), messages: make(chan struct{}, 1), redial: make(chan struct{}, 1),
	}
	cl.node = core.New(core.Config{
		Names: cl.names, Node: cl.number, Lease: c.Lease, Linger: c.Linger,
		Answer:   c.Server.AnswerTimeout * 2 / 5, // sooner than the connection counts as dead
		Messages: c.MaxQueue, Bytes: c.MaxBytes, Alone: c.Alone,
	})
	if c.Takes != nil {
		cl.node.Silence()
		cl.cut.StandBy()
	}
	return cl, nil
}

func orDefault[T time.Duration | int](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// offer puts a token into a channel of capacity one.
func offer(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Start connects this node's rooms with those of the others. It returns at
// once, and keeps trying to reach Redis until Close.
func (c *Cluster) Start(local Local) {
	c.local = local
	var list []core.Delivery
	c.cut.Take = func(body []byte) { list = c.receive(body, list[:0]) }
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.done.Go(func() { c.connect(ctx) })
	c.done.Go(func() { c.run(ctx) })
	if c.sessions != nil {
		c.sessions.holder = local.(SessionHolder)
		c.done.Go(func() { c.sessions.run(ctx) })
	}
	if c.presence != nil {
		c.done.Go(func() { c.presence.run(ctx) })
	}
	c.done.Go(func() { c.publish(ctx) })
}

// Close publishes what waits, removes this node from the directory and ends the
// connections, all within ctx. Start must have been called. Changes of rooms
// that are reported meanwhile are ignored.
func (c *Cluster) Close(ctx context.Context) error {
	err := c.await(ctx, "messages to other nodes not published", func(n *core.Node) bool {
		s := n.Stats()
		return !s.Connected || s.Queued == 0
	})
	if err == nil && c.sessions != nil && c.Connected() {
		err = c.await(ctx, "sessions of clients not saved", func(*core.Node) bool { return c.sessions.idle() })
	}
	if err == nil && c.presence != nil && c.Connected() {
		err = c.await(ctx, "counts of rooms still in redis", func(*core.Node) bool { return c.presence.left() })
	}
	if err == nil && c.Connected() {
		c.mu.Lock()
		c.node.Leave()
		c.mu.Unlock()
		offer(c.work)
		err = c.await(ctx, "rooms still in the directory", (*core.Node).Left)
	}
	c.stop()
	ended := make(chan struct{})
	go func() { c.done.Wait(); close(ended) }()
	select {
	case <-ended:
		return err
	case <-ctx.Done(): // connecting may block
		return errors.Join(err, ctx.Err())
	}
}

// await polls a condition until it holds.
func (c *Cluster) await(ctx context.Context, not string, holds func(*core.Node) bool) error {
	for {
		c.mu.Lock()
		yes := holds(c.node)
		c.mu.Unlock()
		if yes {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", not, ctx.Err())
		}
	}
}

// Occupied implements rooms.Cluster.
func (c *Cluster) Occupied(room, user string) {
	c.mu.Lock()
	c.node.Occupied(room, user)
	c.mu.Unlock()
	offer(c.work)
}

// Vacated implements rooms.Cluster.
func (c *Cluster) Vacated(room string) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node.Vacated(room, now)
}

// Counted implements rooms.Cluster.
func (c *Cluster) Counted(room string, members int) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node.Counted(room, members, now)
}

// Members implements rooms.Cluster.
func (c *Cluster) Members(room string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node.Members(room)
}

// Elsewhere implements rooms.Cluster.
func (c *Cluster) Elsewhere(room string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node.Elsewhere(room)
}

// Publish implements rooms.Cluster. While Redis is away, volatile messages are
// dropped.
func (c *Cluster) Publish(room string, m *codec.Message) {
	c.mu.Lock()
	c.node.Publish(room, m)
	c.mu.Unlock()
	offer(c.messages)
}

// Keep stores a lasting order in Redis, for nodes that start later. It never
// waits: the order is in memory until Redis has it, and is written again to a
// Redis that has lost it.
func (c *Cluster) Keep(o rooms.Order) {
	now := time.Now()
	c.mu.Lock()
	c.node.Keep(o, now)
	c.mu.Unlock()
	offer(c.work)
}

// ReadOrders reads the orders in Redis, and carries out those that this node
// does not know: it may have missed some. It never waits.
func (c *Cluster) ReadOrders() {
	c.mu.Lock()
	c.node.ReadOrders()
	c.mu.Unlock()
	offer(c.work)
}

// Connected reports whether Redis answers and this node receives what others
// publish.
func (c *Cluster) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node.IsConnected()
}

// Ready reports whether the node is Connected and has read the orders in Redis.
func (c *Cluster) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node.Ready()
}
