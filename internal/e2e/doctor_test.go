package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// finding is one check in the output of gateway doctor --json.
type finding struct{ Group, Check, Verdict, Found, Do string }

// doctor runs gateway doctor against a public address and returns its findings about
// proxies, by check. It must exit with 1 if and only if a check failed.
func (g *gateway) doctor(t *testing.T, args ...string) map[string]finding {
	t.Helper()
	cmd := exec.Command(gatewaytest.Program(t), append([]string{"doctor", "--json", "--url", g.URL}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"USE_REDIS=false", "USE_RABBITMQ=false", "SSL_CERT_FILE=" + g.trust.pem}
	out, err := cmd.Output()
	var findings []finding
	if bad := json.Unmarshal(out, &findings); bad != nil {
		t.Fatalf("%v, %v: %s", bad, err, out)
	}
	byCheck, failed := make(map[string]finding), false
	for _, f := range findings {
		failed = failed || f.Verdict == "fail"
		if f.Group == "proxy" {
			byCheck[f.Check] = f
		}
	}
	exit := &exec.ExitError{}
	if errors.As(err, &exit) && exit.ExitCode() != 1 || failed != (err != nil) {
		t.Errorf("exit %v, failed checks: %v; want exit code 1 if and only if a check failed", err, failed)
	}
	return byCheck
}

// proxyChecks are the checks of the connection through proxies.
var proxyChecks = []string{"handshake", "TLS", "WebSocket", "stickiness", "waiting polls", "body limit", "idle timeout"}

// wantOnly checks that one check fails with these words, and that all others are ok,
// or skipped because of it. wrong is "" if none may fail.
func wantOnly(t *testing.T, findings map[string]finding, wrong, says string) {
	t.Helper()
	for _, check := range proxyChecks {
		f := findings[check]
		switch {
		case check == wrong && (f.Verdict != "fail" || !strings.Contains(f.Found, says) || f.Do == ""):
			t.Errorf("%+v: want a failure that contains %q", f, says)
		case check != wrong && f.Verdict != "ok" && (wrong == "" || f.Verdict != "skip"):
			t.Errorf("%+v: want ok", f)
		}
	}
}

func TestDoctorAcceptsDeployedProxies(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no doctor")
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			settings := append(p.settings, "PING_INTERVAL=500")
			front := p.start(t, unchanged, start(t, settings...), start(t, settings...))
			wantOnly(t, front.doctor(t, "--slow"), "", "")
		})
	}
}

// without returns an edit that removes the matching lines of a configuration.
func without(pattern string) func(string) string {
	lines := regexp.MustCompile(`(?m)^.*` + pattern + `.*\n`)
	return func(config string) string { return lines.ReplaceAllString(config, "") }
}

func instead(old, new string) func(string) string {
	return func(config string) string { return strings.Replace(config, old, new, 1) }
}

func TestDoctorReportsMisconfiguredNginx(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no doctor")
	settings := []string{"TRUSTED_PROXIES=127.0.0.1", "PING_INTERVAL=3000"}
	a, b := start(t, settings...), start(t, settings...)
	for _, c := range []struct {
		name  string
		edit  func(string) string
		wrong string
		says  string
	}{
		{"no upgrade headers", without(`proxy_set_header (Upgrade|Connection)`), "WebSocket", "400"},
		{"no stickiness", without(`hash \$binary`), "stickiness", "unknown"},
		{"small bodies", instead("client_max_body_size 1m", "client_max_body_size 100k"), "body limit", "413"},
		{"short timeout", instead("proxy_read_timeout 90s", "proxy_read_timeout 1s"), "idle timeout", "after 1s"},
		// Each response of Engine.IO is complete, so buffering does no harm.
		{"buffering", instead("proxy_buffering off", "proxy_buffering on"), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wantOnly(t, startNginx(t, c.edit, a, b).doctor(t, "--slow"), c.wrong, c.says)
		})
	}
}

// A proxy that delays responses until it has more data makes polls late. The doctor
// must report it, and an address where nothing listens.
func TestDoctorReportsProxyThatDelaysResponses(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no doctor")
	g := start(t)
	target, err := url.Parse(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	slow := httputil.NewSingleHostReverseProxy(target)
	slow.Transport = delayingTransport{}
	server := httptest.NewServer(slow)
	t.Cleanup(server.Close)
	findings := (at(t, server.URL)).doctor(t)
	if f := findings["waiting polls"]; f.Verdict != "fail" || !strings.Contains(f.Found, "held back") {
		t.Errorf("%+v: want a failure that contains \"held back\"", f)
	}
	if f := findings["TLS"]; f.Verdict != "warn" {
		t.Errorf("%+v: want a warning", f)
	}
	server.Close()
	if f := (at(t, server.URL)).doctor(t)["handshake"]; f.Verdict != "fail" {
		t.Errorf("no server at the address: %+v, want a failure", f)
	}
}

// delayingTransport is an HTTP transport that delays the responses to polls that have waited.
type delayingTransport struct{}

func (delayingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && time.Since(start) > 200*time.Millisecond && r.Method == http.MethodGet {
		time.Sleep(1500 * time.Millisecond)
	}
	return response, err
}
