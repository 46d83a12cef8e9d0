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

// crowd returns a simulation of one loop on which n clients are the same user,
// and another client.
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

// gnet runs posted tasks until none is left. Tasks that are posted while the
// loop is late must not write, so that the loop gets to its sockets.
func TestPostedTasksDoNotDelaySockets(t *testing.T) {
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

// Clients send events to a large room all the time. Events of services must be
// delivered within a number of turns.
func TestLocalEventsDoNotStarveServices(t *testing.T) {
	sim, w, other := crowd(t, 4*flushBatch)
	for _, s := range w.sessions[:2*flushBatch] {
		s.phase = phaseClosing // does not get user_joined of the others
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

// One client sends 16,000 joins and leaves in one POST. The other member of the
// room must get all announcements, and must not be closed as a slow consumer:
// the sender has to wait.
func TestFloodOfAnnouncementsClosesNoReceiver(t *testing.T) {
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

// A client sends requests and does not read the answers. Its connection must be
// closed when MaxPending bytes wait.
func TestUnreadAnswersAreLimited(t *testing.T) {
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

// A client sends a body beyond the limit. It must be able to read the answer
// 413, although the server does not read the rest of the body.
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

// A panickingConn is a connection whose writes panic.
type panickingConn struct{ countingConn }

func (*panickingConn) Write([]byte) (int, error) { panic("write") }

// Writing to one session panics. The other sessions must get their messages.
func TestPanicInAFlushAffectsNoOtherSession(t *testing.T) {
	sim, w, other := crowd(t, 4)
	w.sessions[1].ws.c = &panickingConn{}
	wrote := sim.writes()
	sim.deliver(t, "user:all", 10)
	sim.deliver(t, "user:other", 10)
	sim.settle()
	if n := sim.writes() - wrote; n != 4 {
		t.Errorf("%d writes, want one for each of the 4 other sessions", n)
	}
	if w.stats.Panics.Load() == 0 || other.phase == phaseEnded {
		t.Errorf("%d panics, want some; another session has ended: %v, want false", w.stats.Panics.Load(), other.phase == phaseEnded)
	}
}
