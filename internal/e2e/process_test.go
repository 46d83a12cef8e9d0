package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	jwtSecret    = "a secret of the end-to-end tests"
	startTimeout = 20 * time.Second // with -race, while other tests run
	stopTimeout  = 30 * time.Second // SHUTDOWN_TIMEOUT's default
	patience     = 10 * time.Second // for what should come at once
)

// A gateway is a process under test, or the reference in its place.
type gateway struct {
	t    *testing.T
	addr string // host:port
	url  string
	dir  string // working directory
	env  []string

	trust certificate // of a proxy with TLS

	cmd    *exec.Cmd
	out    *output
	exited chan error // one value, when the process has ended
	ended  bool
}

// start runs a gateway with these settings beside the defaults of the tests.
// It is stopped, and must have nothing to complain of, when t ends.
func start(t *testing.T, settings ...string) *gateway {
	t.Helper()
	port := freePort(t)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	dir := t.TempDir()
	g := &gateway{t: t, addr: addr, url: "http://" + addr, dir: dir, out: &output{}}
	g.env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + dir,
		"GORACE=exitcode=66",
		"PORT=" + strconv.Itoa(port),
		"SERVICE_HOST=127.0.0.1",
		"JWT_SECRET=" + jwtSecret,
		"NODE_ENV=development",
		"USE_REDIS=false",
		"USE_RABBITMQ=false",
		"LOG_DIR=" + dir,
		"DRAIN_PERIOD=100",
	}, settings...)
	g.launch()
	t.Cleanup(g.finish)
	return g
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// launch starts the process and waits until it serves.
func (g *gateway) launch() {
	g.t.Helper()
	g.cmd = exec.Command(binary)
	if reference {
		g.cmd = exec.Command("node", absolute(g.t, "js/reference.mjs"))
	}
	g.cmd.Dir, g.cmd.Env = g.dir, g.env
	g.cmd.Stdout, g.cmd.Stderr = g.out, g.out
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // when a test run times out
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	exited := make(chan error, 1)
	cmd := g.cmd
	go func() { exited <- cmd.Wait() }()
	g.exited, g.ended = exited, false
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		if status, _, err := get(g.url + "/health"); err == nil && status == http.StatusOK {
			return
		}
		select {
		case err := <-g.exited:
			g.ended = true
			g.t.Fatalf("the gateway ended at its start: %v\n%s", err, g.out)
		case <-time.After(20 * time.Millisecond):
		}
	}
	g.t.Fatalf("the gateway does not serve after %v\n%s", startTimeout, g.out)
}

func (g *gateway) signal(s syscall.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

// wait waits for the end of the process and returns its exit code.
func (g *gateway) wait() int {
	g.t.Helper()
	select {
	case err := <-g.exited:
		g.ended = true
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			g.t.Fatal(err)
		}
		return g.cmd.ProcessState.ExitCode()
	case <-time.After(stopTimeout):
		g.cmd.Process.Kill()
		<-g.exited
		g.ended = true
		g.t.Fatalf("the gateway did not end within %v\n%s", stopTimeout, g.out)
		return -1
	}
}

var complaint = regexp.MustCompile(`DATA RACE|panic:|panicked|goroutine \d+ \[`)

// finish stops the gateway and looks at what it said.
func (g *gateway) finish() {
	if !g.ended {
		g.signal(syscall.SIGTERM)
		if code := g.wait(); code != 0 {
			g.t.Errorf("exit code %d after SIGTERM, want 0", code)
		}
	}
	if found := complaint.FindString(g.out.String()); found != "" {
		g.t.Errorf("the gateway's output has %q", found)
	}
	if g.t.Failed() {
		g.t.Logf("output of the gateway:\n%s", g.out.tail(8000))
	}
}

// connectedSockets reads the number from /health.
func (g *gateway) connectedSockets() int {
	g.t.Helper()
	status, body, err := get(g.url + "/health")
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
	await(g.t, fmt.Sprintf("%d connected sockets", n), func() bool { return g.connectedSockets() == n })
}

// await polls a condition that should hold soon.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// get is an HTTP request on a connection of its own.
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

// output collects what a process prints.
type output struct {
	mu sync.Mutex // guards the following
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) tail(n int) string {
	s := o.String()
	return s[max(0, len(s)-n):]
}
