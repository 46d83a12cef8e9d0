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

// A finding is what the doctor prints of one check.
type finding struct{ Group, Check, Verdict, Found, Do string }

// doctor looks at a public address and returns what it found of the proxies,
// by check. It must exit with 1 exactly when something is wrong.
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
		t.Errorf("ends with %v, some checks failed: %v", err, failed)
	}
	return byCheck
}

// inProxies are the checks of the way in.
var inProxies = []string{"handshake", "TLS", "WebSocket", "stickiness", "waiting polls", "body limit", "idle timeout"}

// wantOnly wants one check to fail, and the others to be well or, because of
// that one, skipped.
func wantOnly(t *testing.T, findings map[string]finding, wrong, says string) {
	t.Helper()
	for _, check := range inProxies {
		f := findings[check]
		switch {
		case check == wrong && (f.Verdict != "fail" || !strings.Contains(f.Found, says) || f.Do == ""):
			t.Errorf("%+v: want it to fail with the words %q", f, says)
		case check != wrong && f.Verdict != "ok" && (wrong == "" || f.Verdict != "skip"):
			t.Errorf("%+v: want ok", f)
		}
	}
}

func TestDoctorFindsNothingWrongWithOurProxies(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no doctor")
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			settings := append(p.settings, "PING_INTERVAL=500")
			front := p.start(t, asItIs, start(t, settings...), start(t, settings...))
			wantOnly(t, front.doctor(t, "--slow"), "", "")
		})
	}
}

// without takes lines out of a configuration.
func without(pattern string) func(string) string {
	lines := regexp.MustCompile(`(?m)^.*` + pattern + `.*\n`)
	return func(config string) string { return lines.ReplaceAllString(config, "") }
}

func instead(old, new string) func(string) string {
	return func(config string) string { return strings.Replace(config, old, new, 1) }
}

func TestDoctorFindsWhatIsWrongWithNginx(t *testing.T) {
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
		// Each answer of Engine.IO is complete, so this does no harm.
		{"buffering", instead("proxy_buffering off", "proxy_buffering on"), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wantOnly(t, startNginx(t, c.edit, a, b).doctor(t, "--slow"), c.wrong, c.says)
		})
	}
}

// Some proxies hold an answer back until they have more of it.
func TestDoctorFindsProxyThatHoldsAnswersBack(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no doctor")
	g := start(t)
	target, err := url.Parse(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	slow := httputil.NewSingleHostReverseProxy(target)
	slow.Transport = holdBack{}
	server := httptest.NewServer(slow)
	t.Cleanup(server.Close)
	findings := (at(t, server.URL)).doctor(t)
	if f := findings["waiting polls"]; f.Verdict != "fail" || !strings.Contains(f.Found, "held back") {
		t.Errorf("%+v: want it to fail", f)
	}
	if f := findings["TLS"]; f.Verdict != "warn" {
		t.Errorf("%+v: want a warning", f)
	}
	server.Close()
	if f := (at(t, server.URL)).doctor(t)["handshake"]; f.Verdict != "fail" {
		t.Errorf("nobody there: %+v", f)
	}
}

// holdBack is a way to the gateway on which polls that have waited are held
// for longer.
type holdBack struct{}

func (holdBack) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && time.Since(start) > 200*time.Millisecond && r.Method == http.MethodGet {
		time.Sleep(1500 * time.Millisecond)
	}
	return response, err
}
