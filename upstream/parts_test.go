package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAcknowledgementsCoverOnlyTheUnbrokenRun(t *testing.T) {
	acks := newAckTracker()
	want := func(tag, count uint64) {
		t.Helper()
		if gotTag, gotCount := acks.next(); gotTag != tag || gotCount != count {
			t.Fatalf("acknowledges %d with %d, want %d with %d", gotCount, gotTag, count, tag)
		}
	}
	want(0, 0)
	acks.pass(3)
	want(3, 3)
	want(0, 0)
	acks.hold(5)
	acks.hold(8)
	acks.pass(10)
	want(4, 1) // 5 is not with the dead letters yet
	acks.release(8)
	want(0, 0)
	acks.release(5)
	want(10, 6)
	acks.pass(9) // an older barrier, late
	want(0, 0)
	acks.hold(11) // the first of what follows
	acks.pass(12)
	want(0, 0)
	acks.release(11)
	want(12, 2)
	select {
	case <-acks.wake:
	default:
		t.Error("nobody is told")
	}
}

func TestRecentIDsAreKnownAndTheOldestForgotten(t *testing.T) {
	r := newRecent(3)
	see := func(messageID, eventID string) bool {
		id, known := r.identify(messageID, []byte(eventID))
		r.add(id)
		return known
	}
	for i, c := range []struct {
		messageID, eventID string
		known              bool
	}{
		{"a", "", false}, {"a", "", true}, {"", `"e"`, false}, {"", `"e"`, true},
		{"", "", false}, {"", "null", false}, {"", "", false}, // nothing to know them by
		{"c", `"e"`, false}, // messageId counts
		{"d", "", false}, {"a", "", false}, {"c", "", true}, {"", `"e"`, false},
	} {
		if known := see(c.messageID, c.eventID); known != c.known {
			t.Errorf("%d: %+v is known: %v", i, c, known)
		}
	}
	if len(r.seen) != 3 || len(r.ring) != 3 {
		t.Errorf("remembers %d ids, want 3", len(r.seen))
	}
}

func TestPausesGrowToTheirLimitAndDiffer(t *testing.T) {
	b := backoff{min: 100 * time.Millisecond, max: 2 * time.Second}
	for i, top := range []int{100, 200, 400, 800, 1600, 2000, 2000} {
		if d := b.next(); d < time.Duration(top)*time.Millisecond/2 || d > time.Duration(top)*time.Millisecond {
			t.Errorf("pause %d is %v, want half to all of %d ms", i, d, top)
		}
	}
	b.tries = 1 << 20
	if d := b.next(); d > b.max || d < b.max/2 {
		t.Errorf("after very many tries: %v", d)
	}
	b.reset()
	if d := b.next(); d > b.min {
		t.Errorf("after a success: %v", d)
	}
}

func TestLogLinesAboutPoisonAreFew(t *testing.T) {
	var l limiter
	lines, skipped := 0, 0
	for i := range 1000 {
		if ok, n := l.allow(noon.Add(time.Duration(i)*10*time.Millisecond), time.Second); ok {
			lines++
			skipped += n
		}
	}
	if lines != 10 || skipped != 9*99 {
		t.Errorf("%d lines for 10 s, %d others counted, want 10 and 891", lines, skipped)
	}
}

func TestAddressesOfRabbitMQ(t *testing.T) {
	address := Address("broker:5672", "us:er", "p@ss/w?", "/")
	if err := CheckAddress(address); err != nil || hostOf(address) != "broker:5672" {
		t.Errorf("%s: %v", address, err)
	}
	if host := hostOf("amqps://u:p@h/v"); host != "h:5671" {
		t.Errorf("host %s, want h:5671", host)
	}
	for _, good := range []string{"amqp://h", "amqps://u:p@h:5671/v", "amqp://u@[::1]:5672/"} {
		if err := CheckAddress(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "h:5672", "http://h", "amqp://", "amqp://u:secret@h:port/", "amqp://u:secret@"} {
		if err := CheckAddress(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// post sends one request to the handler as the gateway's mux would.
func post(p *Publisher, key, body string, change func(*http.Request)) (int, string) {
	r := httptest.NewRequest(http.MethodPost, "/events/"+key, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:5555"
	if change != nil {
		change(r)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /events/{key}", p)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestPublishingOverHTTP(t *testing.T) {
	h := &house{}
	p := &Publisher{Table: table(t, route("list", "user:{ids[]}")), Rooms: h, MaxBody: 100, Local: true, Log: quietLog()}
	for _, c := range []struct {
		key, body string
		status    int
		answer    string
	}{
		{"message.sent", `{"conversationId":1,"timestamp":"t","message":"0"}`, 202, `{"rooms":1}`},
		{"list", `{"ids":[1,2,1],"timestamp":"t"}`, 202, `{"rooms":2}`},
		{"list", `{"ids":[]}`, 202, `{"rooms":0}`},
		{"message.read", `{}`, 404, `{"error":"no route for message.read","reason":"no_route"}`},
		{"message.sent", `x`, 400, `{"error":"line 1, column 1: invalid character 'x' looking for beginning of value","reason":"not_json"}`},
		{"message.sent", `7`, 400, `{"error":"want a JSON object, which begins with {","reason":"not_an_object"}`},
		{"message.sent", `{}`, 422, `{"error":"no id for [conversation:{conversationId}]","reason":"no_room"}`},
		{"message.sent", `{"conversationId":[]}`, 422, `{"error":"[] is no id, for room conversation:{conversationId}","reason":"bad_id"}`},
		{"message.sent", strings.Repeat(" ", 101), 413, `{"error":"more than 100 bytes","reason":"too_large"}`},
	} {
		if status, answer := post(p, c.key, c.body, nil); status != c.status || answer != c.answer {
			t.Errorf("%s %.60s: %d %s, want %d %s", c.key, c.body, status, answer, c.status, c.answer)
		}
	}
	want := fmt.Sprint([]delivered{message(0), {"user:1", `["x",{"ids":[1,2,1],"timestamp":"t"}]`}, {"user:2", `["x",{"ids":[1,2,1],"timestamp":"t"}]`}})
	if got := fmt.Sprint(h.all()); got != want {
		t.Errorf("delivered %s\nwant %s", got, want)
	}
	h.set(func(h *house) { h.fail = errAway })
	if status, _ := post(p, "message.sent", messageBody(1), nil); status != 503 {
		t.Errorf("status %d while nothing can be delivered, want 503", status)
	}
}

func TestPublishingOverHTTPWaitsForTheReceivers(t *testing.T) {
	h := &house{stuck: true}
	p := &Publisher{Table: table(t), Rooms: h, MaxBody: 100, Local: true, Log: quietLog()}
	ctx, cancel := context.WithCancel(t.Context())
	within := func(r *http.Request) { *r = *r.WithContext(ctx) }
	statuses := make(chan int)
	send := func() {
		status, _ := post(p, "message.sent", messageBody(0), within)
		statuses <- status
	}
	waiting := func(n int) (done func()) {
		await(t, "the barrier", func() bool {
			h.set(func(h *house) {
				if len(h.waits) == n {
					done = h.waits[n-1]
				}
			})
			return done != nil
		})
		select {
		case status := <-statuses:
			t.Fatalf("%d before the receivers have it", status)
		default:
		}
		return done
	}
	go send()
	waiting(1)()
	if status := <-statuses; status != 202 {
		t.Errorf("status %d, want 202", status)
	}
	go send()
	late := waiting(2)
	cancel()
	if status := <-statuses; status != 503 {
		t.Errorf("status %d when the receivers never have it, want 503", status)
	}
	late() // to nobody
}

func TestWhoMayPublishOverHTTP(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	page := func(host, origin, site string) func(*http.Request) {
		return func(r *http.Request) {
			r.Host = host
			r.Header.Set("Origin", origin)
			r.Header.Set("Sec-Fetch-Site", site)
		}
	}
	from := func(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
	for _, c := range []struct {
		name   string
		token  string
		local  bool
		change func(*http.Request)
		status int
	}{
		{"no token set, production", "", false, nil, 403},
		{"no token set, development", "", true, nil, 202},
		{"from this machine, IPv6", "", true, from("[::1]:5"), 202},
		{"from another machine", "", true, from("192.0.2.1:5"), 403},
		{"from nowhere", "", true, from(""), 403},
		{"through a proxy", "", true, header("X-Forwarded-For", "192.0.2.1"), 403},
		{"a web page", "", true, page("localhost:3002", "http://localhost:3000", ""), 403},
		{"a web page of another host", "", true, page("localhost:3002", "https://evil.example", "cross-site"), 403},
		{"a web page that hides its origin", "", true, page("localhost:3002", "null", "same-site"), 403},
		{"a web page, by Sec-Fetch-Site alone", "", true, page("localhost:3002", "", "same-site"), 403},
		{"the gateway's page", "", true, page("localhost:3002", "http://localhost:3002", "same-origin"), 202},
		{"the gateway's page in an older browser", "", true, page("127.0.0.1:3002", "http://127.0.0.1:3002", ""), 202},
		{"the gateway's page, IPv6", "", true, page("[::1]:3002", "http://[::1]:3002", "same-origin"), 202},
		{"the gateway's page, without a port", "", true, page("localhost", "http://localhost", ""), 202},
		{"a name that has come to mean this machine", "", true, page("evil.example:3002", "http://evil.example:3002", "same-origin"), 403},
		{"the gateway's page on another machine", "", true, func(r *http.Request) {
			page("localhost:3002", "http://localhost:3002", "same-origin")(r)
			from("192.0.2.1:5")(r)
		}, 403},
		{"an empty token", "", false, header("Authorization", "Bearer "), 403},
		{"no token", "t0ken", true, nil, 401},
		{"the wrong token", "t0ken", true, header("Authorization", "Bearer t0ke"), 401},
		{"another scheme", "t0ken", true, header("Authorization", "Basic t0ken"), 401},
		{"the token", "t0ken", false, header("Authorization", "Bearer t0ken"), 202},
	} {
		p := &Publisher{Table: table(t), Rooms: &house{}, MaxBody: 100, Token: c.token, Local: c.local, Log: quietLog()}
		if status, answer := post(p, "message.sent", messageBody(1), c.change); status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, answer, c.status)
		}
	}
}
