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
