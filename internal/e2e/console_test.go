package e2e

import (
	"bytes"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

func TestConsoleInABrowser(t *testing.T) {
	notOnReference(t, "it has no console")
	t.Parallel()
	tokens := []string{"CONSOLE_TOKEN=only for us", "PUBLISH_TOKEN=of the services"}
	guarded := start(t, append(tokens, "NODE_ENV=production", "CONSOLE=true", "METRICS_TOKEN=of the operators")...)
	cmd := browserScript(t, start(t, "PUBLISH_TOKEN="), "console.mjs")
	cmd.Env = append(append(cmd.Env, tokens...), "GUARDED_URL="+guarded.URL)
	runCases(t, cmd)
}

func TestConsoleCanBeOff(t *testing.T) {
	notOnReference(t, "it has no console")
	t.Parallel()
	for setting, greeting := range map[string]string{"NODE_ENV=production": "", "CONSOLE=false": "The gateway is at http://localhost:"} {
		g := start(t, setting)
		for _, path := range []string{"/", "/console/console.js"} {
			res, body, err := exchange(http.MethodGet, g.URL+path, nil, "")
			object(t, res, body, err)
			if res.StatusCode != http.StatusNotFound {
				t.Errorf("%s, %s: status %d, want 404", setting, path, res.StatusCode)
			}
		}
		gatewaytest.Await(t, greeting, func() bool { return strings.Contains(g.Out.String(), greeting) })
	}
}

// The console's page, its caching headers and its tokens over HTTP. A page of another
// origin must not get a token.
func TestConsoleOverHTTP(t *testing.T) {
	notOnReference(t, "it has no console")
	t.Parallel()
	g := start(t)
	greeting := "in a browser, at http://localhost:" + g.URL[strings.LastIndex(g.URL, ":")+1:] + "/"
	gatewaytest.Await(t, greeting, func() bool { return strings.Contains(g.Out.String(), greeting) })
	res, body, err := exchange(http.MethodGet, g.URL+"/", nil, "")
	if err != nil || res.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("<!doctype html>")) {
		t.Fatalf("GET /: %v %.100s %v, want 200 and a page", res, body, err)
	}
	if res.Header.Get("Cache-Control") != "no-cache" || res.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("headers %v, want Cache-Control no-cache and a Content-Security-Policy", res.Header)
	}
	known := http.Header{"If-None-Match": {res.Header.Get("ETag")}}
	if status, body, err := request(http.MethodGet, g.URL+"/", known, ""); status != http.StatusNotModified || len(body) > 0 || err != nil {
		t.Errorf("with If-None-Match: %d %.100s %v, want 304", status, body, err)
	}
	for origin, want := range map[string]int{g.URL: http.StatusOK, "http://localhost:3000": http.StatusForbidden} {
		status, body, err := request(http.MethodPost, g.URL+"/console/token?user=ann", http.Header{"Origin": {origin}}, "")
		if status != want || err != nil {
			t.Errorf("a token requested by a page of %s: %d %s %v, want %d", origin, status, body, err, want)
		}
	}
}

func TestConsoleFiguresHaveNoRoomNames(t *testing.T) {
	notOnReference(t, "it has no console")
	t.Parallel()
	g := start(t)
	g.dial(t, "ann", false).do("join_room", "1")
	res, body, err := exchange(http.MethodGet, g.URL+"/console/figures", nil, "")
	figures := object(t, res, body, err)
	if names, _ := figures["rooms"].([]any); len(names) > 0 || figures["totalRooms"] != 2.0 {
		t.Errorf("%s, want 2 rooms without their names", body)
	}
	if age, ok := figures["loopTurnAge"].(float64); !ok || age < 0 || figures["mailboxWaiting"] == nil {
		t.Errorf("%s, want loopTurnAge and mailboxWaiting", body)
	}
}

// The committed client is that of the npm package without the reference to its source
// map, and all licences are included.
func TestConsoleClientIsThatOfNpm(t *testing.T) {
	ours := read(t, "../console/page/socket.io.esm.min.js")
	if ours != withoutSourceMap(read(t, "js/node_modules/socket.io-client/dist/socket.io.esm.min.js")) {
		t.Error("socket.io.esm.min.js is not that of js/node_modules: run `make console-client`")
	}
	licences := read(t, "../console/page/licences.txt")
	for _, name := range []string{"socket.io-client", "engine.io-client", "socket.io-parser", "engine.io-parser", "@socket.io/component-emitter"} {
		if !strings.Contains(licences, read(t, "js/node_modules/"+name+"/LICENSE")) {
			t.Errorf("the licence of %s is missing", name)
		}
	}
}

func withoutSourceMap(text string) string {
	return regexp.MustCompile(`(?m)^//# sourceMappingURL=.*\n?`).ReplaceAllString(text, "")
}

func read(t *testing.T, path string) string {
	t.Helper()
	if strings.Contains(path, "node_modules/") {
		testkit.NeedFile(t, path, "a package of npm")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
