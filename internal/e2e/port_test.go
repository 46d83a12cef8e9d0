package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

func TestPortInUseNamesItsProcess(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not share ports")
	admin := fmt.Sprint("ADMIN_ADDR=127.0.0.1:", gatewaytest.FreePort(t))
	g := start(t, admin)
	for name, settings := range map[string][]string{
		"PORT": nil, "ADMIN_ADDR": {fmt.Sprint("PORT=", gatewaytest.FreePort(t))},
	} {
		out, err := g.Successor(settings...).Run("serve")
		exit := &exec.ExitError{}
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%s is taken: %v, want exit code 1\n%s", name, err, out)
		}
		if want := fmt.Sprintf("process %d (gateway)", g.Pid()); !strings.Contains(out, want) || !strings.Contains(out, name+"=") {
			t.Errorf("%s is in use: want the setting and %s in the output\n%s", name, want, out)
		}
	}
	g.dial(t, "ann", false)
}

// Without JWT_SECRET the generated secret is kept in a file. After a restart the
// console's token is still valid, and it reconnects.
func TestRestartKeepsTheConsoleConnected(t *testing.T) {
	notOnReference(t, "it has no console")
	t.Parallel()
	g := start(t, "JWT_SECRET=", "PUBLISH_TOKEN=")
	restart := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		g.Stop()
		g.Launch()
	}))
	t.Cleanup(restart.Close)
	cmd := browserScript(t, g, "restart.mjs")
	cmd.Env = append(cmd.Env, "RESTART_URL="+restart.URL)
	runCases(t, cmd)
	file := filepath.Join(g.Dir(), ".gateway-dev-secret")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", info, err)
	}
}
