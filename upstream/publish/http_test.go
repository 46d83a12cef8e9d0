package publish

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/routes"
)

const messageBody = `{"conversationId":1,"message":"1","timestamp":"t"}`

func table(t *testing.T, more ...routes.Route) *routes.Table {
	t.Helper()
	table, err := routes.NewTable(more)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// post makes a request through a mux like the gateway's.
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

// threeEach reports three sockets in each room, and members on other nodes. Without
// rooms it reports nothing.
func threeEach(_ context.Context, rooms []string) Reach {
	elsewhere := true
	if len(rooms) == 0 {
		return Reach{}
	}
	return Reach{Sockets: 3 * len(rooms), Elsewhere: &elsewhere}
}

// unreachableLog is a log that cannot be reached.
type unreachableLog struct{}

func (unreachableLog) Append(context.Context, eventlog.Entry) (wait func() (eventlog.Position, error)) {
	return func() (eventlog.Position, error) { return 0, errors.New("it is away") }
}

// POST /events returns 202 with position, rooms and sockets, or the status and reason
// of the refusal.
func TestPublishingOverHTTP(t *testing.T) {
	log := eventlog.NewMemory(1 << 20)
	p := &Publisher{Table: table(t, routes.Route{Event: "list", Rooms: []string{"user:{ids[]}"}, Emit: "x", All: true}), Log: log, MaxBody: 100, Local: true, Reach: threeEach}
	for _, c := range []struct {
		key, body string
		status    int
		answer    string
	}{
		{"message.sent", `{"conversationId":1,"timestamp":"t","message":"0"}`, 202, `{"elsewhere":true,"position":"1","rooms":1,"sockets":3}`},
		{"list", `{"ids":[1,2,1],"timestamp":"t"}`, 202, `{"elsewhere":true,"position":"2","rooms":2,"sockets":6}`},
		{"list", `{"ids":[]}`, 202, `{"position":"3","rooms":0,"sockets":0}`},
		{"user.disconnect", `{"userId":1}`, 202, `{"order":true,"position":"4"}`},
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
	p.Log = unreachableLog{}
	if status, answer := post(p, "message.sent", messageBody, nil); status != 503 || !strings.Contains(answer, "it is away") {
		t.Errorf("%d %s while the log is away, want 503", status, answer)
	}
}

// With a token only requests with that token may publish. Without one only local
// requests may in development, and no page of another origin.
func TestAuthorizationOfPublishingOverHTTP(t *testing.T) {
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
		p := &Publisher{Table: table(t), Log: eventlog.NewMemory(1 << 20), MaxBody: 100, Token: c.token, Local: c.local, Reach: threeEach}
		if status, answer := post(p, "message.sent", messageBody, c.change); status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, answer, c.status)
		}
	}
}

func TestIdempotencyKeyOfARequest(t *testing.T) {
	longest := strings.Repeat("k", maxIdempotency)
	for _, c := range []struct {
		name   string
		values []string
		status int
		want   string // message id
	}{
		{"none", nil, 202, ""},
		{"a UUID", []string{"8e03978e-40d5-43e8-bc93-6894a57f9324"}, 202, "8e03978e-40d5-43e8-bc93-6894a57f9324"},
		{"in quotes, as the draft of the header has it", []string{`"a"`}, 202, `"a"`},
		{"the longest", []string{longest}, 202, longest},
		{"longer", []string{longest + "k"}, 400, ""},
		{"empty", []string{""}, 400, ""},
		{"two", []string{"a", "b"}, 400, ""},
		{"with a space", []string{"a b"}, 400, ""},
		{"not ASCII", []string{"\u00e9"}, 400, ""},
	} {
		log := eventlog.NewMemory(1 << 20)
		p := &Publisher{Table: table(t), Log: log, MaxBody: 1000, Local: true, Reach: threeEach}
		status, answer := post(p, "message.sent", messageBody, func(r *http.Request) { r.Header["Idempotency-Key"] = c.values })
		source, err := log.Open(t.Context(), eventlog.Start{From: eventlog.FromFirst, Window: 10})
		if err != nil {
			t.Fatal(err)
		}
		entries, _ := source.Next(t.Context(), 0)
		if status != c.status || (status == 202) != (len(entries) == 1) {
			t.Errorf("%s: %d %s, %d entries in the log, want %d", c.name, status, answer, len(entries), c.status)
		} else if len(entries) == 1 && entries[0].MessageID != c.want {
			t.Errorf("%s: message id %q, want %q", c.name, entries[0].MessageID, c.want)
		}
	}
}
