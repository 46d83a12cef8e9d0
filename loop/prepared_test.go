package loop

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
)

// GET of a prepared path must be answered by the event loops, without a call of
// the handler; other requests of the path by the handler.
func TestPreparedAnswers(t *testing.T) {
	t.Parallel()
	var state atomic.Int32
	state.Store(200)
	s := newServer(t, func(c *Config) {
		c.Prepared = []string{"/ready"}
		c.Authorised = func(token string) bool { return token == "good" }
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Own", "yes")
			w.WriteHeader(int(state.Load()))
			fmt.Fprintf(w, "%s %s", r.Method, r.Header.Get("Authorization"))
		})
	})
	c := dial(t, s)
	enlisted := func() int64 { return s.admin.others.batches.Load() + s.admin.authorised.batches.Load() }
	for range 100 {
		if r := c.do("GET", "/ready?x=1", ""); r.status != 200 || r.body != "GET " || r.header.Get("X-Own") != "yes" {
			t.Fatalf("%d %q %v, want 200", r.status, r.body, r.header)
		}
		if n := enlisted(); n != 0 {
			t.Fatalf("%d batches wait for the handler, want none", n)
		}
	}
	for method, want := range map[string]string{"POST": "POST ", "PUT": "PUT "} {
		if r := c.do(method, "/ready", ""); r.body != want {
			t.Errorf("%s: %q, want the handler's own answer", method, r.body)
		}
	}
	c.send(requestText("GET", "/ready", "", "Authorization: Bearer good"))
	if r := c.receive(); r.body != "GET Bearer good" {
		t.Errorf("with a token: %q, want the handler's own answer", r.body)
	}
	state.Store(503)
	testkit.Await(t, "the new state", func() bool { return c.do("GET", "/ready", "").status == 503 })
	c.send(requestText("GET", "/other", "") + requestText("GET", "/ready", "") + requestText("GET", "/other", "", "Authorization: Bearer good"))
	for range 3 {
		if r := c.receive(); r.status != 503 {
			t.Errorf("pipelined: %d, want 503", r.status)
		}
	}
}

// A prepared answer is older than preparedMaxAge. It must not be sent, and the
// handler is called.
func TestOldPreparedAnswerIsNotSent(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	r := &reply{status: http.StatusOK, body: []byte("old")}
	s.answers.Store(&answers{made: time.Now().Add(-preparedMaxAge), byPath: map[string]*reply{"/ready": r}})
	if got := dial(t, s).do("GET", "/ready", ""); got.status != http.StatusNotFound {
		t.Errorf("%d %q, want the 404 of the handler", got.status, got.body)
	}
}

// A drain must prepare the answers again at once, so that a load balancer gets
// 503 with its next request.
func TestDrainPreparesAnswersAtOnce(t *testing.T) {
	t.Parallel()
	var server atomic.Pointer[Server]
	s := newServer(t, func(c *Config) {
		c.Prepared = []string{"/ready"}
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if s := server.Load(); s != nil && s.Draining() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
	})
	server.Store(s)
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.answers.Load().byPath["/ready"]; r.status != http.StatusServiceUnavailable {
		t.Errorf("the prepared answer has status %d, want 503", r.status)
	}
}

// An answer that was made before the drain may be stored during it. It must not
// be sent.
func TestPreparedAnswerFromBeforeTheDrainIsNotSent(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	c := dial(t, s)
	s.draining.Store(true)
	r := &reply{status: http.StatusOK, body: []byte("ready")}
	s.answers.Store(&answers{made: time.Now(), byPath: map[string]*reply{"/ready": r}})
	if got := c.do("GET", "/ready", ""); got.status != http.StatusNotFound {
		t.Errorf("%d %q, want the 404 of the handler", got.status, got.body)
	}
}
