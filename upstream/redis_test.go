package upstream

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
	"github.com/hometrip/gateway/rooms/cluster"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/redislog"
)

// redisWorld is a Redis server and nodes that read the log there.
type redisWorld struct {
	t     *testing.T
	redis *redistest.Server
	log   *redislog.Log // log of the service that publishes
	nodes []*redisNode
	sent  int
}

// redisNode is a consumer with its own proxy to Redis.
type redisNode struct {
	*fakeRooms
	*testkit.Proxy
	consumer *Consumer
	missed   atomic.Int64
}

const redisKey = "ws:0:events"

// newRedisWorld starts Redis with these arguments, and nodes.
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

// start runs a node and waits until it is connected.
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

// publish appends numbered events and repeats each window until Redis has confirmed
// it. It returns the number of failed attempts.
func (w *redisWorld) publish(events int) (failed int) { return w.publishThrough(events, func() {}) }

// publishThrough is publish, and calls onFailure when the first attempt has failed.
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
			w.t.Fatal("1,000 attempts to append have failed")
		}
		if failed == 1 {
			onFailure()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return failed
}

// want waits until a node has got all events from number from on, each once and in
// order.
func (w *redisWorld) want(n *redisNode, from int) {
	w.t.Helper()
	testkit.Await(w.t, "all events", func() bool {
		got := n.all()
		return len(got) > 0 && got[len(got)-1] == message(w.sent-1)
	})
	got := n.all()
	if len(got) != w.sent-from {
		w.t.Errorf("%d events were delivered, want %d", len(got), w.sent-from)
	}
	for i, d := range got {
		if d != message(from+i) {
			w.t.Fatalf("got %v as event %d", d, from+i)
		}
	}
}

// Three nodes get every event of the log in Redis in order. A node that starts later
// gets the later ones, at the same positions.
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
			t.Errorf("node %d is at position %d, node 0 at %d", i, uint64(p), uint64(position))
		}
	}
}

// The connections of a node to Redis are cut several times. Every event must be
// delivered once.
func TestNoEventIsLostWhenConnectionsToRedisAreCut(t *testing.T) {
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
			t.Errorf("counted %+v, want no gaps and no new log", c)
		}
	}
}

// A node's connection to Redis becomes silent without being closed. The node must
// notice, reconnect, and miss nothing.
func TestASilentConnectionToRedisIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newRedisWorld(t, 1)
	n := w.nodes[0]
	n.Hold()
	w.publish(10)
	testkit.Await(t, "the loss to be noticed", func() bool { return !n.consumer.Status().Connected })
	n.Cut() // data that was held back is lost
	n.Heal()
	w.want(n, 0)
}

// FLUSHALL removes the log. The nodes must read the new one from its first entry, and
// report no missed events.
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
			if h.anew != 2 { // the first time was at the start
				t.Errorf("Anew was called %d times, want 2", h.anew)
			}
		})
		if n.missed.Load() != 0 {
			t.Error("Missed was called, want no missed events")
		}
	}
}

// Redis is killed and restarted, once with an append-only file and once empty. Every
// event must be delivered; only the empty Redis has a new log.
func TestNodesResumeWhenRedisWasKilled(t *testing.T) {
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
				t.Fatal("no attempt to append failed while Redis was down")
			}
			for _, n := range w.nodes {
				w.want(n, 0)
				if c := n.consumer.Totals(); c.Gaps != 0 || (c.Logs > 0) != (name == "empty") {
					t.Errorf("counted %+v, want no gaps, and a new log only without a file", c)
				}
			}
		})
	}
}

// Entries that a node has not read yet are trimmed. The node must count them as
// missed, call Missed once, and go on with the oldest entry; the other node must not
// notice.
func TestTrimmedEntriesOfRedisAreCountedAsMissed(t *testing.T) {
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
		t.Errorf("counted %+v, want 300 missed in one gap; Missed was called %d times, want once", c, late.missed.Load())
	}
	if got := late.all(); got[100] != message(400) || got[199] != message(499) {
		t.Errorf("the first event after the gap is %v, the last one %v; want 400 and 499", got[100], got[199])
	}
	if w.nodes[1].missed.Load() != 0 {
		t.Error("Missed was called on the other node")
	}
}
