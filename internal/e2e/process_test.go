package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
)

const patience = testkit.Patience

// reference is true if the tests run against js/reference.mjs.
var reference = os.Getenv("E2E_REFERENCE") == "1"

func TestMain(m *testing.M) {
	code := gatewaytest.Main(m)
	brokertest.CloseShared()
	os.Exit(code)
}

// notOnReference skips a test of behaviour that Socket.IO's own server does not have.
func notOnReference(t *testing.T, why string) {
	t.Helper()
	if reference {
		t.Skip("not on the reference: " + why)
	}
}

// gateway is a process under test: a gateway, the reference server, or a proxy in
// front of gateways.
type gateway struct {
	*gatewaytest.Gateway
	t     *testing.T
	trust certificate // of a proxy with TLS
}

// start runs a gateway with these settings in addition to the defaults of the tests.
func start(t *testing.T, settings ...string) *gateway {
	t.Helper()
	g := &gateway{Gateway: gatewaytest.New(t, settings...), t: t}
	if reference {
		g.Command = []string{"node", absolute(t, "js/reference.mjs")}
	}
	g.Launch()
	return g
}

// at returns a gateway for an address where something else listens: a proxy, or the
// admin port.
func at(t *testing.T, address string) *gateway {
	host := strings.TrimPrefix(strings.TrimPrefix(address, "http://"), "https://")
	return &gateway{Gateway: &gatewaytest.Gateway{Addr: host, URL: address, Out: &gatewaytest.Output{}}, t: t}
}

// connectedSockets reads the number of sockets from /health.
func (g *gateway) connectedSockets() int {
	g.t.Helper()
	status, body, err := g.Get("/health")
	if err != nil {
		g.t.Fatalf("/health: %v", err)
	}
	var health struct{ ConnectedSockets int }
	if err := json.Unmarshal(body, &health); err != nil {
		g.t.Fatalf("/health: %d %s", status, body)
	}
	return health.ConnectedSockets
}

// awaitSockets waits until n sockets are connected.
func (g *gateway) awaitSockets(n int) {
	g.t.Helper()
	gatewaytest.Await(g.t, fmt.Sprintf("%d connected sockets", n), func() bool { return g.connectedSockets() == n })
}

// get makes an HTTP request on a connection of its own.
func get(url string) (int, []byte, error) {
	return request(http.MethodGet, url, nil, "")
}

func request(method, url string, header http.Header, body string) (int, []byte, error) {
	res, content, err := exchange(method, url, header, body)
	if err != nil {
		return 0, nil, err
	}
	return res.StatusCode, content, nil
}

func exchange(method, url string, header http.Header, body string) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	var content bytes.Buffer
	_, err = content.ReadFrom(res.Body)
	return res, content.Bytes(), err
}
