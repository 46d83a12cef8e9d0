package gatewaytest

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/freeport"
)

const (
	Secret       = "a secret of the tests" // JWT_SECRET
	PublishToken = "another one"           // PUBLISH_TOKEN

	// Patience is how long an event that should come soon may take on a busy
	// machine.
	Patience = testkit.Patience
)

// A Gateway is a process under test. Owned by the test's goroutine, except the
// requests of http.go.
type Gateway struct {
	Addr    string // host:port
	URL     string
	Out     *Output
	Command []string // nil: the gateway; else what runs in its place

	t     testing.TB
	dir   string // working directory
	env   []string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
	dead  bool          // the test has waited for its end, or killed it
}

// New prepares a gateway with these settings beside the defaults of the tests:
// alone, without Redis and RabbitMQ.
func New(t testing.TB, settings ...string) *Gateway {
	t.Helper()
	port := FreePort(t)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	dir := t.TempDir()
	return &Gateway{t: t, Addr: addr, URL: "http://" + addr, Out: &Output{}, dir: dir, env: append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GORACE=exitcode=66 atexit_sleep_ms=100",
		"SERVICE_HOST=127.0.0.1", "PORT=" + strconv.Itoa(port), "LOG_DIR=" + dir, "DRAIN_PERIOD=100",
		"JWT_SECRET=" + Secret, "PUBLISH_TOKEN=" + PublishToken,
		"USE_REDIS=false", "USE_RABBITMQ=false",
	}, settings...)}
}

// Start launches a gateway and waits until it is ready.
func Start(t testing.TB, settings ...string) *Gateway {
	t.Helper()
	g := New(t, settings...)
	g.Launch()
	g.AwaitReady()
	return g
}

// FreePort returns a TCP port of 127.0.0.1 on which no process listens.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Successor prepares another process with the same settings, including the
// port, and some more.
func (g *Gateway) Successor(settings ...string) *Gateway {
	return &Gateway{
		Addr: g.Addr, URL: g.URL, Out: &Output{}, Command: g.Command,
		t: g.t, dir: g.t.TempDir(), env: append(slices.Clone(g.env), settings...),
	}
}

// Set changes a setting for the next Launch.
func (g *Gateway) Set(setting string) { g.env = append(g.env, setting) }

func (g *Gateway) command(args ...string) *exec.Cmd {
	words := g.Command
	if words == nil {
		words = []string{Program(g.t)}
	}
	words = append(words[:len(words):len(words)], args...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Env = g.dir, g.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // when a test run times out
	return cmd
}

// Run runs a subcommand with the gateway's settings and returns what it prints.
func (g *Gateway) Run(args ...string) (string, error) {
	out, err := g.command(args...).CombinedOutput()
	return string(out), err
}

// Launch starts the process, also after its end, and waits until it answers. It
// is stopped when the test ends.
func (g *Gateway) Launch() {
	g.t.Helper()
	g.Begin()
	ended, cmd := g.ended, g.cmd
	Await(g.t, "a gateway that answers", func() bool {
		select {
		case <-ended:
			g.dead = true
			g.t.Fatalf("the gateway ended at its start: %v\n%s", cmd.ProcessState, g.Out)
		default:
		}
		status, _, err := g.Get("/health")
		return err == nil && status == http.StatusOK
	})
}

// Begin is Launch without the wait.
func (g *Gateway) Begin() {
	g.t.Helper()
	if g.cmd == nil {
		g.t.Cleanup(g.finish)
	}
	g.cmd = g.command()
	g.cmd.Stdout, g.cmd.Stderr = g.Out, g.Out
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	ended, cmd := make(chan struct{}), g.cmd
	go func() { _ = cmd.Wait(); close(ended) }()
	g.ended, g.dead = ended, false
}

// HasEnded reports whether the process has ended, as the test expects.
func (g *Gateway) HasEnded() bool {
	select {
	case <-g.ended:
		g.dead = true
	default:
	}
	return g.dead
}

// AwaitReady waits until the gateway is ready.
func (g *Gateway) AwaitReady() {
	g.t.Helper()
	Await(g.t, "a gateway that is ready", func() bool {
		status, _, err := g.Get("/ready")
		return err == nil && status == http.StatusOK
	})
}

// Pid returns the process's number.
func (g *Gateway) Pid() int { return g.cmd.Process.Pid }

// Dir returns the working directory of the process.
func (g *Gateway) Dir() string { return g.dir }

// Signal sends the process a signal.
func (g *Gateway) Signal(s syscall.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		g.t.Fatal(err)
	}
}

// Wait waits for the end of the process and returns its exit code, -1 if it had
// to be killed.
func (g *Gateway) Wait() int {
	g.t.Helper()
	g.dead = true
	select {
	case <-g.ended:
	case <-time.After(Patience):
		g.t.Errorf("the gateway did not end within %v", Patience)
		g.Kill()
	}
	return g.cmd.ProcessState.ExitCode()
}

// Stop ends the process as an orchestrator does.
func (g *Gateway) Stop() {
	g.t.Helper()
	g.Signal(syscall.SIGTERM)
	if code := g.Wait(); code != 0 {
		g.t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// Kill ends the process as a crash does.
func (g *Gateway) Kill() {
	g.dead = true
	_ = g.cmd.Process.Kill()
	<-g.ended
}

var complaint = regexp.MustCompile(`DATA RACE|panic:|panicked|goroutine \d+ \[`)

// finish stops the gateway and checks its output.
func (g *Gateway) finish() {
	if !g.dead {
		g.Stop()
	}
	text := g.Out.String()
	if found := complaint.FindString(text); found != "" {
		g.t.Errorf("the gateway's output has %q", found)
	}
	if g.t.Failed() {
		const most = 8000 // bytes
		g.t.Logf("output of %s:\n%s", g.URL, text[max(0, len(text)-most):])
	}
}
