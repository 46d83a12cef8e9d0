package loop

import (
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// asleepNow reports whether the loop does not wake at the next tick.
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
		t.Errorf("loops that sleep have the turn age %v, want 0", age)
	}
	release := make(chan struct{})
	s.workers[1].shard.Post(func(time.Time) { <-release })
	testkit.Await(t, "the turn age of a blocked loop that was asleep", func() bool { return s.TurnAge(time.Now()) > 100*time.Millisecond })
	close(release)
	awaitSleep(t, s)
}

// A ping is due while the loop sleeps. It must be sent.
func TestSleepingLoopWakesForItsTimers(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Loops, c.PingInterval = 1, time.Second })
	c, _ := openWS(t, s)
	for range 2 {
		awaitSleep(t, s)
		c.want("2")
		c.text("3")
	}
}

// A loop that drains ends sessions at each tick, so it must not sleep.
func TestDrainingLoopDoesNotSleep(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Loops, c.DrainPeriod = 1, time.Second })
	c, _ := openWS(t, s)
	awaitSleep(t, s)
	s.Renew()
	c.wantEnd()
}

// A loop with pending bytes must not sleep, because gnet does not report when a
// client has read them.
func TestLoopWithPendingBytesDoesNotSleep(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Loops = 1 })
	p := openPolling(t, s)
	awaitSleep(t, s)
	w := s.workers[0]
	s.on(0, func(w *worker, _ time.Time) { w.bySID[p.sid].Send(pingMessage) })
	testkit.Await(t, "the pending bytes to be counted", func() bool { return w.stats.Held.Load() > 0 })
	if w.asleepNow() {
		t.Error("the loop sleeps, want it awake")
	}
}
