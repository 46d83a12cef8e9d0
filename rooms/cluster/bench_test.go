package cluster

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms/cluster/core"
)

// benchWorld returns a world with n nodes; the first and the last have a member
// each of conversation:1. received counts the packets of the last one.
func benchWorld(b *testing.B, n int) (w *world, ann *client, received *atomic.Int64) {
	w = newOwnWorld(b)
	var nodes []*node
	for range n {
		nodes = append(nodes, w.node(func(c *Config) { c.Lease, c.Linger = time.Hour, time.Hour }))
	}
	ann = nodes[0].connect("ann")
	ann.do("join_room", "1")
	received = new(atomic.Int64)
	last := nodes[len(nodes)-1]
	countingClient := &countingClient{client: &client{n: last, shard: last.hub.Shard(0)}, received: received}
	countingClient.run(func(now time.Time) { countingClient.socket = countingClient.shard.Open(countingClient, "", now) })
	countingClient.text(`0{"token":"bob"}`)
	countingClient.text(`21["join_room",` + conversation("1") + `]`)
	testkit.Await(b, "bob's join to be acknowledged", func() bool { return countingClient.received.Load() >= 3 })
	ann.want("user_joined")
	ann.do("typing", "1")
	testkit.Await(b, "the first message", func() bool { return countingClient.received.Load() >= 4 })
	received.Store(0)
	return w, ann, received
}

// A countingClient counts packets, and does not keep them.
type countingClient struct {
	*client
	received *atomic.Int64
}

func (e *countingClient) Send(*codec.Message) { e.received.Add(1) }

// cpu returns the CPU time of this process, which does not include Redis.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (w *world) redisCPU() time.Duration {
	var sum float64
	for line := range strings.Lines(w.cli("INFO", "cpu")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			v, _ := strconv.ParseFloat(value, 64)
			sum += v
		}
	}
	return time.Duration(sum * 1e9)
}

// BenchmarkLatency measures one event at a time, from a client's packet on one
// node to a sink on the other.
func BenchmarkLatency(b *testing.B) {
	_, ann, received := benchWorld(b, 2)
	packet := []byte(`2["typing",` + conversation("1") + `]`)
	n := int64(0)
	for b.Loop() {
		n++
		ann.shard.Post(func(now time.Time) { ann.socket.Text(packet, now) })
		for received.Load() < n {
			time.Sleep(time.Microsecond)
		}
	}
}

// BenchmarkFleet measures a message to a room on two nodes, in clusters of 2, 4
// and 8 nodes. All nodes run in this process.
func BenchmarkFleet(b *testing.B) {
	for _, nodes := range []int{2, 4, 8} {
		b.Run(fmt.Sprint("nodes ", nodes), func(b *testing.B) {
			w, ann, received := benchWorld(b, nodes)
			packet := []byte(`2["typing",` + conversation("1") + `]`)
			const inFlight = 1000
			ours, redis := cpu(), w.redisCPU()
			b.ResetTimer()
			for i := 0; i < b.N; i += 100 {
				burst := min(100, b.N-i)
				ann.shard.Post(func(now time.Time) {
					for range burst {
						ann.socket.Text(packet, now)
					}
				})
				for int64(i)-received.Load() > inFlight {
					time.Sleep(10 * time.Microsecond)
				}
			}
			testkit.Await(b, "the last message", func() bool { return received.Load() >= int64(b.N) })
			b.StopTimer()
			b.ReportMetric(float64((cpu()-ours).Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64((w.redisCPU()-redis).Nanoseconds())/float64(b.N), "redis-cpu-ns/op")
		})
	}
}

// BenchmarkLocal measures the question whether a room is on other nodes, for a
// room that is on this node only.
func BenchmarkLocal(b *testing.B) {
	w := newOwnWorld(b)
	a := w.node(func(c *Config) { c.Lease = time.Hour })
	ann := a.connect("ann")
	ann.do("join_room", "1")
	testkit.Await(b, "the node to know that the room is local", func() bool {
		ann.do("typing", "1")
		return !a.cluster.Elsewhere("conversation:1")
	})
	b.ReportAllocs()
	for b.Loop() {
		if a.cluster.Elsewhere("conversation:1") {
			b.Fatal("the room is on another node, want it local")
		}
	}
}

// BenchmarkRegister measures how a new session writes all rooms to the directory.
func BenchmarkRegister(b *testing.B) {
	w := newOwnWorld(b)
	a := w.node(func(c *Config) { c.Lease = time.Hour })
	for i := range b.N {
		a.cluster.Occupied(fmt.Sprint("conversation:", i), "ann")
	}
	testkit.Await(b, "all rooms in the directory", func() bool { return a.cluster.Stats().Writes >= int64(b.N) })
	writes := a.cluster.Stats().Writes
	b.ResetTimer()
	a.cluster.with(func(n *core.Node, now time.Time) { n.Lost("a benchmark", now) })
	for a.cluster.Stats().Writes < writes+int64(b.N) {
		time.Sleep(100 * time.Microsecond)
	}
}
