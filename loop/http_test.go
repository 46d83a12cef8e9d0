package loop

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/loop/wheel"
)

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	for name, c := range map[string]struct {
		request string
		close   bool
	}{
		"HTTP/1.1":            {"GET " + enginePoll + " HTTP/1.1\r\nHost: test\r\n\r\n", false},
		"HTTP/1.1 close":      {"GET " + enginePoll + " HTTP/1.1\r\nHost: test\r\nConnection: Close\r\n\r\n", true},
		"HTTP/1.0":            {"GET " + enginePoll + " HTTP/1.0\r\n\r\n", true},
		"HTTP/1.0 keep-alive": {"GET " + enginePoll + " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false},
		"bad request":         {"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, s)
			conn.send(c.request)
			r := conn.receive()
			if announced := r.header.Get("Connection") == "keep-alive"; announced != (strings.Contains(c.request, "HTTP/1.0") && !c.close) {
				t.Errorf("keep-alive announced: %v, headers %v", announced, r.header)
			}
			if told := r.header.Get("Connection") == "close" || r.close; told != c.close {
				t.Errorf("close is %v, want that of the case; headers %v", r.close, r.header)
			}
			if c.close {
				conn.wantEOF()
				return
			}
			conn.send(c.request)
			conn.receive()
		})
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.KeepAlive = 300 * time.Millisecond })
	c := dial(t, s)
	c.do("GET", enginePoll, "")
	c.wantEOF()
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	for range 10 { // accepted by either loop
		c := dial(t, s)
		c.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n")
		if r, err := c.tryReceive("POST"); err != nil || r.status != http.StatusContinue {
			t.Fatalf("%d, %v, want 100", r.status, err)
		}
		c.send("4hello")
		if r := c.receive(); r.status != 200 || r.body != "ok" {
			t.Fatalf("%d %s, want 200 ok", r.status, r.body)
		}
		if r := c.do("GET", p.target(), ""); r.body != "4hello" {
			t.Fatalf("%d %q, want 4hello", r.status, r.body)
		}
	}
	// A body that is refused need not be sent.
	c := dial(t, s)
	c.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n\r\n")
	if r := c.receive(); r.status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s, want 413", r.status, r.body)
	}
}

func TestChunkedBody(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	const chunked = "Transfer-Encoding: chunked"
	for range 10 { // accepted by either loop
		c := dial(t, s)
		c.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\n" + chunked + "\r\n\r\n")
		for _, piece := range []string{"2\r", "\n4h\r\n", "4;x=y\r\nell", "o\r\n0", "\r\nTrailer: x\r\n", "\r\n"} {
			c.send(piece)
		}
		if r := c.receive(); r.status != 200 || r.body != "ok" {
			t.Fatalf("%d %s, want 200 ok", r.status, r.body)
		}
		c.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\n" + chunked + "\r\n\r\n7\r\n\x1e4again\r\n0\r\n\r\n" + requestText("GET", p.target(), ""))
		if r := c.receive(); r.status == 200 { // the first packet is empty, which is an error
			t.Fatalf("%d %s, want an error for an empty packet", r.status, r.body)
		}
		p.wantUnknown()
		p = openPolling(t, s)
	}
	for range 10 { // the whole request is in one read, so the connection moves with it
		c := dial(t, s)
		c.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\n" + chunked + "\r\n\r\n2\r\n4h\r\n3\r\ney!\r\n0\r\n\r\n")
		if r := c.receive(); r.status != 200 {
			t.Fatalf("%d %s, want 200", r.status, r.body)
		}
		p.want("4hey!")
	}
}

func TestLimitsOnRequests(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, func(c *Config) { c.MaxPayload = 100_000 })
	p := openPolling(t, s)
	target := p.target()
	long := strings.Repeat("x", 100_001)
	p.send("4" + long[:99_999]) // the largest body allowed
	if got := p.next(); len(got) != 100_000 {
		t.Errorf("%d bytes came back, want 100000", len(got))
	}
	p.send("4" + long[:99_999]) // the largest body allowed
	if got := p.next(); len(got) != 100_000 {
		t.Errorf("%d bytes came back, want 100000", len(got))
	}
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"body":           {"POST " + target + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n", 413},
		"sent body":      {requestText("POST", target, long), 413},
		"huge length":    {"POST " + target + " HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413},
		"chunks":         {"POST " + target + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n", 413},
		"head":           {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 9000) + "\r\n\r\n", 431},
		"endless head":   {"GET /" + strings.Repeat("x", 9000), 431},
		"garbage":        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
		"both lengths":   {"POST " + target + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		"two lengths":    {"POST " + target + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", 400},
		"bad chunk":      {"POST " + target + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
		"no such method": {"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"HTTP/2":         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the server closes refused connections after some time
			conn := dial(t, s)
			conn.send(c.request)
			if r := conn.receive(); r.status != c.status || !strings.HasPrefix(r.body, `{"code":3,"message":"`) {
				t.Errorf("%d %s, want %d", r.status, r.body, c.status)
			}
			conn.wantEOF()
		})
	}
}

func TestSlowHead(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.HeadTimeout = 2 * time.Second })
	silent, slow, again := dial(t, s), dial(t, s), dial(t, s)
	again.do("GET", enginePoll, "")
	again.send("GET /soc") // the timeout applies to the second head as well
	slow.send("GET /socket.io/?EIO=4&tran")
	if r := slow.receive(); r.status != http.StatusRequestTimeout {
		t.Errorf("half a head: %d, want 408", r.status)
	}
	slow.wantEOF()
	silent.wantEOF()

	if r := again.receive(); r.status != http.StatusRequestTimeout {
		t.Errorf("half of a second head: %d, want 408", r.status)
	}
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	for _, framing := range []string{"Content-Length: 100\r\n\r\n4hello", "Transfer-Encoding: chunked\r\n\r\n6\r\n4hel"} {
		c := dial(t, s)
		c.send("POST " + p.target() + " HTTP/1.1\r\nHost: x\r\n" + framing)
		testkit.Await(t, "the body to be awaited", func() bool {
			awaited := false
			s.onAll(func(w *worker, _ time.Time) {
				for _, at := range w.timers() {
					if h, ok := at.(*httpConn); ok && h.timeout == awaitBody {
						awaited = true
					}
				}
			})
			return awaited
		})
		s.onAll(func(w *worker, now time.Time) {
			for _, at := range w.timers() {
				if h, ok := at.(*httpConn); ok && h.timeout == awaitBody {
					h.Expire(now)
				}
			}
		})
		if r := c.receive(); r.status != http.StatusRequestTimeout {
			t.Errorf("half a body: %d, want 408", r.status)
		}
		c.wantEOF()
	}
	p.send("4fine")
	p.want("4fine")
}

// timers returns the owners of all armed timers.
func (w *worker) timers() (owners []wheel.Owner) {
	w.wheel.Each(func(owner wheel.Owner) { owners = append(owners, owner) })
	return owners
}

// A poll whose connection is closed after it gets an answer of 8 MB, and the
// client reads slowly. All of the answer must arrive before the end.
func TestLargeReplyBeforeTheClose(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPending = 16 << 20 })
	for _, version := range []string{"1.0", "1.1"} {
		p := connectPolling(t, s, "ann")
		var want strings.Builder
		for i := range maxPollPackets {
			packet := fmt.Sprintf(`42["%d","%s"]`, i, strings.Repeat("x", 500_000))
			deliver(t, s, "user:ann", packet)
			if i > 0 {
				want.WriteByte(0x1e)
			}
			want.WriteString(packet)
		}
		get := dial(t, s)
		get.send("GET " + p.target() + " HTTP/" + version + "\r\nHost: test\r\nConnection: close\r\n\r\n")
		if _, err := get.in.Peek(1); err != nil { // the answer has begun
			t.Fatal(err)
		}
		s.onAll(func(*worker, time.Time) {}) // the loop has written what it can
		r, err := get.tryReceive("GET")
		if err != nil || r.body != want.String() {
			t.Errorf("HTTP/%s: %d bytes of %d, %v", version, len(r.body), want.Len(), err)
		}
	}
}
