package loop

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
)

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
