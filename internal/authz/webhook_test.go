package authz

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// application is an HTTP server that answers questions about rooms. serve may be
// changed while no question is under way.
type application struct {
	*httptest.Server
	serve http.HandlerFunc
	asked atomic.Int64

	mu   sync.Mutex
	last map[string]string // guarded by mu
}

func newApplication(t *testing.T, serve http.HandlerFunc) *application {
	a := &application{serve: serve}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.asked.Add(1)
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s request, body %v; want a POST of a JSON object of strings", r.Method, err)
		}
		a.mu.Lock()
		a.last = body
		a.mu.Unlock()
		a.serve(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *application) config() Config {
	return Config{Policy: Webhook, URL: a.URL + "/rooms", Timeout: patience}
}

func answering(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// Each HTTP status and body of the application means allowed, not allowed, or no
// answer.
func TestWebhookAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   error
	}{
		{204, "", nil},
		{200, `{"allow":true}`, nil},
		{200, `{"allow":true,"reason":"a member"}`, nil},
		{200, `{"allow":false,"reason":"blocked"}`, rooms.ErrNotAllowed},
		{403, "", rooms.ErrNotAllowed},
		{404, "not found", rooms.ErrNotAllowed},
		{200, `{}`, errUnavailable},
		{200, `yes`, errUnavailable},
		{200, `{"allow":"yes"}`, errUnavailable},
		{200, "", errUnavailable},
		{201, `{"allow":true}`, errUnavailable},
		{302, "", errUnavailable},
		{400, "", rooms.ErrNotAllowed},
		{401, "", rooms.ErrNotAllowed},
		{410, "", rooms.ErrNotAllowed},
		{422, "no such id", rooms.ErrNotAllowed},
		{408, "", errUnavailable},
		{425, "", errUnavailable},
		{429, "", errUnavailable},
		{500, `{"allow":true}`, errUnavailable},
		{503, "", errUnavailable},
	} {
		a := newApplication(t, answering(c.status, c.body))
		g := startGate(t, a.config(), nil)
		if err := ask(t, g, user("ann"), "conversation:42"); !errors.Is(err, c.want) {
			t.Errorf("%d %s: %v, want %v", c.status, c.body, err, c.want)
		}
	}
}

func TestWebhookGetsTheIdentityAndTheRoom(t *testing.T) {
	var header atomic.Value
	a := newApplication(t, func(w http.ResponseWriter, r *http.Request) {
		header.Store(r.Header.Get("Authorization") + " " + r.Header.Get("Content-Type"))
		w.WriteHeader(204)
	})
	c := a.config()
	c.Token = "secret"
	g := startGate(t, c, nil)
	who := rooms.Identity{UserID: "7", Email: "ann@example.com", Role: "host"}
	if err := ask(t, g, who, "conversation:a:b"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"userId": "7", "email": "ann@example.com", "role": "host",
		"room": "conversation:a:b", "roomType": "conversation", "roomId": "a:b",
	}
	for name, value := range want {
		if a.last[name] != value {
			t.Errorf("%s is %q, want %q", name, a.last[name], value)
		}
	}
	if got := header.Load(); got != "Bearer secret application/json" {
		t.Errorf("Authorization and Content-Type %q", got)
	}
}

func TestWebhookAnswersAreCached(t *testing.T) {
	a := newApplication(t, answering(204, ""))
	c := a.config()
	c.TTL = 300 * time.Millisecond
	g := startGate(t, c, nil)
	for range 10 {
		if err := ask(t, g, user("ann"), "conversation:1"); err != nil {
			t.Fatal(err)
		}
	}
	a.serve = answering(403, "")
	for _, other := range []rooms.Identity{user("bob"), {UserID: "ann", Role: "admin"}} {
		if err := ask(t, g, other, "conversation:1"); err == nil {
			t.Errorf("%+v got the answer cached for ann", other)
		}
	}
	if n := a.asked.Load(); n != 3 {
		t.Errorf("the application was asked %d times, want once for each identity", n)
	}
	for deadline := time.Now().Add(patience); ask(t, g, user("ann"), "conversation:1") == nil; {
		if time.Now().After(deadline) {
			t.Fatal("the cached answer did not expire")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestWebhookWithoutTTLAsksEachTime(t *testing.T) {
	a := newApplication(t, answering(204, ""))
	g := startGate(t, a.config(), nil)
	for range 5 {
		_ = ask(t, g, user("ann"), "conversation:1")
	}
	if n := a.asked.Load(); n != 5 {
		t.Errorf("the application was asked %d times, want 5", n)
	}
}

func TestWebhookThatIsSlow(t *testing.T) {
	let := make(chan struct{})
	a := newApplication(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-let:
		case <-r.Context().Done():
		}
	})
	defer close(let)
	c := a.config()
	c.Timeout = 50 * time.Millisecond
	g := startGate(t, c, nil)
	if err := ask(t, g, user("ann"), "conversation:1"); !errors.Is(err, errUnavailable) {
		t.Errorf("%v, want errUnavailable", err)
	}
}

// After breakAfter failures the application is not asked any more for a while, and the
// answer is unavailable.
func TestAFailingWebhookIsNotAskedForAWhile(t *testing.T) {
	a := newApplication(t, answering(500, ""))
	g := startGate(t, a.config(), nil)
	for i := range 3 * breakAfter {
		if err := ask(t, g, user("ann"), "conversation:1"); !errors.Is(err, errUnavailable) {
			t.Errorf("question %d: %v, want errUnavailable", i, err)
		}
	}
	if n := a.asked.Load(); n != breakAfter {
		t.Errorf("the application was asked %d times, want %d", n, breakAfter)
	}
	v := g.Explain(t.Context(), user("ann"), "conversation:1")
	if !v.Unknown || !strings.Contains(v.Why, "rest") {
		t.Errorf("Explain returned %+v, want unknown because of the break", v)
	}
}

// Questions about one user fail in several ways. Questions about another user must
// always be answered, and the failing ones must stop.
func TestFailuresOfOneUserDoNotAffectOthers(t *testing.T) {
	for name, fail := range map[string]http.HandlerFunc{
		"400": answering(400, ""),
		"500": answering(500, ""),
		"429": answering(429, ""),
		"timeout": func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		},
		"connection lost": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApplication(t, nil)
			a.serve = func(w http.ResponseWriter, r *http.Request) {
				a.mu.Lock()
				user := a.last["userId"]
				a.mu.Unlock()
				if user == "eve" {
					fail(w, r)
					return
				}
				w.WriteHeader(204)
			}
			c := a.config()
			c.Concurrency = 4
			if name == "timeout" {
				c.Timeout = 100 * time.Millisecond
			}
			g := startGate(t, c, nil)
			for i := range 100 {
				_ = ask(t, g, user("eve"), fmt.Sprint("conversation:", i))
				if err := ask(t, g, user("ann"), fmt.Sprint("conversation:", i)); err != nil {
					t.Fatalf("ann's join %d: %v", i, err)
				}
			}
			if n := a.asked.Load(); name != "400" && n > 100+breakAfter+1 {
				t.Errorf("%d questions about eve were asked, want at most breakAfter+1", n-100)
			}
		})
	}
}

// A user whose questions are slow uses only his share of the concurrency.
func TestSlowAnswersAboutOneUserDoNotDelayOthers(t *testing.T) {
	let := make(chan struct{})
	a := newApplication(t, nil)
	a.serve = func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		user := a.last["userId"]
		a.mu.Unlock()
		if user == "eve" {
			<-let
		}
		w.WriteHeader(204)
	}
	c := a.config()
	c.Concurrency = 8
	g := startGate(t, c, nil)
	for i := range 50 {
		g.Authorize(user("eve"), fmt.Sprint("conversation:", i), func(error) {})
	}
	if err := ask(t, g, user("ann"), "conversation:1"); err != nil {
		t.Error(err)
	}
	close(let)
}
