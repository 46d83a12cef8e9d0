package e2e

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// debianPython is the interpreter which sees Debian's packages.
const debianPython = "/usr/bin/python3"

func TestPythonClient(t *testing.T) {
	t.Parallel()
	if err := exec.Command(debianPython, "-c", "import socketio").Run(); err != nil {
		t.Fatal("python3-socketio is not installed: run `make test` once, it installs it")
	}
	g := start(t, "CORS_ORIGIN=*") // its WebSocket sends an Origin as browsers do
	for _, transport := range transportSettings {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), casesTimeout)
			defer cancel()
			cmd := exec.CommandContext(ctx, debianPython, "client.py")
			cmd.Dir = absolute(t, "py")
			cmd.Env = append(os.Environ(), "GATEWAY_URL="+g.URL, "TRANSPORT="+transport, "ROOM=py-"+transport,
				"PYTHONDONTWRITEBYTECODE=1", "TOKEN_ANN="+gatewaytest.Token(t, "ann"), "TOKEN_BEN="+gatewaytest.Token(t, "ben"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
