package loop

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
)

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

// A client pipelines more requests than a loop handles in one turn. All must be
// answered in order.
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
			t.Fatalf("POST %d: %d %s, want 200 ok", i, r.status, r.body)
		}
		if r := p.get.receive(); r.status != 200 || r.body != fmt.Sprint("4", i) {
			t.Fatalf("GET %d: %d %q, want 200", i, r.status, r.body)
		}
	}
}

// A client pipelines requests and does not read the answers. Its connection
// must be closed.
func TestPipelinerThatDoesNotReadIsClosed(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPending = 64 << 10 })
	c := dial(t, s)
	requests := strings.Repeat(requestText("GET", "/socket.io/", ""), 1000)
	var err error
	for n := 0; err == nil && n < 64<<20; n += len(requests) {
		_, err = io.WriteString(c.conn, requests)
	}
	if err == nil || !isReset(err) {
		t.Errorf("writing to the closed connection: %v, want a reset", err)
	}
	testkit.Await(t, "the connection to end", func() bool { return s.conns.Load() == 0 })
	connectWS(t, s, "ann").join("1")
}

// A bad request follows good ones in one write. The good ones must be answered
// first, in order.
func TestBadRequestAfterGoodOnes(t *testing.T) {
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

// "100 Continue" must be sent after the answer to the request before it.
func TestContinueAfterAnotherRequest(t *testing.T) {
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

// Requests are pipelined after a poll that is parked. They must be answered
// after it, in order.
func TestRequestsAfterAParkedPoll(t *testing.T) {
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

// A client sends 1 MB after a poll that is parked. The input that the server
// keeps must be limited, and the connection closed.
func TestInputAfterAParkedPollIsLimited(t *testing.T) {
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

// Requests of very different sizes are pipelined. The reader looks at part of
// the input first, and must find the end of longer ones.
func TestPipelinedRequestsOfAllSizes(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	c := dial(t, s)
	want := ""
	var all strings.Builder
	// The sum is less than may wait while a request is handled, which happens
	// if the session is on the other loop.
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
			t.Fatalf("%d %s, want 200 ok", r.status, r.body)
		}
	}
	got := ""
	for len(got) < len(want) {
		got += p.next()
	}
	if got != want {
		t.Errorf("%d bytes came back, which differ from the %d sent", len(got), len(want))
	}
	long := "4" + strings.Repeat("y", 40_000) // longer than the part that is read first
	c.send("POST " + p.target() + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(long), long))
	if r := c.receive(); r.status != 200 {
		t.Fatalf("in chunks: %d %s, want 200", r.status, r.body)
	}
	p.want(long)
}
