package loop

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// asleep reports whether a loop is to wake at a later time only.
func (w *worker) asleepNow() bool {
	return time.Duration(w.lastTurn.Load()) > rooms.Monotonic(time.Now())+awakeBeats*beatInterval/2
}

func awaitSleep(t *testing.T, s *Server) {
	t.Helper()
	for _, w := range s.workers {
		testkit.Await(t, "the loop to sleep", w.asleepNow)
	}
}

func TestIdleLoopsSleep(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	awaitSleep(t, s)
	if age := s.TurnAge(time.Now()); age != 0 {
		t.Errorf("loops that sleep are %v late", age)
	}
	release := make(chan struct{})
	s.workers[1].shard.Post(func(time.Time) { <-release })
	testkit.Await(t, "a loop that hangs to be late, though it slept", func() bool { return s.TurnAge(time.Now()) > 100*time.Millisecond })
	close(release)
	awaitSleep(t, s)
}

// TestALoopWakesForItsTimers: a ping is due while it sleeps.
func TestALoopWakesForItsTimers(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Loops, c.PingInterval = 1, time.Second })
	c, _ := openWS(t, s)
	for range 2 {
		awaitSleep(t, s)
		c.want("2")
		c.text("3")
	}
}

// TestALoopThatDrainsDoesNotSleep: it ends sessions at each tick.
func TestALoopThatDrainsDoesNotSleep(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Loops, c.DrainPeriod = 1, time.Second })
	c, _ := openWS(t, s)
	awaitSleep(t, s)
	s.Renew()
	c.wantEnd()
}

// TestALoopWithDebtorsDoesNotSleep: gnet does not tell when a client has read
// what waits for it.
func TestALoopWithDebtorsDoesNotSleep(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Loops = 1 })
	p := openPolling(t, s)
	awaitSleep(t, s)
	w := s.workers[0]
	s.on(0, func(w *worker, _ time.Time) { w.bySID[p.sid].Send(pingMessage) })
	testkit.Await(t, "the debt to be known", func() bool { return w.stats.Owed.Load() > 0 })
	if w.asleepNow() {
		t.Error("the loop sleeps")
	}
}

// TestWheelsNextIsNeverTooLate: a wheel that is advanced at what next says rings
// every timer at its tick, and is not advanced much more often than that.
func TestWheelsNextIsNeverTooLate(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, reach := range []int64{50, 5_000, 500_000, 20_000_000} {
		start := time.Now()
		w := newWheel(start)
		w.advance(start.Add(ticks(random.Int64N(10_000))))
		due := make(map[*alarm]int64)
		for range 50 {
			a := &alarm{}
			due[a] = w.now + 1 + random.Int64N(reach)
			w.arm(&a.timer, a, w.at(due[a]))
		}
		looks := 0
		for ; w.armed > 0; looks++ {
			next := w.next()
			w.advance(w.at(next))
			for a, at := range due {
				if late := at <= next; late != (a.rings == 1) {
					t.Fatalf("reach %d: due at %d, at %d it has rung %d times", reach, at, next, a.rings)
				}
			}
		}
		if looks > 50*wheelLevels {
			t.Errorf("reach %d: %d looks for 50 timers", reach, looks)
		}
		if w.next() != farthestTick {
			t.Errorf("an empty wheel is to be advanced at %d", w.next())
		}
	}
}
