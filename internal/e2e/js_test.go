package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

// transportSettings are the transports socket.io-client can be configured with:
// long-polling upgraded to WebSocket (its default), or one of the two alone.
var transportSettings = []string{"default", "websocket", "polling"}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// script prepares a Node program of js/.
func script(t *testing.T, g *gateway, transport string, args ...string) *exec.Cmd {
	t.Helper()
	testkit.NeedProgram(t, "node")
	testkit.NeedFile(t, "js/node_modules/socket.io-client", "socket.io-client of npm")
	cmd := exec.Command("node", args...)
	cmd.Dir = absolute(t, "js")
	cmd.Env = append(os.Environ(), "GATEWAY_URL="+g.URL, "JWT_SECRET="+gatewaytest.Secret, "TRANSPORT="+transport,
		"NODE_EXTRA_CA_CERTS="+g.trust.pem)
	return cmd
}

// browserScript prepares a file of test cases of js/ that drives the console in
// Chromium.
func browserScript(t *testing.T, g *gateway, file string) *exec.Cmd {
	t.Helper()
	testkit.NeedProgram(t, "/usr/bin/chromium")
	return script(t, g, "default", caseArgs(file)...)
}

// clients runs one file of node:test cases with each transport setting. Every case
// becomes a subtest. env has more environment variables.
func clients(t *testing.T, g *gateway, file string, env ...string) {
	t.Helper()
	for _, transport := range transportSettings {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			cmd := script(t, g, transport, caseArgs(file)...)
			cmd.Env = append(cmd.Env, env...)
			runCases(t, cmd)
		})
	}
}

func caseArgs(file string) []string {
	return append(slices.Clip(nodeArgs), "--test-reporter=./reporter.mjs", file)
}

// nodeArgs make node write a diagnostic report to stderr when it gets reportSignal.
var nodeArgs = []string{"--report-on-signal", "--report-signal=SIGUSR2", "--report-filename=stderr", "--report-compact"}

const reportSignal = syscall.SIGUSR2

// caseResult is one line of reporter.mjs.
type caseResult struct {
	Name    string
	Nesting int
	Event   string // start, pass, fail
	Suite   bool
	Error   string
}

// casesTimeout limits a whole file of cases. Those in a browser take half a minute,
// and four times as long on a busy machine.
const casesTimeout = 5 * time.Minute

func runCases(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go endLate(cmd.Process, ended)
	err := cmd.Wait()
	close(ended)
	cases := report(t, &stdout)
	if cases == 0 || err != nil && !t.Failed() {
		t.Errorf("%v: %v after %d cases\n%s%s", cmd.Args, err, cases, stdout.String(), activity(stderr.String()))
	}
}

// endLate kills a process that runs longer than casesTimeout, after it has written a
// diagnostic report.
func endLate(p *os.Process, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-time.After(casesTimeout):
	}
	_ = p.Signal(reportSignal)
	select {
	case <-ended:
	case <-time.After(reportTimeout):
	}
	_ = p.Kill()
}

// reportTimeout is the time for node to write its report.
const reportTimeout = 20 * time.Second

// activity reduces node's diagnostic reports on stderr to the call stack and the
// handles that keep the process running.
func activity(stderr string) string {
	var short strings.Builder
	for line := range strings.Lines(stderr) {
		var r struct {
			JavascriptStack json.RawMessage
			Libuv           []map[string]any
		}
		if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &r) != nil || r.Libuv == nil {
			short.WriteString(line)
			continue
		}
		fmt.Fprintf(&short, "javascript: %s\n", r.JavascriptStack)
		for _, handle := range r.Libuv {
			if handle["is_active"] == true && handle["is_referenced"] == true || handle["type"] == "loop" {
				fmt.Fprintln(&short, handle)
			}
		}
	}
	return short.String()
}

// The report of a Node process that does not end names the open handle, here a
// listening server.
func TestHungNodeProcessReportsItsOpenHandles(t *testing.T) {
	t.Parallel()
	testkit.NeedProgram(t, "node")
	const server = `require("net").createServer().listen(0, "127.0.0.1", () => console.log("listens"))`
	cmd := exec.CommandContext(t.Context(), "node", append(slices.Clip(nodeArgs), "-e", server)...)
	stdout, err := cmd.StdoutPipe()
	testkit.Need(t, err)
	stderr, err := cmd.StderrPipe()
	testkit.Need(t, err)
	testkit.Need(t, cmd.Start())
	bufio.NewScanner(stdout).Scan()
	testkit.Need(t, cmd.Process.Signal(reportSignal))
	line, err := bufio.NewReader(stderr).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !strings.Contains(activity(line), "type:tcp") {
		t.Errorf("report %s, %v; want a handle of type tcp", line, err)
	}
}

// caseResults runs the cases of a file and returns the result of each.
func caseResults(t *testing.T, cmd *exec.Cmd) (list []caseResult) {
	t.Helper()
	timer := time.AfterFunc(casesTimeout, func() { cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.Output()
	for line := range bytes.Lines(out) {
		var v caseResult
		if json.Unmarshal(line, &v) == nil && v.Event != "start" && !v.Suite && v.Nesting > 0 {
			list = append(list, v)
		}
	}
	if len(list) == 0 {
		t.Fatalf("%v: %v, no cases\n%s", cmd.Args, err, out)
	}
	return list
}

// report makes a subtest of every case and returns the number of cases.
func report(t *testing.T, lines *bytes.Buffer) int {
	cases := 0
	var path []string
	for scanner := bufio.NewScanner(bytes.NewReader(lines.Bytes())); scanner.Scan(); {
		var v caseResult
		if json.Unmarshal(scanner.Bytes(), &v) != nil {
			continue // other output of the script
		}
		path = append(path[:min(v.Nesting, len(path))], v.Name)
		if v.Event == "start" || v.Suite && v.Event == "pass" {
			continue
		}
		cases++
		t.Run(strings.Join(path, "/"), func(t *testing.T) {
			if v.Event == "fail" {
				t.Error(v.Error)
			}
		})
	}
	return cases
}

func TestJavaScriptClient(t *testing.T) {
	t.Parallel()
	g := start(t, "DRAIN_PERIOD=0")
	for _, file := range []string{"connect.mjs", "rooms.mjs", "token.mjs", "packets.mjs"} {
		t.Run(strings.TrimSuffix(file, ".mjs"), func(t *testing.T) { clients(t, g, file) })
	}
}

func TestJavaScriptClientWithoutToken(t *testing.T) {
	t.Parallel()
	clients(t, start(t, "ALLOW_AUTH_WITHOUT_JWT=true"), "anonymous.mjs")
}

func TestJavaScriptClientAtTheSizeLimit(t *testing.T) {
	t.Parallel()
	clients(t, start(t, "MAX_HTTP_BUFFER_SIZE=20000"), "size.mjs")
}
