package loop

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/rooms"
)

func loopback(prefixes ...string) (list []netip.Prefix) {
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
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
	through("X-Forwarded-For: 203.0.113.9, 192.0.2.1, 10.1.2.3", 101) // the first address is not from a trusted proxy
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

	stranger := dialFrom(t, s, "127.0.0.2") // not a trusted proxy
	dialFrom(t, s, "127.0.0.2")
	// The last accepted connection is refused, and dial may return before the
	// accept.
	testkit.Await(t, "both to be accepted", func() bool { return s.guard.Places() == 8 })
	if status := stranger.upgrade("X-Forwarded-For: 198.51.100.7"); status != 101 {
		t.Errorf("from an address that is not trusted: %d, want 101", status)
	}
	if r := dialFrom(t, s, "127.0.0.2").receive(); r.status != 503 {
		t.Errorf("an untrusted address beyond its limit: %d, want 503", r.status)
	}
}

func TestUpgradeBehindATrustedProxyIsCountedOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) {
		c.MaxPerAddress = 1
		c.TrustedProxies = loopback("127.0.0.0/8")
	})
	const from = "X-Forwarded-For: 192.0.2.1"
	poll := dial(t, s)
	sid := parseOpen(t, poll.do("GET", enginePoll, "", from).body).SID
	if r := dial(t, s).do("GET", enginePoll, "", from); r.status != 503 {
		t.Errorf("a second session: %d, want 503", r.status)
	}
	probe := dialWS(t, s, engineSocket+"&sid="+sid, from)
	testkit.Await(t, "session and WebSocket", func() bool { return s.guard.Places() == 2 })
	if status := dial(t, s).upgrade(from); status != 503 {
		t.Errorf("a second WebSocket: %d, want 503", status)
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
			want = 503 // beyond the limit of 192.0.2.1
		}
		if r := c.receive(); r.status != want {
			t.Errorf("header cut at %d: %d %s, want %d", cut, r.status, r.body, want)
		}
	}
	for range 4 { // requests of the proxy itself
		c := dial(t, s)
		c.send("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
		if r := c.do("GET", "/socket.io/", ""); r.status != 400 {
			t.Errorf("%d, want 400", r.status)
		}
		if r := dial(t, s).do("GET", "/socket.io/", ""); r.status != 400 { // without a header
			t.Errorf("%d, want 400", r.status)
		}
	}
	var refused []*wire
	for name, text := range map[string]string{
		"from an untrusted address": proxiedFrom, "malformed": strings.Replace(proxiedFrom, "\x21\x11", "\x25\x11", 1), "two headers": proxiedFrom + proxiedFrom,
	} {
		address := "127.0.0.1"
		if name == "from an untrusted address" {
			address = "127.0.0.2"
		}
		c := dialFrom(t, s, address)
		c.send(text + "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if r := c.receive(); r.status < 400 {
			t.Errorf("%s: %d, want an error", name, r.status)
		}
		refused = append(refused, c)
	}
	for _, c := range refused {
		c.wantEOF()
	}
}

// presenters is an Authenticator that records who presents each token.
type presenters struct{ seen sync.Map }

func (p *presenters) Authenticate(token []byte, from rooms.Presenter, _ time.Time, done func(rooms.Identity, error)) {
	p.seen.Store(string(token), from)
	done(rooms.Identity{UserID: string(token)}, nil)
}

// An Authenticator gets the address of the client with the token of CONNECT,
// because its user is not verified yet, and the user as well with
// refresh_token.
func TestAuthenticatorGetsAddressAndUser(t *testing.T) {
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
		{"forged", "127.0.0.3", []string{"X-Forwarded-For: 198.51.100.7"}, "127.0.0.3"},
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
