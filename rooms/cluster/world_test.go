package cluster

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
	"github.com/hometrip/gateway/rooms"
)

const patience = testkit.Patience

// A world is a Redis and nodes around it, each with shards and event loops of
// its own, in one process.
type world struct {
	t      testing.TB
	prefix string
	redis  *redistest.Server
	server *Server // how the nodes reach it; nil: by its address
	nodes  []*node

	services *services // that are told who is there; nil: none

	logging sync.Mutex // held while an event is delivered to the nodes
}

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // they wait for Redis most of the time
	code := m.Run()
	redistest.CloseShared()
	os.Exit(code)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	parallel(t)
	return &world{t: t, redis: redistest.Shared(t), prefix: newPrefix(t)}
}

// parallel has tests, not benchmarks, run beside each other.
func parallel(t testing.TB) {
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
}

// worlds counts them.
var worlds atomic.Int64

// newPrefix keeps apart tests that share a Redis, and runs of a test.
func newPrefix(t testing.TB) string { return fmt.Sprintf("test:%s:%d:", t.Name(), worlds.Add(1)) }

// newOwnWorld has a Redis that may be harmed.
func newOwnWorld(t testing.TB, args ...string) *world {
	t.Helper()
	parallel(t)
	redis, err := redistest.Start(nil, args...)
	testkit.Need(t, err)
	t.Cleanup(redis.Close)
	return &world{t: t, redis: redis, prefix: newPrefix(t)}
}

func newProxy(t testing.TB, redis *redistest.Server) *testkit.Proxy {
	t.Helper()
	proxy, err := testkit.NewProxy(redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return proxy
}

// behind has a node reach Redis through a proxy.
func behind(proxy *testkit.Proxy) func(*Config) {
	return func(c *Config) { c.Server.Addresses = []string{proxy.Addr} }
}

// A node is one gateway's rooms and its part in the cluster.
type node struct {
	w       *world
	name    string
	hub     *rooms.Hub
	cluster *Cluster
	present *Presence // nil: services are not told who is there
	halt    func()    // ends it as a crash does
	halted  bool
	next    int // shard of the next client
}

const shards = 2

// node starts a node and waits until it takes part.
func (w *world) node(change ...func(*Config)) *node {
	w.t.Helper()
	n := w.start(change...)
	n.awaitConnected()
	testkit.Await(w.t, "the orders in Redis to be read by "+n.name, n.cluster.Ready)
	return n
}

// start starts a node.
func (w *world) start(change ...func(*Config)) *node {
	w.t.Helper()
	config := Config{
		Server: Server{Addresses: []string{w.redis.Addr}},
		Prefix: w.prefix, DB: 1,
		Lease: 2 * time.Second, Linger: 50 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if w.server != nil {
		config.Server = *w.server
	}
	if os.Getenv("VERBOSE") != "" {
		config.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("n", len(w.nodes))
	}
	for _, f := range change {
		f(&config)
	}
	n := &node{w: w, name: fmt.Sprint("node", len(w.nodes))}
	config.Sockets = func() int64 { return n.hub.Stats().Sockets }
	var err error
	if n.cluster, err = New(config); err != nil {
		w.t.Fatal(err)
	}
	fakeAuth := &fakeAuth{}
	hubConfig := rooms.Config{
		Shards: shards, Auth: fakeAuth, Revoker: fakeAuth, MaxPacket: 1 << 20, MaxMailbox: 1 << 16,
		Handlers: rooms.ClientEvents(), Cluster: n.cluster,
	}
	if w.services != nil {
		n.present = n.cluster.Presence(PresenceConfig{Grace: w.services.grace, LastSeen: time.Hour, Publisher: w.services})
		hubConfig.Presence = n.present
	}
	if n.hub, err = rooms.New(hubConfig); err != nil {
		w.t.Fatal(err)
	}
	stopLoops := n.loops()
	n.cluster.Start(n.hub)
	n.halt = func() {
		if n.halted {
			return
		}
		n.halted = true
		n.cluster.stop()
		n.cluster.done.Wait()
		stopLoops()
	}
	w.t.Cleanup(n.halt)
	w.logging.Lock()
	w.nodes = append(w.nodes, n)
	w.logging.Unlock()
	return n
}

// loops runs a goroutine for each shard in the event loop's place.
func (n *node) loops() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for i := range shards {
		sh := n.hub.Shard(i)
		bell := make(chan struct{}, 1)
		sh.Attach(func() { offer(bell) })
		done.Go(func() {
			for {
				select {
				case <-bell:
				case <-ctx.Done():
					return
				}
				sh.Tasks(time.Now())
				for sh.Drain(1<<20) == 0 || sh.Walking() {
				}
			}
		})
	}
	return func() { cancel(); done.Wait() }
}

func (n *node) awaitConnected() {
	n.w.t.Helper()
	testkit.Await(n.w.t, n.name+" connected", func() bool { s := n.cluster.Stats(); return s.Connected && s.Registered })
}

// close ends the node as SIGTERM does.
func (n *node) close() {
	n.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.cluster.Close(ctx); err != nil {
		n.w.t.Errorf("%s: %v", n.name, err)
	}
	n.halted = true
}

// settled reports whether the node has nothing to write, to read or to publish.
func (n *node) settled() bool {
	s := n.cluster.Stats()
	return s.Connected && s.Registered && s.Queued == 0 && s.Waiting == 0
}

// fence returns when the node has heard of all changes of the directory that
// were made before, and has looked at them.
func (n *node) fence() {
	n.w.t.Helper()
	testkit.Await(n.w.t, n.name+" to have looked", func() bool {
		cs := n.cluster.connections()
		for i := 0; cs != nil; i++ {
			server, more := cs.server(i)
			if !more {
				return n.settled()
			}
			if server.Do(n.w.t.Context(), server.B().Ping().Build()).Error() != nil {
				return false
			}
		}
		return false
	})
}

// settle returns when every node knows who holds its rooms.
func (w *world) settle() {
	w.t.Helper()
	for range 2 { // what one of them writes, the others look at
		for _, n := range w.nodes {
			if !n.halted {
				n.fence()
			}
		}
	}
}

// awaitRight waits until the directory is what the nodes hold.
func (w *world) awaitRight() {
	w.t.Helper()
	var last string
	deadline := time.Now().Add(patience)
	for {
		last = ""
		for _, n := range w.nodes {
			if n.halted {
				continue
			}
			d, err := n.cluster.Check(w.t.Context())
			if err != nil || len(d.Missing)+len(d.Surplus) > 0 {
				slices.Sort(d.Missing)
				last += fmt.Sprintf("%s: %+v %v; ", n.name, d, err)
			}
			if s := n.cluster.Stats(); !s.Connected || !s.Registered {
				last += n.name + " is not registered; "
			}
			if !n.settled() {
				last += n.name + " is not settled; "
			}
		}
		if last == "" {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the directory is not right: %s", last)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stats describes the nodes.
func (w *world) stats() (all string) {
	for _, n := range w.nodes {
		all += fmt.Sprintf("\n%s: %+v", n.name, n.cluster.Stats())
	}
	return all
}
