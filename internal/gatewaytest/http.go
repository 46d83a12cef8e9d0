package gatewaytest

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/internal/testkit"
)

// Token returns a token of this user that is valid for an hour.
func Token(t testing.TB, user string) string {
	t.Helper()
	claims := jwt.MapClaims{"id": user, "exp": time.Now().Add(time.Hour).Unix()}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(Secret))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// web makes a connection for each request.
var web = http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}

// Get requests a path.
func (g *Gateway) Get(path string) (status int, body []byte, err error) {
	return g.request(http.MethodGet, path, "", "*/*")
}

// Post publishes an event over HTTP.
func (g *Gateway) Post(key, body string) (status int, answer []byte, err error) {
	return g.request(http.MethodPost, "/events/"+key, body, "*/*")
}

func (g *Gateway) request(method, path, body, accept string) (status int, answer []byte, err error) {
	r, err := http.NewRequest(method, g.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Accept", accept)
	r.Header.Set("Authorization", "Bearer "+PublishToken)
	res, err := web.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

// Metric reads one Prometheus metric, labels included in its name.
func (g *Gateway) Metric(name string) float64 {
	g.t.Helper()
	_, body, err := g.request(http.MethodGet, "/metrics", "", "text/plain")
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				g.t.Fatal(err)
			}
			return v
		}
	}
	g.t.Fatalf("no metric %s in\n%s", name, body)
	return 0
}

// AwaitListed waits until the directory in Redis has all rooms of the gateway,
// and what its clients have sent is published. Joins are acknowledged before
// that, and only then a client that joins on another node is announced to them.
// The gateway must be connected to Redis.
func (g *Gateway) AwaitListed() {
	g.t.Helper()
	Await(g.t, "the gateway's rooms to be in the directory", func() bool {
		return g.Metric("gateway_cluster_registered") == 1 && g.Metric("gateway_cluster_directory_waiting") == 0 &&
			g.Metric("gateway_cluster_publish_waiting") == 0
	})
}

// Await is testkit.Await.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	testkit.Await(t, what, holds)
}

// Output collects what a process prints. Safe for concurrent use.
type Output struct {
	mu sync.Mutex // guards the following
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String implements fmt.Stringer.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
