package loop

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/clocktest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// dialFrom dials from a loopback address.
func dialFrom(t testing.TB, s *Server, address string) *wire {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &wire{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// upgrade sends a WebSocket handshake and returns the status.
func (c *wire) upgrade(headers ...string) int {
	c.t.Helper()
	c.send(requestText("GET", engineSocket, "", append(headers, webSocketHeaders)...))
	return c.receive().status
}

func TestConnectionsOfOneAddressAreLimited(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPerAddress = 3 })
	var open []*wire
	for i := range 3 {
		c := dialFrom(t, s, "127.0.0.2")
		if i < 2 {
			if status := c.upgrade(); status != 101 { // stays open
				t.Fatal(status)
			}
		}
		open = append(open, c)
	}
	testkit.Await(t, "the places to be taken", func() bool { return s.guard.Places() == 3 })
	for range 5 {
		c := dialFrom(t, s, "127.0.0.2")
		if r := c.receive(); r.status != 503 || r.header.Get("Retry-After") == "" {
			t.Errorf("a connection beyond the limit: %d %v, want 503", r.status, r.header)
		}
		c.wantEOF()
	}
	if status := dialFrom(t, s, "127.0.0.3").upgrade(); status != 101 {
		t.Errorf("from another address: %d, want 101", status)
	}
	for _, c := range open {
		c.conn.Close()
		testkit.Await(t, "a place", func() bool { return s.guard.Places() == 3 })
		c := dialFrom(t, s, "127.0.0.2")
		if status := c.upgrade(); status != 101 {
			t.Errorf("after one was closed: %d, want 101", status)
		}
		testkit.Await(t, "the place to be taken", func() bool { return s.guard.Places() == 4 })
	}
	if st := s.Stats(); st.RefusedAddress != 5 {
		t.Errorf("%d counted as refused, want 5", st.RefusedAddress)
	}
}

func TestMovedConnectionIsCountedOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPerAddress = 100 })
	first, second := openPollingOn(t, s, 0), openPollingOn(t, s, 1)
	const before = 2 * 3 // two sessions with two connections each
	testkit.Await(t, "the connections", func() bool { return s.guard.Places() == before })
	var open []*wire
	for range 10 { // half of them are on the other loop
		for _, p := range []*pollSession{first, second} {
			c := dial(t, s)
			if r := c.do("POST", p.target(), "3"); r.status != 200 {
				t.Fatalf("POST: %d %s, want 200", r.status, r.body)
			}
			open = append(open, c)
		}
	}
	if moved := s.Stats().Moved; moved == 0 {
		t.Fatal("no connection has moved")
	}
	if n := s.guard.Places(); n != before+len(open) {
		t.Errorf("%d places are held, want %d", n, before+len(open))
	}
	for _, c := range open {
		c.conn.Close()
	}
	testkit.Await(t, "the places", func() bool { return s.guard.Places() == before })
}

func TestPollingSessionsOfOneAddressAreLimited(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPerAddress = 3 })
	c := dialFrom(t, s, "127.0.0.2")
	sid := ""
	for range 3 {
		sid = parseOpen(t, c.do("GET", enginePoll, "").body).SID
	}
	if r := c.do("GET", enginePoll, ""); r.status != 503 {
		t.Errorf("a session beyond the limit: %d, want 503", r.status)
	}
	other := dialFrom(t, s, "127.0.0.3")
	if r := other.do("GET", enginePoll, ""); r.status != 200 {
		t.Errorf("from another address: %d, want 200", r.status)
	}
	again := dialFrom(t, s, "127.0.0.2")
	again.do("POST", enginePoll+"&sid="+sid, "1")
	if r := again.do("GET", enginePoll, ""); r.status != 200 {
		t.Errorf("after a session has ended: %d, want 200", r.status)
	}
}

func TestHandshakesPerSecondAreLimited(t *testing.T) {
	t.Parallel()
	slow := rooms.Rate{PerSecond: 1, Burst: 3}
	for name, change := range map[string]func(*Config){
		"of the node":       func(c *Config) { c.Handshakes = slow },
		"of one address":    func(c *Config) { c.HandshakesPerAddress = slow },
		"of both, the same": func(c *Config) { c.Handshakes, c.HandshakesPerAddress = rooms.Rate{PerSecond: 1, Burst: 4}, slow },
	} {
		s := newServer(t, change)
		for i := range 6 {
			c := dialFrom(t, s, "127.0.0.2")
			status := 0
			if i%2 == 0 {
				status = c.upgrade()
			} else {
				status = c.do("GET", enginePoll, "").status
			}
			if ok := status == 101 || status == 200; ok != (i < 3) {
				t.Errorf("%s: handshake %d was answered with %d", name, i, status)
			}
		}
		if got := s.Stats().RefusedRate; got != 3 {
			t.Errorf("%s: %d refused, want 3", name, got)
		}
		status := dialFrom(t, s, "127.0.0.3").upgrade()
		if ok := status == 101; ok != (name != "of the node") {
			t.Errorf("%s: a handshake from another address was answered with %d", name, status)
		}
	}
}

// The wall clock is set back and forth. The age of the last turn must be the
// time that has passed.
func TestTurnAgeWhileTheClockIsSet(t *testing.T) {
	w := &worker{}
	s := &Server{workers: []*worker{w}}
	c := clocktest.Clock{Wall: time.Now()}
	for _, step := range clocktest.Steps {
		w.turned(c.Now())
		c.Set(step)
		c.Pass(time.Second)
		if age := s.TurnAge(c.Now()); age != time.Second {
			t.Errorf("after %v the last turn was %v ago, want 1s", step, age)
		}
	}
}

func TestTooManyBytesEndTheSession(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) {
		c.MaxPayload = 10_000
		c.Bytes = rooms.Rate{PerSecond: 1000, Burst: 20_000}
	})
	text := "3" + strings.Repeat("x", 999) // has the type of a pong
	flood, quick := connectWS(t, s, "flood"), connectWS(t, s, "quick")
	for range 18 {
		flood.text(text)
	}
	flood.join("1")
	for range 3 {
		_, _ = io.WriteString(flood.conn, frame(true, ws.OpPing, "")+frame(true, ws.OpText, text)) // fails when the session has ended
	}
	for _, _, err := flood.read(); err == nil; _, _, err = flood.read() {
	}
	p := openPolling(t, s)
	for i := range 21 {
		known := false
		s.on(p.loop(), func(w *worker, _ time.Time) { known = w.bySID[p.sid] != nil })
		if !known {
			t.Fatalf("the session has ended after %d posts", i)
		}
		dial(t, s).do("POST", p.target(), text)
	}
	p.wantUnknown()
	quick.join("1")
	testkit.Await(t, "both to be counted", func() bool { return s.Stats().Closed[rooms.ReasonTooFast] == 2 })
}
