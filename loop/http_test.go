package loop

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
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
				t.Errorf("closing %v, headers %v", r.close, r.header)
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

func TestPipelinedRequests(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	for range 10 { // accepted by either loop
		c := dial(t, s)
		c.send(requestText("GET", enginePoll, "") + requestText("POST", p.target(), "4one\x1e4two") +
			requestText("GET", p.target(), "") + requestText("GET", "/elsewhere", "") + requestText("GET", "/socket.io/?transport=x", ""))
		for i, want := range []struct {
			status int
			body   string
		}{{200, `0{"sid":`}, {200, "ok"}, {200, "4one\x1e4two"}, {404, ""}, {400, `{"code":0`}} {
			if r := c.receive(); r.status != want.status || !strings.HasPrefix(r.body, want.body) {
				t.Fatalf("response %d: %d %q, want %d %q", i, r.status, r.body, want.status, want.body)
			}
		}
	}
}

// TestManyPipelinedRequests are more than a loop takes at a time.
func TestManyPipelinedRequests(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	const n = 4 * inputBatch
	go func() {
		var all strings.Builder
		for i := range n {
			all.WriteString(requestText("POST", p.target(), fmt.Sprint("4", i)) + requestText("GET", p.target(), ""))
		}
		_, _ = io.WriteString(p.get.conn, all.String())
	}()
	for i := range n {
		if r := p.get.receive(); r.status != 200 || r.body != "ok" {
			t.Fatalf("POST %d: %d %s", i, r.status, r.body)
		}
		if r := p.get.receive(); r.status != 200 || r.body != fmt.Sprint("4", i) {
			t.Fatalf("GET %d: %d %q", i, r.status, r.body)
		}
	}
}

// TestPipelinerThatDoesNotRead must not have its answers kept for ever.
func TestPipelinerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPending = 64 << 10 })
	c := dial(t, s)
	requests := strings.Repeat(requestText("GET", "/socket.io/", ""), 1000)
	var err error
	for n := 0; err == nil && n < 64<<20; n += len(requests) {
		_, err = io.WriteString(c.conn, requests)
	}
	if err == nil || !isReset(err) {
		t.Errorf("writing on: %v, want the end of the connection", err)
	}
	testkit.Await(t, "the connection to end", func() bool { return s.conns.Load() == 0 })
	connectWS(t, s, "ann").join("1")
}

// TestBadRequestBehindGoodOnes: the good ones are answered, in their order.
func TestBadRequestBehindGoodOnes(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	var refused []*wire // the server closes them refusedTimeout later, all at the same time
	for _, bad := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
	} {
		c := dial(t, s)
		c.send(requestText("GET", "/a", "") + requestText("GET", "/b", "") + bad)
		for i, status := range []int{404, 404} {
			if r := c.receive(); r.status != status {
				t.Errorf("response %d before %.30q: %d, want %d", i, bad, r.status, status)
			}
		}
		if r := c.receive(); r.status != 400 && r.status != 413 {
			t.Errorf("%.30q: %d, want 400 or 413", bad, r.status)
		}
		refused = append(refused, c)
	}
	for _, c := range refused {
		c.wantEOF()
	}
}

// TestContinueBehindAnotherRequest: "100 Continue" belongs to its own request.
func TestContinueBehindAnotherRequest(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	c := dial(t, s)
	c.send(requestText("GET", "/a", "") + "POST /b HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
	for _, status := range []int{404, 100} {
		if r := c.receive(); r.status != status {
			t.Fatalf("%d, want %d", r.status, status)
		}
	}
	c.send("x")
	if r := c.receive(); r.status != 404 {
		t.Errorf("%d, want 404", r.status)
	}
}

// TestRequestsBehindAParkedPoll wait for it.
func TestRequestsBehindAParkedPoll(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	p.get.send(requestText("GET", p.target(), "") + requestText("POST", p.target(), "4second"))
	s.awaitParked(t, p.sid)
	p.get.send(requestText("GET", p.target(), ""))
	p.send("4first")
	for _, want := range []string{"4first", "ok", "4second"} {
		if r := p.get.receive(); r.status != 200 || r.body != want {
			t.Fatalf("%d %q, want %q", r.status, r.body, want)
		}
	}
}

// TestInputBehindAParkedPollIsBounded: a client cannot have the server keep
// what it sends ahead of its time.
func TestInputBehindAParkedPollIsBounded(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, func(c *Config) { c.MaxPayload = 10_000 })
	p := openPolling(t, s)
	p.get.send(requestText("GET", p.target(), ""))
	s.awaitParked(t, p.sid)
	for range 100 {
		if _, err := p.get.conn.Write(make([]byte, 10_000)); err != nil {
			break
		}
	}
	p.get.wantEOF()
	p.wantUnknown()
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
			t.Fatalf("%d %s", r.status, r.body)
		}
		if r := c.do("GET", p.target(), ""); r.body != "4hello" {
			t.Fatalf("%d %q", r.status, r.body)
		}
	}
	// What is refused anyway need not be sent.
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
			t.Fatalf("%d %s", r.status, r.body)
		}
		c.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\n" + chunked + "\r\n\r\n7\r\n\x1e4again\r\n0\r\n\r\n" + requestText("GET", p.target(), ""))
		if r := c.receive(); r.status == 200 { // an empty first packet
			t.Fatalf("%d %s", r.status, r.body)
		}
		p.wantUnknown()
		p = openPolling(t, s)
	}
	for range 10 { // whole in one read, so that the connection moves with it
		c := dial(t, s)
		c.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\n" + chunked + "\r\n\r\n2\r\n4h\r\n3\r\ney!\r\n0\r\n\r\n")
		if r := c.receive(); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
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
	p.send("4" + long[:99_999]) // as long as is allowed
	if got := p.next(); len(got) != 100_000 {
		t.Errorf("%d bytes came back", len(got))
	}
	p.send("4" + long[:99_999]) // as long as is allowed
	if got := p.next(); len(got) != 100_000 {
		t.Errorf("%d bytes came back", len(got))
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
			t.Parallel() // the server waits a moment before it closes
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
	again.send("GET /soc") // the second head has its time too
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

// TestLargeReplyBeforeTheClose: all of a poll's answer gets out, also when
// the connection ends with it and the client is not quick to read.
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
		if _, err := get.in.Peek(1); err != nil { // it has begun
			t.Fatal(err)
		}
		s.onAll(func(*worker, time.Time) {}) // and is through with it
		r, err := get.tryReceive("GET")
		if err != nil || r.body != want.String() {
			t.Errorf("HTTP/%s: %d bytes of %d, %v", version, len(r.body), want.Len(), err)
		}
	}
}

func TestOtherPathsGoToTheHandler(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) {
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/panic":
				panic("in the handler")
			case "/empty":
			default:
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("X-Own", "yes")
				w.Header().Set("Content-Length", "999")
				w.WriteHeader(http.StatusTeapot)
				fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL, r.Header.Get("Accept"), r.RemoteAddr)
			}
		})
	})
	c := dial(t, s)
	r := c.do("GET", "/metrics?x=1", "", "Accept: text/plain", "Origin: "+origin)
	if want := "GET /metrics?x=1 text/plain " + c.conn.LocalAddr().String(); r.status != 418 || r.body != want {
		t.Errorf("%d %q, want 418 %q", r.status, r.body, want)
	}
	if r.header.Get("X-Own") != "yes" || r.header.Get("Content-Type") != "application/json" || r.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("headers %v", r.header)
	}
	if r := c.do("GET", "/empty", ""); r.status != 200 || r.body != "" {
		t.Errorf("a silent handler: %d %q", r.status, r.body)
	}
	if r := c.do("GET", "/panic", ""); r.status != 500 {
		t.Errorf("a handler that panics: %d", r.status)
	}
	c.send(requestText("HEAD", "/metrics", ""))
	if r, err := c.tryReceive("HEAD"); err != nil || r.status != 418 {
		t.Errorf("HEAD: %d, %v", r.status, err)
	}
	if r := c.do("GET", "/socket.io.js", ""); r.status != 418 { // not an Engine.IO path
		t.Errorf("/socket.io.js: %d", r.status)
	}
	if r := dial(t, newServer(t, nil)).do("GET", "/health", ""); r.status != 404 {
		t.Errorf("without a handler: %d, want 404", r.status)
	}
}

// TestSlowHandlers must hold up neither the loops nor each other without end.
// TestHandlersDecideOnCaching: what they say is kept, and what the client has
// already is answered without a body or its length.
func TestHandlersDecideOnCaching(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) {
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache")
			if r.URL.Path == "/known" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			fmt.Fprint(w, "body")
		})
	})
	c := dial(t, s)
	for range 2 { // the connection goes on after the one without a length
		if r := c.do("GET", "/new", ""); r.status != 200 || r.body != "body" || r.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%d %q %v", r.status, r.body, r.header)
		}
		r := c.do("GET", "/known", "")
		if _, length := r.header["Content-Length"]; r.status != 304 || length || r.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%d %v", r.status, r.header)
		}
	}
}

func TestSlowHandlers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var running atomic.Int64
	s := newServer(t, func(c *Config) {
		c.Prepared = []string{"/health"}
		c.Authorised = func(token string) bool { return token == "good" }
		c.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				if n := running.Add(1); n > adminHandlers {
					t.Errorf("%d handlers at once, want %d", n, adminHandlers)
				}
				<-release
				running.Add(-1)
			}
		})
	})
	var slow []*wire
	for range adminBatches {
		c := dial(t, s)
		c.send(requestText("GET", "/slow", ""))
		slow = append(slow, c)
	}
	testkit.Await(t, "the handlers to be busy, and the rest to wait", func() bool {
		return running.Load() == adminHandlers && s.admin.others.batches.Load() == adminBatches
	})
	if r := dial(t, s).do("GET", "/slow", ""); r.status != 503 {
		t.Errorf("one more: %d, want 503", r.status)
	}
	if r := dial(t, s).do("GET", "/health", ""); r.status != 200 {
		t.Errorf("/health: %d, want 200", r.status)
	}
	for token, want := range map[string]int{"good": 200, "made up": 503} {
		c := dial(t, s)
		c.send(requestText("POST", "/events/x", "{}", "Authorization: Bearer "+token))
		if r := c.receive(); r.status != want {
			t.Errorf("a POST with a token that is %s: %d, want %d", token, r.status, want)
		}
	}
	connectWS(t, s, "ann").join("1")
	slow[0].conn.Close() // gives up
	close(release)
	for _, c := range slow[1:] {
		if r := c.receive(); r.status != 200 {
			t.Errorf("%d", r.status)
		}
	}
	testkit.Await(t, "nobody to wait", func() bool {
		return s.admin.others.batches.Load() == 0 && s.admin.others.bytes.Load() == 0 && len(s.admin.others.slots) == 0
	})
}

func TestLargeRequestsThatWaitAreFew(t *testing.T) {
	c := newCrew()
	if !c.enlist(2 * adminBytes) {
		t.Error("one that is alone was refused")
	}
	if c.enlist(1) {
		t.Error("one more was not")
	}
	c.bytes.Add(-2 * adminBytes)
	c.batches.Add(-1)
	for i := range 3 {
		if got, want := c.enlist(adminBytes/2), i < 2; got != want {
			t.Errorf("half of what may wait, time %d: enlisted %v", i, got)
		}
	}
	if c.batches.Load() != 2 || c.bytes.Load() != adminBytes {
		t.Errorf("%d batches of %d bytes", c.batches.Load(), c.bytes.Load())
	}
}

// TestHandlersThatWaitLater: of requests on one connection the second is
// handled before the first has what it waits for, and their answers keep their
// order.
func TestHandlersThatWaitLater(t *testing.T) {
	t.Parallel()
	second := make(chan struct{})
	s := newServer(t, func(c *Config) {
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			later := w.(interface{ Later(func()) }).Later
			switch r.URL.Path {
			case "/1":
				later(func() {
					select {
					case <-second:
						fmt.Fprint(w, "waited")
					case <-r.Context().Done():
					}
				})
			case "/2":
				close(second)
				fmt.Fprint(w, "at once")
			case "/3":
				later(func() { panic("later") })
			}
		})
	})
	c := dial(t, s)
	c.send(requestText("GET", "/1", "") + requestText("GET", "/2", "") + requestText("GET", "/3", ""))
	for i, want := range []string{"waited", "at once"} {
		if r := c.receive(); r.status != 200 || r.body != want {
			t.Errorf("answer %d: %d %q, want %q", i+1, r.status, r.body, want)
		}
	}
	if r := c.receive(); r.status != 500 {
		t.Errorf("a panic later: %d, want 500", r.status)
	}
}

// TestRequestsOfAllSizesBehindEachOther: next looks at a part of the input
// only, and has to see the end of what is longer.
func TestRequestsOfAllSizesBehindEachOther(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	c := dial(t, s)
	want := ""
	var all strings.Builder
	// Less in sum than what may wait while a request is answered, as it does when
	// the session is on the other loop.
	for i, size := range []int{10, 650_000, 20, 9000, 8000, 7000, 300_000, 30} {
		body := fmt.Sprint("4", i) + strings.Repeat("x", size)
		want += body
		all.WriteString(requestText("POST", p.target(), body))
	}
	half := all.Len() / 2
	c.send(all.String()[:half])
	c.send(all.String()[half:])
	for range 8 {
		if r := c.receive(); r.status != 200 || r.body != "ok" {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	got := ""
	for len(got) < len(want) {
		got += p.next()
	}
	if got != want {
		t.Errorf("%d bytes came back that are not the %d sent", len(got), len(want))
	}
	long := "4" + strings.Repeat("y", 40_000) // beyond the first look
	c.send("POST " + p.target() + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(long), long))
	if r := c.receive(); r.status != 200 {
		t.Fatalf("in chunks: %d %s", r.status, r.body)
	}
	p.want(long)
}
