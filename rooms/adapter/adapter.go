package adapter

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/loglimit"
	"github.com/hometrip/gateway/rooms"
)

// senderPrefix is the start of every gateway node's uid. Those of Node.js
// servers are six letters and digits.
const senderPrefix = "gateway:"

// Config is the configuration of an Adapter.
type Config struct {
	Key string // of the adapter; "socket.io" is its default

	// Orders is the prefix of the keys in Redis by which the gateway nodes
	// agree on which of them passes an order on.
	Orders string

	// Open connects to Redis.
	Open func() (rueidis.Client, error)

	// Routed reports whether events of that name come from the services' log.
	// They are not accepted from Node servers, which read that log too. nil:
	// all are accepted.
	Routed func(event string) bool

	// MaxBytes returns how large an event may be, both as it arrives and as
	// clients get it. A larger one would disconnect its receivers.
	MaxBytes func() int

	// Compare, if not nil, makes this node only compare the Node servers'
	// events that are Routed: no client gets them, nothing is published, and no
	// request is answered.
	Compare *Comparer

	Log *slog.Logger
}

// Rooms is the node's part of the rooms; *rooms.Hub.
type Rooms interface {
	Emit(*rooms.Selection, *codec.Message)
	Ask(s *rooms.Selection, build func(id int64) *codec.Message,
		counted func(sockets int), acknowledged func(args []byte, attachments [][]byte)) (forget func())
	JoinAll(*rooms.Selection, []string)
	LeaveAll(*rooms.Selection, []string)
	DisconnectAll(s *rooms.Selection, connection bool)
	Sockets(*rooms.Selection, func([]rooms.SocketInfo))
	Names(limit int) ([]string, int)
}

// An Adapter is this node's membership in a fleet of Node servers. It
// implements rooms.Outside. Safe for concurrent use.
type Adapter struct {
	config  Config
	names   Names
	sender  string
	started time.Time
	rooms   Rooms // set by Start
	stats   counters

	kick      chan struct{} // has a token when subscriptions have changed
	publisher publisher
	questions atomic.Int32     // acknowledgements that are awaited
	dropLines loglimit.Limiter // about messages that are dropped

	mu            sync.Mutex // guards subscriptions
	subscriptions *subscriptions

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

var _ rooms.Outside = (*Adapter)(nil)

// New returns an adapter that Start connects.
func New(c Config) (*Adapter, error) {
	if c.Key == "" || c.Open == nil || c.MaxBytes == nil || c.Log == nil {
		return nil, errors.New("adapter: want a key, a way to open Redis, a limit and a log")
	}
	a := &Adapter{
		config: c, names: NamesOf(c.Key), sender: senderPrefix + rand.Text(), started: time.Now(),
		kick: make(chan struct{}, 1), subscriptions: newSubscriptions(), stop: func() {},
	}
	a.publisher.init(&a.stats)
	return a, nil
}

// Start connects, and reconnects until Close. It passes what other servers send
// to r.
func (a *Adapter) Start(r Rooms) {
	a.rooms = r
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.stopped.Go(func() { a.run(ctx) })
}

// Close leaves the fleet.
func (a *Adapter) Close() {
	a.stop()
	a.stopped.Wait()
}

// now returns the time since the adapter was made, on the monotonic clock.
func (a *Adapter) now() time.Duration { return time.Since(a.started) }

// Occupied implements rooms.Outside.
func (a *Adapter) Occupied(room string) {
	a.mu.Lock()
	a.subscriptions.want(room)
	a.mu.Unlock()
	a.wake()
}

// Vacated implements rooms.Outside.
func (a *Adapter) Vacated(room string) {
	a.mu.Lock()
	ready := a.subscriptions.unwant(room, a.now())
	a.mu.Unlock()
	call(ready)
	a.wake()
}

// Await implements rooms.Outside: joins wait until Redis has subscribed to the
// room's channel.
func (a *Adapter) Await(room string, ready func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.subscriptions.await(room, ready)
}

func call(ready []func()) {
	for _, f := range ready {
		f()
	}
}

func (a *Adapter) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Publish implements rooms.Outside.
func (a *Adapter) Publish(room, except string, m *codec.Message) {
	o := Options{Rooms: []string{room}, Volatile: m.Volatile}
	if except != "" {
		o.Except = []string{except}
	}
	b, err := AppendEmit(nil, a.sender, m.Text(), o)
	if err != nil {
		a.stats.unpublished.Add(1)
		return
	}
	if a.publisher.publish(a.names.Room(room), b) {
		a.stats.published.Add(1)
	}
}

// DisconnectUser asks the Node servers to disconnect a user's sockets. Every
// node calls it with the same id for the same order, and one of them sends the
// request: a second request could disconnect a client that has come back since.
func (a *Adapter) DisconnectUser(user, id string) {
	a.publisher.publishOnce(a.config.Orders+id, a.names.Request, DisconnectRequest(a.sender, rooms.UserRoom(user)))
}

// ours reports whether a message comes from a gateway node.
func ours(sender string) bool { return strings.HasPrefix(sender, senderPrefix) }
