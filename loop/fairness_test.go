package loop

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// crowd is a loop without sockets on which n clients are the same user and one
// is another.
func crowd(t *testing.T, n int) (sim *simulation, w *worker, other *session) {
	t.Helper()
	sim = newSimulation(t, 1)
	for i := range n + 1 {
		sim.connect(i)
	}
	sim.settle()
	sim.everybodyIsOne()
	w = sim.server.workers[0]
	other = w.sessions[n]
	other.peer.Text([]byte("1"), sim.now)
	other.peer.Text([]byte(`0{"token":"other"}`), sim.now)
	sim.settle()
	return sim, w, other
}

func (sim *simulation) deliver(t *testing.T, room string, size int) {
	t.Helper()
	m := codec.NewText([]byte(`42["news","` + strings.Repeat("x", size) + `"]`))
	sim.hub.Deliver(rooms.Broadcast{Room: room, Message: m})
}

// gnet runs posted tasks until there are none: whatever is posted while the
// loop is behind must not have it write instead of seeing to its sockets.
func TestPostsDoNotKeepALoopFromItsSockets(t *testing.T) {
	sim, w, _ := crowd(t, 4*flushBatch)
	wrote := sim.writes()
	sim.deliver(t, "user:all", 10)
	for range 100 {
		_ = w.onPosted(context.Background())
	}
	if n := sim.writes() - wrote; n > flushBatch {
		t.Errorf("%d writes without a round of epoll, want at most %d", n, flushBatch)
	}
	sim.settle()
	if n := sim.writes() - wrote; n != 4*flushBatch {
		t.Errorf("%d writes in the end, want one for each of %d", n, 4*flushBatch)
	}
}

// Clients that keep a large room busy must not keep services waiting for ever.
func TestLocalEventsDoNotStarveServices(t *testing.T) {
	sim, w, other := crowd(t, 4*flushBatch)
	for _, s := range w.sessions[:2*flushBatch] {
		s.phase = phaseClosing // does not hear the others join
	}
	for _, s := range w.sessions[:2*flushBatch] {
		s.peer.Text([]byte(`2["join_room",{"roomType":"conversation","roomId":"big"}]`), sim.now)
	}
	for _, s := range w.sessions[:2*flushBatch] {
		s.phase = phaseOpen
	}
	const messages = 100
	for range messages {
		sim.deliver(t, "user:other", deliverBatch/10)
	}
	before := w.server.config.Hub.Stats().Deliveries
	talker := w.sessions[0]
	typed := int64(0)
	for turn := 0; w.server.config.Hub.Stats().Deliveries-before-typed*(2*flushBatch-1) < messages; turn++ {
		if turn > 1000 {
			t.Fatal("the events of a service were not taken in 1,000 turns")
		}
		talker.packet([]byte(`42["typing",{"roomType":"conversation","roomId":"big"}]`), sim.now)
		typed++
		w.onWakeup()
	}
	sim.settle()
	if other.phase == phaseEnded {
		t.Error("the receiver was closed")
	}
}

// One client that says a lot in one request must not have others closed as
// slow: it is made to wait.
func TestFloodOfAnnouncementsClosesNobody(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPending = 1 << 20 })
	victim := connectWS(t, s, "victim")
	victim.join("1")
	eve := connectPolling(t, s, "eve")
	var flood strings.Builder
	const pairs = 8000
	for range pairs {
		flood.WriteString("42" + joinEvent("1") + "\x1e42" + `["leave_room",{"roomType":"conversation","roomId":"1"}]` + "\x1e")
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		eve.send(flood.String() + "42" + joinEvent("1"))
	}()
	for i := range 2*pairs + 1 {
		want := `42["user_joined"`
		if i%2 == 1 {
			want = `42["user_left"`
		}
		if got := victim.next(); !strings.HasPrefix(got, want) {
			t.Fatalf("announcement %d: %s, want %s", i, got, want)
		}
	}
	<-sent
}

// A client that asks and does not read the answers is closed.
func TestUnreadAnswersAreBounded(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) {
		c.MaxPending = 64 << 10
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 256<<10)) })
	})
	c := dial(t, s)
	go func() {
		_, _ = io.WriteString(c.conn, strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 4000))
	}()
	testkit.Await(t, "the connection to be closed", func() bool { return s.Stats().Accepted == 1 && s.Stats().Connections == 0 })
}

// Whoever sends too much is told so, although there is more to come.
func TestRefusalArrivesBeforeTheReset(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for range 20 {
		r, err := http.Post("http://"+s.Addr()+enginePoll+"&sid=x", "text/plain", strings.NewReader(strings.Repeat("x", 8_000_000)))
		if err != nil {
			t.Fatal(err)
		}
		if r.Body.Close(); r.StatusCode != http.StatusRequestEntityTooLarge {
			t.Fatalf("%d, want 413", r.StatusCode)
		}
	}
}

// panickingConn stands for a bug in what is below.
type panickingConn struct{ countingConn }

func (*panickingConn) Write([]byte) (int, error) { panic("write") }

// A bug that shows while one session is written to takes no other along.
func TestPanicInAFlushHarmsNoOther(t *testing.T) {
	sim, w, other := crowd(t, 4)
	w.sessions[1].ws.c = &panickingConn{}
	wrote := sim.writes()
	sim.deliver(t, "user:all", 10)
	sim.deliver(t, "user:other", 10)
	sim.settle()
	if n := sim.writes() - wrote; n != 4 {
		t.Errorf("%d were written to, want the 4 others", n)
	}
	if w.stats.Panics.Load() == 0 || other.phase == phaseEnded {
		t.Errorf("%d panics, another ended: %v", w.stats.Panics.Load(), other.phase == phaseEnded)
	}
}
