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

// A world is the fixture of these tests: a Redis, and nodes in this process,
// each with shards and goroutines instead of event loops.
type world struct {
	t      testing.TB
	prefix string
	redis  *redistest.Server
	server *Server // the server setting of the nodes; nil: the address of redis
	nodes  []*node

	services *fakeServices // get presence events; nil: presence is off

	logging sync.Mutex // held while an event is delivered to the nodes
}

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // the tests wait for Redis most of the time
	code := m.Run()
	redistest.CloseShared()
	os.Exit(code)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	parallel(t)
	return &world{t: t, redis: redistest.Shared(t), prefix: newPrefix(t)}
}

// parallel marks tests as parallel; benchmarks it ignores.
func parallel(t testing.TB) {
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
}

// worlds is the number of prefixes made.
var worlds atomic.Int64

// newPrefix returns a key prefix that no other test, and no other run of this
// one, has.
func newPrefix(t testing.TB) string { return fmt.Sprintf("test:%s:%d:", t.Name(), worlds.Add(1)) }

// newOwnWorld returns a world with its own Redis, which the test may stop or
// change.
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

// viaProxy has a node connect to Redis through a proxy.
func viaProxy(proxy *testkit.Proxy) func(*Config) {
	return func(c *Config) { c.Server.Addresses = []string{proxy.Addr} }
}

// A node is the rooms of a gateway and its connection to the cluster.
type node struct {
	w       *world
	name    string
	hub     *rooms.Hub
	cluster *Cluster
	present *Presence // nil: presence is off
	halt    func()    // stops it as a crash does
	halted  bool
	next    int // shard of the next client
}

const shards = 2

// node starts a node, and waits until it is registered and has read the orders.
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

// loops runs a goroutine for each shard, instead of an event loop.
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

// close stops the node as SIGTERM does.
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

// fence waits until the node has received all earlier invalidations of the
// directory, and has read the changed rooms.
func (n *node) fence() {
	n.w.t.Helper()
	testkit.Await(n.w.t, n.name+" to have read the changes of the directory", func() bool {
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

// settle waits until every node knows the holders of its rooms.
func (w *world) settle() {
	w.t.Helper()
	for range 2 { // a write of one node is read by the others in the second round
		for _, n := range w.nodes {
			if !n.halted {
				n.fence()
			}
		}
	}
}

// awaitRight waits until the directory agrees with the rooms of all nodes.
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
			w.t.Fatalf("the directory does not agree with the nodes: %s", last)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stats returns the statistics of all nodes, for failure messages.
func (w *world) stats() (all string) {
	for _, n := range w.nodes {
		all += fmt.Sprintf("\n%s: %+v", n.name, n.cluster.Stats())
	}
	return all
}
