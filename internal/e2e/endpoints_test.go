package e2e

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// object decodes a JSON answer.
func object(t *testing.T, res *http.Response, body []byte, err error) map[string]any {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("content type %q, want application/json", got)
	}
	var o map[string]any
	if err := json.Unmarshal(body, &o); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return o
}

func TestHealth(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.dial(t, "ann", false)
	g.dial(t, "ben", true)
	now := http.Header{"Authorization": {"Bearer " + gatewaytest.PublishToken}} // without a token the response is cached for some time
	res, body, err := exchange(http.MethodGet, g.URL+"/health", now, "")
	health := object(t, res, body, err)
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
	if version, _ := health["version"].(string); version == "" {
		t.Errorf("version %v, want a string", health["version"])
	}
	bus, _ := health["eventBus"].(map[string]any)
	for name, kind := range map[string]any{"isConnected": false, "reconnectAttempts": 0.0, "host": "", "port": 0.0} {
		if reflect.TypeOf(bus[name]) != reflect.TypeOf(kind) {
			t.Errorf("eventBus.%s is %v, which has the wrong type", name, bus[name])
		}
	}
	delete(health, "version")
	delete(health, "eventBus")
	want := map[string]any{"status": "healthy", "service": "websocket-gateway", "redis": "disabled", "connectedSockets": 2.0}
	for name, value := range want {
		if health[name] != value {
			t.Errorf("%s is %v, want %v", name, health[name], value)
		}
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	g := start(t)
	if status, body, err := get(g.URL + "/ready"); status != http.StatusOK {
		t.Errorf("/ready: %d %s %v, want 200", status, body, err)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	g := start(t)
	ann := g.dial(t, "ann", false)
	for _, room := range []string{"1", "2", "3"} {
		ann.do("join_room", room)
	}
	res, body, err := exchange(http.MethodGet, g.URL+"/metrics", nil, "")
	metrics := object(t, res, body, err)
	rooms, _ := metrics["rooms"].([]any)
	if metrics["connectedSockets"] != 1.0 || metrics["totalRooms"] != 4.0 || len(rooms) != 4 {
		t.Errorf("%s, want 1 socket in 4 rooms: its user's and three", body)
	}
	if !strings.Contains(string(body), "conversation:2") || !strings.Contains(string(body), "user:ann") {
		t.Errorf("rooms %v, want conversation:2 and user:ann", rooms)
	}

	scraper := http.Header{"Accept": {"application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}}
	res, body, err = exchange(http.MethodGet, g.URL+"/metrics", scraper, "")
	if err != nil {
		t.Fatal(err)
	}
	if kind := res.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") && !strings.HasPrefix(kind, "application/openmetrics-text") {
		t.Errorf("content type %q, want a format of Prometheus", kind)
	}
	if !strings.Contains(string(body), "\n# TYPE ") && !strings.HasPrefix(string(body), "# TYPE ") {
		t.Errorf("no Prometheus text: %.200s", body)
	}
	browser := http.Header{"Accept": {"text/html,application/xhtml+xml,*/*;q=0.8"}}
	res, body, err = exchange(http.MethodGet, g.URL+"/metrics", browser, "")
	object(t, res, body, err)
}

func TestUnknownPathIsJSON(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, path := range []string{"/nothing", "/console", "/console/nothing", "/healthy", "/socket.io.js", "/%2e%2e/etc/passwd"} {
		res, body, err := exchange(http.MethodGet, g.URL+path, nil, "")
		object(t, res, body, err)
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", path, res.StatusCode)
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	g := start(t, "NODE_ENV=test", "CORS_ORIGIN=localhost:3000,https://app.example.com")
	for origin, allowed := range map[string]bool{
		"http://localhost:3000":                true,
		"https://localhost:3000":               true,
		"https://app.example.com":              true,
		"http://app.example.com":               false,
		"http://localhost:3001":                false,
		"http://localhost":                     false,
		"https://evil.example":                 false,
		"https://app.example.com.evil.example": false,
		"null":                                 false,
	} {
		t.Run(origin, func(t *testing.T) {
			header := http.Header{"Origin": {origin}}
			for _, target := range []string{engineTarget, engineTarget + "&sid=unknown"} { // a valid and an invalid request
				res, _, err := exchange(http.MethodGet, g.URL+target, header, "")
				wantCORS(t, res, err, origin, allowed)
			}
			preflight := http.Header{
				"Origin":                         {origin},
				"Access-Control-Request-Method":  {"POST"},
				"Access-Control-Request-Headers": {"authorization,content-type"},
			}
			res, _, err := exchange(http.MethodOptions, g.URL+engineTarget, preflight, "")
			wantCORS(t, res, err, origin, allowed)
			if allowed {
				wantPreflight(t, res)
			}
			status, body := g.raw(t).handshake("/socket.io/?EIO=4&transport=websocket", "Origin: "+origin)
			if allowed && status != http.StatusSwitchingProtocols || !allowed && (status < 400 || status > 499) {
				t.Errorf("websocket: status %d %s", status, body)
			}
		})
	}
	if status, body := g.raw(t).handshake("/socket.io/?EIO=4&transport=websocket"); status != http.StatusSwitchingProtocols {
		t.Errorf("websocket without Origin: status %d %s", status, body)
	}
}

func wantCORS(t *testing.T, res *http.Response, err error, origin string, allowed bool) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got := res.Header.Get("Access-Control-Allow-Origin")
	switch {
	case !allowed && got != "":
		t.Errorf("Access-Control-Allow-Origin %q for an origin that is not allowed", got)
	case allowed && got != origin:
		t.Errorf("Access-Control-Allow-Origin %q, want %q", got, origin)
	case allowed && res.Header.Get("Access-Control-Allow-Credentials") != "true":
		t.Errorf("no Access-Control-Allow-Credentials")
	case allowed && !slices.Contains(strings.Split(res.Header.Get("Vary"), ", "), "Origin"):
		t.Errorf("Vary %q, want Origin in it", res.Header.Get("Vary"))
	}
}

func wantPreflight(t *testing.T, res *http.Response) {
	t.Helper()
	if res.StatusCode != http.StatusNoContent && res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
	if methods := res.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(methods, "POST") || !strings.Contains(methods, "GET") {
		t.Errorf("Access-Control-Allow-Methods %q", methods)
	}
	if headers := strings.ToLower(res.Header.Get("Access-Control-Allow-Headers")); !strings.Contains(headers, "authorization") || !strings.Contains(headers, "content-type") {
		t.Errorf("Access-Control-Allow-Headers %q", headers)
	}
}

// In development every port of localhost is an allowed origin: front-end tools use
// different ports.
func TestDevelopmentAllowsEveryPortOfLocalhost(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it allows what it is told")
	for environment, allowed := range map[string]bool{"development": true, "test": false} {
		g := start(t, "NODE_ENV="+environment, "CORS_ORIGIN=https://app.example.com")
		for _, origin := range []string{"http://localhost:5173", "http://127.0.0.1:8080", "http://[::1]:4200"} {
			res, _, err := exchange(http.MethodGet, g.URL+engineTarget, http.Header{"Origin": {origin}}, "")
			wantCORS(t, res, err, origin, allowed)
			status, _ := g.raw(t).handshake("/socket.io/?EIO=4&transport=websocket", "Origin: "+origin)
			if (status == http.StatusSwitchingProtocols) != allowed {
				t.Errorf("%s, %s: status %d", environment, origin, status)
			}
		}
		res, _, err := exchange(http.MethodGet, g.URL+engineTarget, http.Header{"Origin": {"http://localhost.evil.example"}}, "")
		wantCORS(t, res, err, "http://localhost.evil.example", false)
	}
}

func TestCORSForAnyOrigin(t *testing.T) {
	t.Parallel()
	g := start(t, "CORS_ORIGIN=*")
	const origin = "https://anywhere.example"
	res, _, err := exchange(http.MethodGet, g.URL+engineTarget, http.Header{"Origin": {origin}}, "")
	wantCORS(t, res, err, origin, true) // an answer "*" would not do: browsers refuse it with credentials
	if status, body := g.raw(t).handshake("/socket.io/?EIO=4&transport=websocket", "Origin: "+origin); status != http.StatusSwitchingProtocols {
		t.Errorf("websocket: status %d %s", status, body)
	}
}
