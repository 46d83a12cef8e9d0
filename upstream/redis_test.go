package upstream

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms/cluster"
	"github.com/hometrip/gateway/rooms/cluster/redistest"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/redislog"
)

// A redisWorld is a Redis and nodes that read the log there.
type redisWorld struct {
	t     *testing.T
	redis *redistest.Server
	log   *redislog.Log // of the service
	nodes []*redisNode
	sent  int
}

// A redisNode is a consumer with its own way to Redis.
type redisNode struct {
	*fakeRooms
	*testkit.Proxy
	consumer *Consumer
	missed   atomic.Int64
}

const redisKey = "ws:0:events"

// newRedisWorld starts a Redis with these arguments, and nodes.
func newRedisWorld(t *testing.T, nodes int, args ...string) *redisWorld {
	t.Helper()
	redis, err := redistest.Start(nil, args...)
	testkit.Need(t, err)
	t.Cleanup(redis.Close)
	w := &redisWorld{t: t, redis: redis}
	w.log = w.open(redis.Addr)
	for range nodes {
		w.start()
	}
	return w
}

func (w *redisWorld) open(address string) *redislog.Log {
	w.t.Helper()
	server := cluster.Server{Addresses: []string{address}}
	l, err := redislog.New(redislog.Config{
		Open: func() (rueidis.Client, error) { return server.Open(0, nil) }, Host: address, Key: redisKey,
		Retention: time.Hour, MaxBytes: 1 << 30, Logger: quietLog(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(l.Close)
	return l
}

// start runs a node and waits until it reads.
func (w *redisWorld) start() {
	w.t.Helper()
	p, err := testkit.NewProxy(w.redis.Addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Close)
	n := &redisNode{fakeRooms: &fakeRooms{}, Proxy: p}
	n.consumer, err = New(Config{
		Log: w.open(p.Addr), MaxBody: 100_000, Table: table(w.t), Rooms: n.fakeRooms, Logger: quietLog(),
		Missed:   func() { n.missed.Add(1) },
		RetryMin: 10 * time.Millisecond, RetryMax: 200 * time.Millisecond,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(runConsumer(n.consumer))
	testkit.Await(w.t, "a connection", func() bool { return n.consumer.Status().Connected })
	w.nodes = append(w.nodes, n)
}

// publish appends events, each until Redis has confirmed it. It returns how many
// attempts failed.
func (w *redisWorld) publish(events int) (failed int) { return w.publishThrough(events, func() {}) }

// publishThrough calls onFailure when the first attempt has failed.
func (w *redisWorld) publishThrough(events int, onFailure func()) (failed int) {
	w.t.Helper()
	const window = 50
	for end := w.sent + events; w.sent < end; {
		var waits []func() (eventlog.Position, error)
		for n := w.sent; n < min(w.sent+window, end); n++ {
			waits = append(waits, w.log.Append(w.t.Context(), eventlog.Entry{
				Key: "message.sent", MessageID: fmt.Sprint(n), Body: []byte(messageBody(n)),
			}))
		}
		good := true
		for _, wait := range waits {
			_, err := wait()
			good = good && err == nil
		}
		if good {
			w.sent += len(waits)
			continue
		}
		if failed++; failed > 1000 {
			w.t.Fatal("nothing can be appended")
		}
		if failed == 1 {
			onFailure()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return failed
}

// want waits until a node has got all events from one on, each once and in
// order.
func (w *redisWorld) want(n *redisNode, from int) {
	w.t.Helper()
	testkit.Await(w.t, "all events", func() bool {
		got := n.all()
		return len(got) > 0 && got[len(got)-1] == message(w.sent-1)
	})
	got := n.all()
	if len(got) != w.sent-from {
		w.t.Errorf("%d events came, want %d", len(got), w.sent-from)
	}
	for i, d := range got {
		if d != message(from+i) {
			w.t.Fatalf("%v is number %d", d, from+i)
		}
	}
}

func TestEveryNodeReadsTheLogInRedis(t *testing.T) {
	t.Parallel()
	w := newRedisWorld(t, 3)
	w.publish(2000)
	w.start()
	w.publish(1000)
	for _, n := range w.nodes[:3] {
		w.want(n, 0)
	}
	w.want(w.nodes[3], 2000)
	position := w.nodes[0].consumer.Totals().Position
	for i, n := range w.nodes {
		if p := n.consumer.Totals().Position; p != position {
			t.Errorf("node %d is at %d, node 0 at %d", i, uint64(p), uint64(position))
		}
	}
}

func TestNothingIsLostWhenTheWayToTheLogInRedisIsCut(t *testing.T) {
	t.Parallel()
	w := newRedisWorld(t, 2)
	for range 5 {
		w.publish(200)
		w.nodes[0].Cut()
		w.publish(300)
		w.nodes[0].Heal()
	}
	if _, err := w.redis.CLI("CLIENT", "KILL", "TYPE", "normal"); err != nil && !strings.Contains(err.Error(), "EOF") {
		t.Fatal(err)
	}
	w.publish(200)
	for _, n := range w.nodes {
		w.want(n, 0)
		if c := n.consumer.Totals(); c.Gaps != 0 || c.Logs != 0 {
			t.Errorf("counted %+v", c)
		}
	}
}

// TestASilentWayToTheLogInRedisIsGivenUp: nothing comes and nothing is closed.
func TestASilentWayToTheLogInRedisIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newRedisWorld(t, 1)
	n := w.nodes[0]
	n.Hold()
	w.publish(10)
	testkit.Await(t, "the loss to be noticed", func() bool { return !n.consumer.Status().Connected })
	n.Cut() // what was held back never comes
	n.Heal()
	w.want(n, 0)
}

func TestAFlushedRedisIsAnotherLog(t *testing.T) {
	t.Parallel()
	w := newRedisWorld(t, 2)
	w.publish(500)
	for _, n := range w.nodes {
		w.want(n, 0)
	}
	if _, err := w.redis.CLI("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	w.publish(800)
	for _, n := range w.nodes {
		w.want(n, 0)
		n.set(func(h *fakeRooms) {
			if h.anew != 2 { // also when it began
				t.Errorf("told %d times of another log", h.anew)
			}
		})
		if n.missed.Load() != 0 {
			t.Error("events were missed")
		}
	}
}

// TestNodesGoOnWhenRedisWasKilled: with a file that has every command, and
// without one.
func TestNodesGoOnWhenRedisWasKilled(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"durable": {"--appendonly", "yes", "--appendfsync", "always"}, "empty": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newRedisWorld(t, 2, args...)
			w.publish(500)
			for _, n := range w.nodes {
				w.want(n, 0)
			}
			w.redis.Kill()
			failed := w.publishThrough(500, func() {
				if err := w.redis.Launch(); err != nil {
					t.Fatal(err)
				}
			})
			if failed == 0 {
				t.Fatal("no attempt failed")
			}
			for _, n := range w.nodes {
				w.want(n, 0)
				if c := n.consumer.Totals(); c.Gaps != 0 || (c.Logs > 0) != (name == "empty") {
					t.Errorf("counted %+v", c)
				}
			}
		})
	}
}

func TestARedisReaderThatRetentionOvertakesSaysSo(t *testing.T) {
	t.Parallel()
	w := newRedisWorld(t, 2)
	w.publish(100)
	late := w.nodes[0]
	w.want(late, 0)
	late.Cut()
	w.publish(400)
	w.want(w.nodes[1], 0)
	if _, err := w.redis.CLI("XTRIM", redisKey, "MAXLEN", "100"); err != nil { // as Trim does
		t.Fatal(err)
	}
	late.Heal()
	testkit.Await(t, "the rest", func() bool { return len(late.all()) >= 200 })
	if c := late.consumer.Totals(); c.Gaps != 1 || c.Missed != 300 || late.missed.Load() != 1 || c.Logs != 0 {
		t.Errorf("counted %+v, told %d times", c, late.missed.Load())
	}
	if got := late.all(); got[100] != message(400) || got[199] != message(499) {
		t.Errorf("went on at %v and came to %v", got[100], got[199])
	}
	if w.nodes[1].missed.Load() != 0 {
		t.Error("the other node missed some")
	}
}
