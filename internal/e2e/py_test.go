package e2e

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

// debianPython is the interpreter that finds Debian's packages.
const debianPython = "/usr/bin/python3"

func TestPythonClient(t *testing.T) {
	t.Parallel()
	python(t, start(t))
}

// python-socketio's WebSocket sends the URL it was given as Origin. Through each proxy
// it must be accepted.
func TestPythonClientThroughProxies(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it compares origins with its list")
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			python(t, p.start(t, unchanged, start(t, p.settings...)))
		})
	}
}

// python runs client.py with each transport setting.
func python(t *testing.T, g *gateway) {
	t.Helper()
	needPython(t)
	for _, transport := range transportSettings {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), casesTimeout)
			defer cancel()
			cmd := exec.CommandContext(ctx, debianPython, "client.py")
			cmd.Dir = absolute(t, "py")
			cmd.Env = append(os.Environ(), "GATEWAY_URL="+g.URL, "TRANSPORT="+transport, "ROOM=py-"+transport,
				"PYTHONDONTWRITEBYTECODE=1", "TOKEN_ANN="+gatewaytest.Token(t, "ann"), "TOKEN_BEN="+gatewaytest.Token(t, "ben"))
			if g.trust.pem != "" { // its HTTP and its WebSocket library read different variables
				cmd.Env = append(cmd.Env, "REQUESTS_CA_BUNDLE="+g.trust.pem, "SSL_CERT_FILE="+g.trust.pem, "WEBSOCKET_CLIENT_CA_BUNDLE="+g.trust.pem)
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// needPython requires Debian's package python3-socketio.
func needPython(t *testing.T) {
	t.Helper()
	if err := exec.Command(debianPython, "-c", "import socketio").Run(); err != nil {
		testkit.Need(t, testkit.Missing("python3-socketio"))
	}
}
