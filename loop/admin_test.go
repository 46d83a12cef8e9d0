package loop

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/hometrip/gateway/internal/testkit"
)

func TestOtherPathsAreServedByTheHandler(t *testing.T) {
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
		t.Errorf("a handler that writes nothing: %d %q, want 200 and no body", r.status, r.body)
	}
	if r := c.do("GET", "/panic", ""); r.status != 500 {
		t.Errorf("a handler that panics: %d, want 500", r.status)
	}
	c.send(requestText("HEAD", "/metrics", ""))
	if r, err := c.tryReceive("HEAD"); err != nil || r.status != 418 {
		t.Errorf("HEAD: %d, %v; want 418", r.status, err)
	}
	if r := c.do("GET", "/socket.io.js", ""); r.status != 418 { // not an Engine.IO path
		t.Errorf("/socket.io.js: %d, want 418", r.status)
	}
	if r := dial(t, newServer(t, nil)).do("GET", "/health", ""); r.status != 404 {
		t.Errorf("without a handler: %d, want 404", r.status)
	}
}

// Cache-Control of a handler must be sent as it is, and a 304 without a body
// and without Content-Length.
func TestCacheControlOfHandlersIsKept(t *testing.T) {
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
	for range 2 { // the connection stays open after an answer without a length
		if r := c.do("GET", "/new", ""); r.status != 200 || r.body != "body" || r.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("GET /new: %d %q %v, want 200 body", r.status, r.body, r.header)
		}
		r := c.do("GET", "/known", "")
		if _, length := r.header["Content-Length"]; r.status != 304 || length || r.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("GET /known: %d %v, want 304 without Content-Length", r.status, r.header)
		}
	}
}

// As many requests as the limits allow run or wait. One more is refused;
// prepared answers, requests with a service token and clients must not be
// affected.
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
	testkit.Await(t, "the handlers to be busy, and the other requests to wait", func() bool {
		return running.Load() == adminHandlers && s.admin.others.batches.Load() == adminBatches
	})
	if r := dial(t, s).do("GET", "/slow", ""); r.status != 503 {
		t.Errorf("a request beyond the limit: %d, want 503", r.status)
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
	slow[0].conn.Close() // the client gives up
	close(release)
	for _, c := range slow[1:] {
		if r := c.receive(); r.status != 200 {
			t.Errorf("a request that waited: %d, want 200", r.status)
		}
	}
	testkit.Await(t, "no request to be counted any more", func() bool {
		return s.admin.others.batches.Load() == 0 && s.admin.others.bytes.Load() == 0 && len(s.admin.others.slots) == 0
	})
}

func TestBytesOfWaitingRequestsAreLimited(t *testing.T) {
	c := newCrew()
	if !c.enlist(2 * adminBytes) {
		t.Error("a large request without others was refused")
	}
	if c.enlist(1) {
		t.Error("a request in addition to a large one was accepted")
	}
	c.bytes.Add(-2 * adminBytes)
	c.batches.Add(-1)
	for i := range 3 {
		if got, want := c.enlist(adminBytes/2), i < 2; got != want {
			t.Errorf("request %d of half the allowed bytes: enlisted is %v, want %v", i, got, want)
		}
	}
	if c.batches.Load() != 2 || c.bytes.Load() != adminBytes {
		t.Errorf("%d batches of %d bytes are counted, want 2 of %d", c.batches.Load(), c.bytes.Load(), adminBytes)
	}
}

// The first of three pipelined requests waits with Later. The second must be
// handled meanwhile, and the answers must keep the order of the requests.
func TestRequestWithLaterDoesNotDelayTheNext(t *testing.T) {
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
		t.Errorf("a panic in a function passed to Later: %d, want 500", r.status)
	}
}
