package loop

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

func TestMaxConnections(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxConnections = 5 })
	var open []*wire
	sid := ""
	for range 5 {
		c := dial(t, s)
		sid = parseOpen(t, c.do("GET", enginePoll, "").body).SID
		open = append(open, c)
	}
	for range 10 {
		c := dial(t, s)
		if r := c.receive(); r.status != 503 || r.header.Get("Retry-After") == "" {
			t.Errorf("a connection beyond the limit: %d %v, want 503", r.status, r.header)
		}
		c.wantEOF()
	}
	if st := s.Stats(); st.RefusedFull != 10 || st.Connections != 5 {
		t.Errorf("%d refused, %d open, want 10 and 5", st.RefusedFull, st.Connections)
	}
	for _, c := range open {
		if r := c.do("GET", "/socket.io/", ""); r.status != 400 {
			t.Errorf("a request on a connection within the limit: %d, want 400", r.status)
		}
	}
	open[0].conn.Close()
	testkit.Await(t, "one connection to be counted less", func() bool { return s.conns.Load() == 4 })
	c := dial(t, s)
	if r := c.do("POST", enginePoll+"&sid="+sid, "1"); r.status != 200 {
		t.Errorf("POST on a connection within the limit: %d %s, want 200", r.status, r.body)
	}
	c.conn.Close()
	testkit.Await(t, "one connection and one session to be counted less", func() bool { return s.conns.Load() == 4 && s.Stats().Sessions == 4 })
	connectWS(t, s, "ann").join("1")
}

// MaxConnections also limits sessions, because a polling session needs no
// connection of its own.
func TestMaxSessions(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxConnections = 5 })
	c := dial(t, s)
	for range 5 {
		if r := c.do("GET", enginePoll, ""); r.status != 200 {
			t.Fatalf("%d %s, want 200", r.status, r.body)
		}
	}
	if r := c.do("GET", enginePoll, ""); r.status != 503 || !r.close {
		t.Errorf("a session beyond the limit: %d, close %v, want 503 and true", r.status, r.close)
	}
	if r := dial(t, s).do("GET", engineSocket, "", webSocketHeaders); r.status != 503 {
		t.Errorf("a session on WebSocket beyond the limit: %d, want 503", r.status)
	}
	s.elapse(26 * time.Second) // pings are sent
	s.elapse(50 * time.Second) // no pong has come
	testkit.Await(t, "the sessions to end", func() bool { return s.Stats().Sessions == 0 })
	connectWS(t, s, "ann").join("1")
}

// At the limit of connections, one that moves to another loop must not be
// counted as a new one.
func TestConnectionsMoveAtMaxConnections(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, func(c *Config) { c.MaxConnections = 4 })
	a, b := openPolling(t, s), openPolling(t, s)
	for _, p := range []*pollSession{a, b} {
		p.send("4x")
		p.want("4x")
	}
	for range 20 { // on every loop, at the limit
		a.post.conn.Close()
		testkit.Await(t, "the connection to end", func() bool { return s.conns.Load() == 3 })
		a.post = dial(t, s)
		a.send("4x")
		a.want("4x")
	}
	if st := s.Stats(); st.Moved == 0 || st.RefusedFull != 0 {
		t.Errorf("%d moved, %d refused, want some and none", st.Moved, st.RefusedFull)
	}
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.PingInterval, c.PingTimeout = 200*time.Millisecond, 5*time.Second })
	c := connectWS(t, s, "ann")
	p := connectPolling(t, s, "bob")
	for range 3 {
		c.want("2")
		c.text("3")
		p.want("2")
		p.send("3")
	}
	up := p.upgrade()
	for range 3 {
		up.want("2")
		up.text("3")
	}
	if n := s.Stats().Sessions; n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

func TestPingTimeout(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.PingInterval, c.PingTimeout = time.Second, time.Second })
	c := connectWS(t, s, "ann")
	p := connectPolling(t, s, "bob")      // does not poll
	parked := connectPolling(t, s, "eve") // polls, but does not answer
	parked.want("2")
	parked.get.send(requestText("GET", parked.target(), ""))
	c.want("2")
	c.text("42" + joinEvent("1")) // another packet is not a pong
	parked.wantUnknownIn(parked.get.receive())
	c.wantEnd()
	testkit.Await(t, "all sessions to end", func() bool { return s.Stats().Sessions == 0 })
	p.wantUnknown()
	if st := s.Stats(); st.Closed[rooms.ReasonPingTimeout] != 3 || s.config.Hub.Stats().Members != 0 {
		t.Errorf("closed %v, %d memberships", st.Closed, s.config.Hub.Stats().Members)
	}
}

// dialSlow connects a client with a small receive buffer, so that little is
// sent before it reads.
func dialSlow(t testing.TB, s *Server, token string) socket {
	t.Helper()
	c := dial(t, s)
	_ = c.conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.send(requestText("GET", engineSocket, "", webSocketHeaders))
	c.receive()
	slow := socket{c}
	slow.next()
	slow.connect(token)
	return slow
}

func TestSlowConsumerIsClosed(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPending = 256 << 10 })
	slow, quick := dialSlow(t, s, "slow"), connectWS(t, s, "quick")
	idle := connectPolling(t, s, "idle") // does not poll
	idle.send("42" + joinEvent("1"))
	quick.join("1")
	idle.next()
	slow.join("1")
	quick.next()
	text := strings.Repeat("x", 16<<10)
	ended := func() bool { return s.Stats().Closed[rooms.ReasonSlowConsumer] == 2 }
	n := 0
	for ; !ended() && n < 5000; n++ {
		deliver(t, s, "conversation:1", fmt.Sprintf(`42["%d","%s"]`, n, text))
		for packet := quick.next(); ; packet = quick.next() {
			if strings.HasPrefix(packet, fmt.Sprintf(`42["%d",`, n)) {
				break
			}
			if !strings.HasPrefix(packet, `42["user_left"`) {
				t.Fatalf("got %.40q, want message %d", packet, n)
			}
		}
	}
	if !ended() {
		t.Fatalf("closed %v after %d messages", s.Stats().Closed, n)
	}
	idle.wantUnknown()
	if st := s.Stats(); st.Sessions != 1 || s.config.Hub.Stats().Members != 2 {
		t.Errorf("%d sessions with %d memberships are left, want 1 with 2, those of quick", st.Sessions, s.config.Hub.Stats().Members)
	}
	if _, err := io.Copy(io.Discard, slow.in); err != nil && !isReset(err) {
		t.Errorf("the slow client's connection: %v, want its end", err)
	}
}

// A client sends messages and does not read the answers. Its session must be
// closed as a slow consumer, and other sessions must work.
func TestSenderThatDoesNotReadIsClosed(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, func(c *Config) { c.MaxPending = 256 << 10 })
	flood, _ := openWS(t, s)
	quick, _ := openWS(t, s)
	packet := frame(true, ws.OpText, "4"+strings.Repeat("x", 16<<10))
	var err error
	for n := 0; err == nil && n < 64<<20; n += len(packet) {
		_, err = io.WriteString(flood.conn, packet)
	}
	if err == nil || !isReset(err) {
		t.Errorf("writing to the closed session: %v, want a reset", err)
	}
	testkit.Await(t, "the session to end", func() bool { return s.Stats().Sessions == 1 })
	if got := s.Stats().Closed[rooms.ReasonSlowConsumer]; got != 1 {
		t.Errorf("closed %v, want a slow consumer", s.Stats().Closed)
	}
	quick.text("4hello")
	quick.want("4hello")
}

func TestVolatileIsDroppedForABackloggedReader(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPending = 32 << 20 })
	slow, quick := dialSlow(t, s, "slow"), connectWS(t, s, "quick")
	slow.join("1")
	quick.join("1")
	slow.next() // user_joined of quick
	text := strings.Repeat("x", 64<<10)
	n := 0
	for ; s.Stats().VolatileDropped == 0 && n < 400; n++ {
		deliver(t, s, "conversation:1", fmt.Sprintf(`42["%d","%s"]`, n, text))
		quick.next()
		quick.ask(n, typingEvent("1"))
	}
	if s.Stats().VolatileDropped == 0 {
		t.Fatalf("no volatile message was dropped in %d rounds", n)
	}
	typing := 0
	for i := 0; i < n; { // all messages that are not volatile must arrive
		switch packet := slow.next(); {
		case strings.HasPrefix(packet, fmt.Sprintf(`42["%d",`, i)):
			i++
		case strings.HasPrefix(packet, `42["user_typing"`):
			typing++
		default:
			t.Fatalf("got %.40q, want message %d", packet, i)
		}
	}
	if typing >= n {
		t.Errorf("%d typing events came through, want fewer than %d", typing, n)
	}
	testkit.Await(t, "a typing event not to be dropped", func() bool {
		before := s.Stats().VolatileDropped
		quick.ask(n, typingEvent("1"))
		s.sync(t)
		return s.Stats().VolatileDropped == before
	})
	if got := slow.next(); !strings.HasPrefix(got, `42["user_typing"`) {
		t.Errorf("got %.40q, want user_typing", got)
	}
}

// A node drains. All sessions must end within the drain period, and new
// connections and handshakes must be refused.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.DrainPeriod = 500 * time.Millisecond })
	var sockets []socket
	var polls []*pollSession
	for i := range 10 {
		sockets = append(sockets, connectWS(t, s, fmt.Sprint("ws", i)))
		polls = append(polls, connectPolling(t, s, fmt.Sprint("poll", i)))
		polls[i].get.send(requestText("GET", polls[i].target(), ""))
		s.awaitParked(t, polls[i].sid)
	}
	idle := dial(t, s)
	idle.do("GET", "/health", "")
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(t.Context()) }()
	for _, c := range sockets {
		c.wantEnd()
	}
	for _, p := range polls {
		p.wantUnknownIn(p.get.receive())
		p.get.wantEOF() // the connection is closed after partingTime
	}
	if err := <-drained; err != nil {
		t.Errorf("Drain: %v", err)
	}
	if !s.Draining() {
		t.Error("Draining is false")
	}
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Error("new connections are accepted")
	}
	if r := idle.do("GET", enginePoll, ""); r.status != 503 || !r.close {
		t.Errorf("a handshake on an old connection: %d, close %v, want 503 and true", r.status, r.close)
	}
	if st := s.Stats(); st.Sessions != 0 || st.Closed[rooms.ReasonDraining] != 20 || s.config.Hub.Stats().Members != 0 {
		t.Errorf("%d sessions, closed by reason %v, %d memberships; want none, 20 drained, none", st.Sessions, st.Closed, s.config.Hub.Stats().Members)
	}
}

func TestDrainIsSpread(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.Loops = 1 })
	const sessions, steps = 100, 10
	for i := range sessions {
		connectWS(t, s, fmt.Sprint("user", i))
	}
	var left []int
	s.on(0, func(w *worker, now time.Time) {
		d := &drain{until: now.Add(time.Duration(steps) * wheel.Tick), reason: rooms.ReasonDraining}
		for i := range int64(steps + 1) {
			d.step(w, now.Add(time.Duration(i)*wheel.Tick))
			w.flush(now)
			left = append(left, len(w.sessions))
		}
	})
	most := 0
	for i, before := 0, sessions; i < len(left); i++ {
		most = max(most, before-left[i])
		before = left[i]
	}
	if most > sessions/steps+1 || left[len(left)-1] != 0 || !slices.IsSortedFunc(left, func(a, b int) int { return b - a }) {
		t.Errorf("sessions left after each step: %v, want about %d fewer each time", left, sessions/steps)
	}
}

// Renew ends the sessions that exist, and the clients may connect to the same
// node again.
func TestRenewEndsAllSessions(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.DrainPeriod = 500 * time.Millisecond })
	var sockets []socket
	for i := range 10 {
		sockets = append(sockets, connectWS(t, s, fmt.Sprint("user", i)))
	}
	s.Renew()
	s.Renew() // a second call starts again
	for i := range s.config.Loops {
		s.on(i, func(*worker, time.Time) {}) // after the task that Renew has posted
	}
	late := connectWS(t, s, "late")
	for _, c := range sockets {
		c.wantEnd()
	}
	late.join("1")
	if st := s.Stats(); st.Sessions != 1 || st.Closed[rooms.ReasonMissedEvents] != 10 {
		t.Errorf("%d sessions, closed %v, want 1, and 10 closed", st.Sessions, st.Closed)
	}
	s.Renew()
	late.wantEnd()
}

func TestDrainEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.DrainPeriod = time.Hour })
	for i := range 5 {
		connectWS(t, s, fmt.Sprint("user", i))
	}
	release := make(chan struct{})
	ctx, cancel := cancelableContext(t)
	go func() {
		testkit.Await(t, "the drain to begin", s.Draining)
		cancel()
		close(release)
	}()
	if err := s.Drain(ctx); err == nil && s.Stats().Sessions > 0 {
		t.Errorf("no error with %d sessions left", s.Stats().Sessions)
	}
	<-release
}
