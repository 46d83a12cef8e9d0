package loop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/clocktest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/rooms"
)

// dialFrom is dial from one of this machine's addresses.
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

// upgrade asks for a WebSocket session and returns the status.
func (c *wire) upgrade(headers ...string) int {
	c.t.Helper()
	c.send(requestText("GET", engineSocket, "", append(headers, webSocketHeaders)...))
	return c.receive().status
}

func loopback(prefixes ...string) (list []netip.Prefix) {
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

func TestConnectionsOfOneAddress(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPerAddress = 3 })
	var open []*wire
	for i := range 3 {
		c := dialFrom(t, s, "127.0.0.2")
		if i < 2 {
			if status := c.upgrade(); status != 101 { // keeps its place
				t.Fatal(status)
			}
		}
		open = append(open, c)
	}
	testkit.Await(t, "the places to be taken", func() bool { return s.guard.Places() == 3 })
	for range 5 {
		c := dialFrom(t, s, "127.0.0.2")
		if r := c.receive(); r.status != 503 || r.header.Get("Retry-After") == "" {
			t.Errorf("one too many: %d %v, want 503", r.status, r.header)
		}
		c.wantEOF()
	}
	if status := dialFrom(t, s, "127.0.0.3").upgrade(); status != 101 {
		t.Errorf("from another address: %d", status)
	}
	for _, c := range open {
		c.conn.Close()
		testkit.Await(t, "a place", func() bool { return s.guard.Places() == 3 })
		c := dialFrom(t, s, "127.0.0.2")
		if status := c.upgrade(); status != 101 {
			t.Errorf("in the place of one that went: %d", status)
		}
		testkit.Await(t, "the place to be taken", func() bool { return s.guard.Places() == 4 })
	}
	if st := s.Stats(); st.RefusedAddress != 5 {
		t.Errorf("%d refused, want 5", st.RefusedAddress)
	}
}

func TestAMovedConnectionKeepsItsPlace(t *testing.T) {
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
				t.Fatalf("%d %s", r.status, r.body)
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

func TestPollingSessionsOfOneAddress(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPerAddress = 3 })
	c := dialFrom(t, s, "127.0.0.2")
	sid := ""
	for range 3 {
		sid = parseOpen(t, c.do("GET", enginePoll, "").body).SID
	}
	if r := c.do("GET", enginePoll, ""); r.status != 503 {
		t.Errorf("one too many: %d", r.status)
	}
	other := dialFrom(t, s, "127.0.0.3")
	if r := other.do("GET", enginePoll, ""); r.status != 200 {
		t.Errorf("from another address: %d", r.status)
	}
	again := dialFrom(t, s, "127.0.0.2")
	again.do("POST", enginePoll+"&sid="+sid, "1")
	if r := again.do("GET", enginePoll, ""); r.status != 200 {
		t.Errorf("after one has ended: %d", r.status)
	}
}

func TestClientsBehindATrustedProxy(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) {
		c.MaxPerAddress = 2
		c.TrustedProxies = loopback("127.0.0.1/32", "10.0.0.0/8")
	})
	through := func(header string, want int) *wire {
		t.Helper()
		c := dial(t, s)
		if status := c.upgrade(header); status != want {
			t.Errorf("%q: %d, want %d", header, status, want)
		}
		return c
	}
	first := through("X-Forwarded-For: 192.0.2.1", 101)
	through("X-Forwarded-For: 203.0.113.9, 192.0.2.1, 10.1.2.3", 101) // the first is made up
	through("X-Forwarded-For: 192.0.2.1", 503)
	through("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.1.2.3", 503)
	through("X-Forwarded-For: nonsense, 192.0.2.1:5555", 503)
	through("X-Forwarded-For: 192.0.2.2", 101)
	through("X-Forwarded-For: 2001:db8::1", 101)
	through("X-Forwarded-For: 2001:db8::2", 101) // the same /64
	through("X-Forwarded-For: 2001:db8::3", 503)
	through("X-Forwarded-For: 2001:db8:0:1::3", 101)
	for range 4 {
		through("X-Other: the proxy's own", 101)
	}
	first.conn.Close()
	testkit.Await(t, "the place", func() bool { return s.guard.Places() == 5 })
	through("X-Forwarded-For: 192.0.2.1", 101)

	stranger := dialFrom(t, s, "127.0.0.2") // whom nobody trusts
	dialFrom(t, s, "127.0.0.2")
	// Whoever is accepted last is refused; a dial returns before that.
	testkit.Await(t, "both to be accepted", func() bool { return s.guard.Places() == 8 })
	if status := stranger.upgrade("X-Forwarded-For: 198.51.100.7"); status != 101 {
		t.Error(status)
	}
	if r := dialFrom(t, s, "127.0.0.2").receive(); r.status != 503 {
		t.Errorf("a stranger who names others: %d, want 503", r.status)
	}
}

func TestUpgradeBehindATrustedProxyHoldsOnePlace(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) {
		c.MaxPerAddress = 1
		c.TrustedProxies = loopback("127.0.0.0/8")
	})
	const from = "X-Forwarded-For: 192.0.2.1"
	poll := dial(t, s)
	sid := parseOpen(t, poll.do("GET", enginePoll, "", from).body).SID
	if r := dial(t, s).do("GET", enginePoll, "", from); r.status != 503 {
		t.Errorf("a second session: %d", r.status)
	}
	probe := dialWS(t, s, engineSocket+"&sid="+sid, from)
	testkit.Await(t, "session and WebSocket", func() bool { return s.guard.Places() == 2 })
	if status := dial(t, s).upgrade(from); status != 503 {
		t.Errorf("a second WebSocket: %d", status)
	}
	probe.text("2probe")
	probe.want("3probe")
	probe.text("5")
	testkit.Await(t, "the session's place", func() bool { return s.guard.Places() == 1 })
	probe.conn.Close()
	testkit.Await(t, "the WebSocket's place", func() bool { return s.guard.Places() == 0 })
}

const proxiedFrom = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\x0a\x00\x00\x01\xd4\x31\x0b\xba" // 192.0.2.1

func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) {
		c.MaxPerAddress = 2
		c.TrustedProxies = loopback("127.0.0.1/32")
		c.ProxyProtocol = true
	})
	for i, cut := range []int{0, 1, 13, 20, len(proxiedFrom) - 1} {
		c := dial(t, s)
		c.send(proxiedFrom[:cut])
		if cut > 0 {
			testkit.Await(t, "the first bytes", func() bool { return s.buffered() > 0 })
		}
		c.send(proxiedFrom[cut:] + requestText("GET", engineSocket, "", webSocketHeaders))
		want := 101
		if i >= 2 {
			want = 503 // 192.0.2.1 has enough
		}
		if r := c.receive(); r.status != want {
			t.Errorf("header cut at %d: %d %s, want %d", cut, r.status, r.body, want)
		}
	}
	for range 4 { // the proxy asks on its own behalf
		c := dial(t, s)
		c.send("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
		if r := c.do("GET", "/socket.io/", ""); r.status != 400 {
			t.Errorf("%d", r.status)
		}
		if r := dial(t, s).do("GET", "/socket.io/", ""); r.status != 400 { // without a header
			t.Errorf("%d", r.status)
		}
	}
	for name, text := range map[string]string{
		"from a stranger": proxiedFrom, "malformed": strings.Replace(proxiedFrom, "\x21\x11", "\x25\x11", 1), "two headers": proxiedFrom + proxiedFrom,
	} {
		address := "127.0.0.1"
		if name == "from a stranger" {
			address = "127.0.0.2"
		}
		c := dialFrom(t, s, address)
		c.send(text + "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if r := c.receive(); r.status < 400 {
			t.Errorf("%s: %d, want an error", name, r.status)
		}
		c.wantEOF()
	}
}

// buffered is what waits to be parsed on all connections.
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

func TestHandshakesASecond(t *testing.T) {
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
			t.Errorf("%s: from another address %d", name, status)
		}
	}
}

// A loop that takes its turns is not taken for stuck because the clock was set,
// and a stuck one does not look healthy.
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
	text := "3" + strings.Repeat("x", 999) // a pong, as far as it is looked at
	flood, quick := connectWS(t, s, "flood"), connectWS(t, s, "quick")
	for range 18 {
		flood.text(text)
	}
	flood.join("1")
	for range 3 {
		_, _ = io.WriteString(flood.conn, frame(true, ws.OpPing, "")+frame(true, ws.OpText, text)) // fails in the end
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

func TestMemoryIsShort(t *testing.T) {
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
		t.Errorf("%d refused, want 1", got)
	}
}

// TestTooMuchWaitsForAllSlowReaders: the bound on each would let the node hold
// ten times what it may; those with the most waiting go, and only they.
func TestTooMuchWaitsForAllSlowReaders(t *testing.T) {
	t.Parallel()
	const readers, most = 10, 8 << 20
	s := newServer(t, func(c *Config) { c.MaxPending, c.MaxOwed = 8<<20, most })
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
			t.Fatalf("nobody was closed: %+v", s.Stats())
		}
		for i := range readers {
			if i <= n%readers { // the first get more
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
	if st.Owed > most+readers*128<<10 {
		t.Errorf("%d bytes wait, at most about %d may", st.Owed, most)
	}
	if st.Closed[rooms.ReasonShed] != st.Shed || st.Closed[rooms.ReasonSlowConsumer] != 0 {
		t.Errorf("closed %v", st.Closed)
	}
	for range sent { // several polls
		idle.next()
	}
	for _, c := range slow {
		c.conn.Close()
	}
	testkit.Await(t, "nothing to be waiting", func() bool { return s.Stats().Owed == 0 && s.Stats().Sessions == 2 })
}

// presenters is an Authenticator that notes who presents which token.
type presenters struct{ seen sync.Map }

func (p *presenters) Authenticate(token string, from rooms.Presenter, _ time.Time, done func(rooms.Identity, error)) {
	p.seen.Store(token, from)
	done(rooms.Identity{UserID: token}, nil)
}

// TestTokensAreTakenByAddress: whose they are said to be is not known yet.
func TestTokensAreTakenByAddress(t *testing.T) {
	t.Parallel()
	p := &presenters{}
	s := newServerOf(t, func(c *Config, r *rooms.Config) {
		r.Auth = p
		c.TrustedProxies = loopback("127.0.0.8/32")
	})
	for _, client := range []struct {
		name, from string
		headers    []string
		want       string
	}{
		{"direct", "127.0.0.2", nil, "127.0.0.2"},
		{"boasting", "127.0.0.3", []string{"X-Forwarded-For: 198.51.100.7"}, "127.0.0.3"},
		{"proxied", "127.0.0.8", []string{"X-Forwarded-For: 198.51.100.7"}, "198.51.100.7"},
	} {
		c := dialFrom(t, s, client.from)
		if status := c.upgrade(client.headers...); status != 101 {
			t.Fatal(status)
		}
		c.send(frame(true, ws.OpText, `40{"token":"`+client.name+`"}`))
		c.send(frame(true, ws.OpText, `420["refresh_token",{"token":"`+client.name+` again"}]`))
		testkit.Await(t, client.name, func() bool { _, seen := p.seen.Load(client.name + " again"); return seen })
		want := rooms.Presenter{Address: uint64(limits.SourceOf(netip.MustParseAddr(client.want)))}
		if got, _ := p.seen.Load(client.name); got != want {
			t.Errorf("%s: CONNECT by %+v, want %+v", client.name, got, want)
		}
		want.User = client.name
		if got, _ := p.seen.Load(client.name + " again"); got != want {
			t.Errorf("%s: refresh_token by %+v, want %+v", client.name, got, want)
		}
	}
	poll := openPolling(t, s)
	poll.send(`40{"token":"polling"}`)
	want := rooms.Presenter{Address: uint64(limits.SourceOf(netip.MustParseAddr("127.0.0.1")))}
	if got, _ := p.seen.Load("polling"); got != want {
		t.Errorf("by polling: %+v, want %+v", got, want)
	}
}
