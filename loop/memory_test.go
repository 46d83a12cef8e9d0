package loop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// buffered returns the number of bytes that wait to be parsed on all HTTP
// connections.
func (s *Server) buffered() (n int) {
	s.onAll(func(w *worker, _ time.Time) {
		for _, owner := range w.timers() {
			if h, ok := owner.(*httpConn); ok && h.c != nil {
				n += h.c.InboundBuffered()
			}
		}
	})
	return n
}

func TestSessionsAreRefusedWhileMemoryIsShort(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	there := connectWS(t, s, "there")
	s.Tight(true)
	if status := dial(t, s).upgrade(); status != 503 {
		t.Errorf("a new session: %d, want 503", status)
	}
	there.join("1")
	s.Tight(false)
	connectWS(t, s, "new").join("2")
	if got := s.Stats().RefusedTight; got != 1 {
		t.Errorf("%d counted as refused, want 1", got)
	}
}

// Ten slow readers each stay below MaxPending, and exceed MaxHeld together. The
// sessions with the most pending bytes must be closed, and no others.
func TestTotalPendingBytesAreLimited(t *testing.T) {
	t.Parallel()
	const readers, most = 10, 8 << 20
	s := newServer(t, func(c *Config) { c.MaxPending, c.MaxHeld = 8<<20, most })
	var slow []socket
	for i := range readers {
		c := dialSlow(t, s, fmt.Sprint("slow", i))
		slow = append(slow, c)
	}
	idle := connectPolling(t, s, "idle") // does not poll
	quick := connectWS(t, s, "quick")
	text := strings.Repeat("x", 64<<10)
	sent := 0
	for n := 0; s.Stats().Shed == 0; n++ {
		if n > 2000 {
			t.Fatalf("no session was closed: %+v", s.Stats())
		}
		for i := range readers {
			if i <= n%readers { // the first readers get more
				deliver(t, s, fmt.Sprint("user:slow", i), fmt.Sprintf(`42["%d","%s"]`, n, text))
			}
		}
		deliver(t, s, "user:idle", fmt.Sprintf(`42["%d","%s"]`, n, text[:100]))
		deliver(t, s, "user:quick", fmt.Sprintf(`42["%d"]`, n))
		quick.want(fmt.Sprintf(`42["%d"]`, n))
		sent++
	}
	s.sync(t)
	st := s.Stats()
	if st.Held > most+readers*128<<10 {
		t.Errorf("%d bytes are held, want about %d at most", st.Held, most)
	}
	if st.Closed[rooms.ReasonShed] != st.Shed || st.Closed[rooms.ReasonSlowConsumer] != 0 {
		t.Errorf("sessions closed by reason %v, want only shed ones", st.Closed)
	}
	for range sent { // in several polls
		idle.next()
	}
	for _, c := range slow {
		c.conn.Close()
	}
	testkit.Await(t, "nothing to be waiting", func() bool { return s.Stats().Held == 0 && s.Stats().Sessions == 2 })
}
