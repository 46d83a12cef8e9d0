package loop

import (
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// asleep reports whether a loop is to wake at a later time only.
func (w *worker) asleepNow() bool {
	return time.Duration(w.lastTurn.Load()) > rooms.Monotonic(time.Now())+awakeTicks*tickerInterval/2
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
