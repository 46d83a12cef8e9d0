package loop

import (
	"context"
	"flag"
	"log/slog"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

var simulated = flag.Int("simulated", 100_000, "sessions of BenchmarkSimulated")

// A countingConn is a gnet connection that counts writes and keeps nothing. All
// sessions of a loop share one.
type countingConn struct {
	gnet.Conn
	writes, bytes int
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.writes++
	c.bytes += len(b)
	return len(b), nil
}

func (c *countingConn) OutboundBuffered() int { return 0 }

// An idleLoop is a gnet event loop that does nothing: the test runs the turns.
type idleLoop struct{ gnet.EventLoop }

func (idleLoop) Execute(context.Context, gnet.Runnable) error { return nil }

// userAuth accepts every token, as the id of its user.
type userAuth struct{}

func (userAuth) Authenticate(token []byte, _ rooms.Presenter, now time.Time, done func(rooms.Identity, error)) {
	done(rooms.Identity{UserID: string(token), Expires: now.Add(24 * time.Hour)}, nil)
}

// A simulation is a server without sockets: everything above gnet is real.
type simulation struct {
	server *Server
	hub    *rooms.Hub
	conns  []*countingConn // one for each loop
	now    time.Time
	turns  []time.Duration // the CPU time of each turn
}

func newSimulation(tb testing.TB, loops int) *simulation {
	hub, err := rooms.New(rooms.Config{
		Shards: loops, Auth: userAuth{}, ConnectTimeout: time.Minute,
		MaxPacket: 1e6, MaxMailbox: 1 << 16, Handlers: rooms.ClientEvents(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	server, err := New(Config{
		Address: "127.0.0.1:1", Loops: loops, Hub: hub, Log: slog.New(slog.DiscardHandler),
		PingInterval: 25 * time.Second, PingTimeout: time.Minute, HeadTimeout: time.Second, KeepAlive: time.Second,
		MaxHead: 8 << 10, MaxPayload: 1e6, MaxPending: 1 << 20, MaxConnections: 1,
	})
	if err != nil {
		tb.Fatal(err)
	}
	sim := &simulation{server: server, hub: hub, now: time.Now()}
	for _, w := range server.workers {
		again, near, err := newWakeup()
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { again.close(); near.Close() })
		w.loop, w.wakeup, again.w = idleLoop{}, again, w
		sim.conns = append(sim.conns, &countingConn{})
	}
	return sim
}

// connect opens a session on WebSocket, connects it, and joins a conversation
// of four.
func (sim *simulation) connect(i int) {
	w := sim.server.workers[i%len(sim.server.workers)]
	s := newSession(w, nil, sim.now)
	s.ws = &wsConn{c: sim.conns[w.index], s: s}
	s.packet([]byte(`40{"token":"`+strconv.Itoa(i)+`"}`), sim.now)
	s.packet([]byte(`42["join_room",{"roomType":"conversation","roomId":"`+strconv.Itoa(i/4)+`"}]`), sim.now)
	if i%256 == 0 {
		sim.settle()
	}
}

// settle runs turns until no loop has anything to do or to write.
func (sim *simulation) settle() {
	for busy := true; busy; {
		busy = false
		for _, w := range sim.server.workers {
			start := threadTime()
			w.onWakeup()
			sim.turns = append(sim.turns, threadTime()-start)
			busy = busy || w.turns.scheduled || w.turns.posted || w.outbox.used > 0
		}
	}
}

// pingAll lets one ping interval pass. Every client answers at once.
func (sim *simulation) pingAll() {
	for end := sim.now.Add(25*time.Second + wheel.Tick); sim.now.Before(end); {
		sim.now = sim.now.Add(wheel.Tick)
		for _, w := range sim.server.workers {
			w.wheel.Advance(sim.now)
		}
		sim.settle()
		sim.answerPings()
	}
}

func (sim *simulation) answerPings() {
	for _, w := range sim.server.workers {
		for _, s := range w.sessions {
			if s.pinged {
				s.pong(sim.now)
			}
		}
	}
}

func (sim *simulation) writes() (n int) {
	for _, c := range sim.conns {
		n += c.writes
	}
	return n
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// threadTime returns the CPU time of the calling thread, which does not depend
// on other load.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

const broadcasts = 5

// BenchmarkSimulated measures a node without sockets: memory of a session,
// heartbeats, and broadcasts to everybody. The benchmark suite runs it with
// -simulated 1000000 -benchtime 1x; more iterations would run beside the
// garbage of the first million.
func BenchmarkSimulated(b *testing.B) {
	runtime.LockOSThread() // for threadTime
	defer runtime.UnlockOSThread()
	sim, n := newSimulation(b, 2), float64(*simulated)
	figures := make(map[string]float64)
	before, cpu := heapInUse(), cpuTime()
	for i := range *simulated {
		sim.connect(i)
	}
	sim.settle()
	figures["connect-us/session"] = float64((cpuTime() - cpu).Microseconds()) / n
	figures["heap-B/session"] = float64(heapInUse()-before) / n
	figures["heartbeat-ns/session"] = float64(sim.heartbeat(b)) / n
	sim.everybodyIsOne()

	wrote := sim.writes()
	sim.turns, cpu = sim.turns[:0], cpuTime()
	b.ResetTimer()
	for range b.N * broadcasts {
		m := codec.NewText([]byte(`42["new_notification",{"notificationId":"1","message":"hello"}]`))
		sim.hub.Deliver(rooms.Broadcast{Room: "user:all", Message: m})
		sim.settle()
	}
	b.StopTimer()
	if got, want := sim.writes()-wrote, b.N*broadcasts**simulated; got != want {
		b.Fatalf("%d deliveries, want %d", got, want)
	}
	figures["broadcast-ns/delivery"] = float64(cpuTime()-cpu) / n / float64(b.N*broadcasts)
	slices.Sort(sim.turns)
	figures["turn-p99-us"] = float64(sim.turns[len(sim.turns)*99/100].Microseconds())
	figures["turn-p999-us"] = float64(sim.turns[len(sim.turns)*999/1000].Microseconds())
	figures["turn-max-us"] = float64(sim.turns[len(sim.turns)-1].Microseconds())
	figures["gc-pause-p99-us"] = gcPauseP99() * 1e6
	for unit, v := range figures {
		b.ReportMetric(v, unit)
	}
}

// heartbeat returns the CPU time of one heartbeat of every session, without the
// time in which the simulation looks for pings to answer.
func (sim *simulation) heartbeat(b *testing.B) time.Duration {
	b.Helper()
	cpu := cpuTime()
	for range 25*int(time.Second/wheel.Tick) + 1 {
		sim.answerPings()
	}
	search := cpuTime() - cpu
	wrote := sim.writes()
	cpu = cpuTime()
	sim.pingAll()
	if pings := sim.writes() - wrote; pings < *simulated {
		b.Fatalf("%d pings for %d sessions", pings, *simulated)
	}
	return cpuTime() - cpu - search
}

// everybodyIsOne connects all clients again as the same user. The room of a
// user is the only one that can be joined without announcements.
func (sim *simulation) everybodyIsOne() {
	for _, w := range sim.server.workers {
		for i, s := range w.sessions {
			s.peer.Text([]byte("1"), sim.now)
			s.peer.Text([]byte(`0{"token":"all"}`), sim.now)
			if i%256 == 0 {
				sim.settle()
			}
		}
	}
	sim.settle()
}

// gcPauseP99 returns the 99th percentile of the garbage collector's pauses, in
// seconds.
func gcPauseP99() float64 {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	h := sample[0].Value.Float64Histogram()
	var total, seen uint64
	for _, n := range h.Counts {
		total += n
	}
	for i, n := range h.Counts {
		if seen += n; n > 0 && seen*100 >= total*99 {
			return h.Buckets[i+1]
		}
	}
	return 0
}
