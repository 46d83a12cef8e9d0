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

// benchWorld has n nodes, the first two with a member each of conversation:1.
// heard counts what the second one gets.
func benchWorld(b *testing.B, n int) (w *world, ann *client, heard *atomic.Int64) {
	w = newOwnWorld(b)
	var nodes []*node
	for range n {
		nodes = append(nodes, w.node(func(c *Config) { c.Lease, c.Linger = time.Hour, time.Hour }))
	}
	ann = nodes[0].connect("ann")
	ann.do("join_room", "1")
	heard = new(atomic.Int64)
	last := nodes[len(nodes)-1]
	ear := &ear{client: &client{n: last, shard: last.hub.Shard(0)}, heard: heard}
	ear.run(func(now time.Time) { ear.socket = ear.shard.Open(ear, "", now) })
	ear.text(`0{"token":"bob"}`)
	ear.text(`21["join_room",` + conversation("1") + `]`)
	testkit.Await(b, "bob's join to be acknowledged", func() bool { return ear.heard.Load() >= 3 })
	ann.want("user_joined")
	ann.do("typing", "1")
	testkit.Await(b, "the first message", func() bool { return ear.heard.Load() >= 4 })
	heard.Store(0)
	return w, ann, heard
}

// An ear is a client that only counts.
type ear struct {
	*client
	heard *atomic.Int64
}

func (e *ear) Send(*codec.Message) { e.heard.Add(1) }

// cpu is the time this process has used; Redis has its own.
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

// BenchmarkLatency is the way of one event at a time from a client's packet on
// one node to a sink on the other.
func BenchmarkLatency(b *testing.B) {
	_, ann, heard := benchWorld(b, 2)
	packet := []byte(`2["typing",` + conversation("1") + `]`)
	n := int64(0)
	for b.Loop() {
		n++
		ann.shard.Post(func(now time.Time) { ann.socket.Text(packet, now) })
		for heard.Load() < n {
			time.Sleep(time.Microsecond)
		}
	}
}

// BenchmarkFleet is the cost of a message to a room on two nodes as there are
// more of them. All nodes run in this process.
func BenchmarkFleet(b *testing.B) {
	for _, nodes := range []int{2, 4, 8} {
		b.Run(fmt.Sprint("nodes ", nodes), func(b *testing.B) {
			w, ann, heard := benchWorld(b, nodes)
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
				for int64(i)-heard.Load() > inFlight {
					time.Sleep(10 * time.Microsecond)
				}
			}
			testkit.Await(b, "the last message", func() bool { return heard.Load() >= int64(b.N) })
			b.StopTimer()
			b.ReportMetric(float64((cpu()-ours).Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64((w.redisCPU()-redis).Nanoseconds())/float64(b.N), "redis-cpu-ns/op")
		})
	}
}

// BenchmarkLocal is what a node pays for being in a cluster when a room is its
// own.
func BenchmarkLocal(b *testing.B) {
	w := newOwnWorld(b)
	a := w.node(func(c *Config) { c.Lease = time.Hour })
	ann := a.connect("ann")
	ann.do("join_room", "1")
	testkit.Await(b, "the room to be seen as local", func() bool {
		ann.do("typing", "1")
		return !a.cluster.Elsewhere("conversation:1")
	})
	b.ReportAllocs()
	for b.Loop() {
		if a.cluster.Elsewhere("conversation:1") {
			b.Fatal("elsewhere")
		}
	}
}

// BenchmarkRegister is a new session's work for each room.
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
