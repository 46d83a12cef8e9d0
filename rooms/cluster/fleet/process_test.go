package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/internal/sioclient"
	"github.com/hometrip/gateway/rooms/cluster/clustertest"
	"github.com/hometrip/gateway/rooms/cluster/redistest"
)

const (
	jwtSecret    = "a secret of the tests of a fleet"
	publishToken = "another one"
	keyPrefix    = "fleet:"
	patience     = 30 * time.Second // for what should come soon, on a busy machine
)

// binary is the gateway, built once by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gateway-fleet-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "gateway")
	build := exec.Command("go", "build", "-race", "-o", binary, "./cmd/gateway")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the gateway: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// A fleet is a Redis and gateways around it.
type fleet struct {
	t        *testing.T
	redis    *redistest.Server
	gateways []*gateway
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	redis, err := redistest.Start(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	return &fleet{t: t, redis: redis}
}

// A gateway is a process.
type gateway struct {
	f     *fleet
	url   string
	cmd   *exec.Cmd
	out   *output
	ended chan struct{}
	dead  bool
}

// launch starts a gateway and waits until it answers.
func (f *fleet) launch(settings ...string) *gateway {
	f.t.Helper()
	port, err := redistest.FreePort()
	if err != nil {
		f.t.Fatal(err)
	}
	g := &gateway{f: f, url: "http://127.0.0.1:" + strconv.Itoa(port), out: &output{}, ended: make(chan struct{})}
	g.cmd = exec.Command(binary)
	g.cmd.Dir = f.t.TempDir()
	g.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + g.cmd.Dir, "GORACE=exitcode=66",
		"NODE_ENV=production", "JWT_SECRET=" + jwtSecret, "PUBLISH_TOKEN=" + publishToken,
		"SERVICE_HOST=127.0.0.1", "PORT=" + strconv.Itoa(port), "LOG_DIR=" + g.cmd.Dir, "EVENT_LOOPS=2",
		"USE_RABBITMQ=false", "DRAIN_PERIOD=100",
		"REDIS_HOST=127.0.0.1", "REDIS_PORT=" + strconv.Itoa(f.redis.Port), "KEY_PREFIX=" + keyPrefix,
		"NODE_LEASE=1000", "ROOM_LINGER=50",
	}, settings...)
	g.cmd.Stdout, g.cmd.Stderr = g.out, g.out
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() { _ = g.cmd.Wait(); close(g.ended) }()
	f.t.Cleanup(g.finish)
	await(f.t, "a gateway that answers", func() bool {
		select {
		case <-g.ended:
			f.t.Fatalf("the gateway ended at its start:\n%s", g.out)
		default:
		}
		_, _, err := g.get("/health")
		return err == nil
	})
	f.gateways = append(f.gateways, g)
	return g
}

// start launches a gateway and waits until it takes part.
func (f *fleet) start(settings ...string) *gateway {
	f.t.Helper()
	g := f.launch(settings...)
	g.awaitReady()
	return g
}

func (g *gateway) awaitReady() {
	g.f.t.Helper()
	await(g.f.t, "a gateway that is ready", func() bool {
		status, _, err := g.get("/ready")
		return err == nil && status == http.StatusOK
	})
}

// kill ends the process as a crash does.
func (g *gateway) kill() {
	g.dead = true
	_ = g.cmd.Process.Kill()
	<-g.ended
}

var complaint = regexp.MustCompile(`DATA RACE|panic:|panicked|goroutine \d+ \[`)

// finish stops the gateway and looks at what it said.
func (g *gateway) finish() {
	if !g.dead {
		_ = g.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-g.ended:
		case <-time.After(patience):
			g.f.t.Errorf("not ended within %v of SIGTERM", patience)
			g.kill()
		}
		if code := g.cmd.ProcessState.ExitCode(); code != 0 && !g.dead {
			g.f.t.Errorf("exit code %d after SIGTERM, want 0", code)
		}
	}
	if found := complaint.FindString(g.out.String()); found != "" {
		g.f.t.Errorf("the gateway's output has %q", found)
	}
	if g.f.t.Failed() {
		text := g.out.String()
		g.f.t.Logf("output of %s:\n%s", g.url, text[max(0, len(text)-4000):])
	}
}

func (g *gateway) get(path string) (status int, body []byte, err error) {
	return g.request(http.MethodGet, path, "")
}

var web = http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

func (g *gateway) request(method, path, content string) (status int, body []byte, err error) {
	r, err := http.NewRequest(method, g.url+path, strings.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+publishToken)
	res, err := web.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// figures is what /metrics says.
type figures struct {
	ConnectedSockets int
	Cluster          *struct{ Nodes, ConnectedSockets, Queued int }
}

func (g *gateway) figures() (f figures) {
	g.f.t.Helper()
	_, body, err := g.get("/metrics")
	if err == nil {
		err = json.Unmarshal(body, &f)
	}
	if err != nil {
		g.f.t.Fatalf("/metrics: %v %s", err, body)
	}
	return f
}

// metric reads one Prometheus metric, labels included in its name.
func (g *gateway) metric(name string) float64 {
	g.f.t.Helper()
	r, err := http.NewRequest(http.MethodGet, g.url+"/metrics", nil)
	if err != nil {
		g.f.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/plain")
	res, err := web.Do(r)
	if err != nil {
		g.f.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		g.f.t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				g.f.t.Fatal(err)
			}
			return v
		}
	}
	g.f.t.Fatalf("no metric %s in\n%s", name, body)
	return 0
}

// publish publishes message.sent as a service does.
func (g *gateway) publish(conversation, text string) error {
	body, _ := json.Marshal(map[string]string{"conversationId": conversation, "message": text})
	status, answer, err := g.request(http.MethodPost, "/events/message.sent", string(body))
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("publish: %d %s", status, answer)
	}
	return err
}

// A client is a connected socket.
type client struct{ *sioclient.Client }

func (g *gateway) connect(user string) (*client, error) {
	claims := jwt.MapClaims{"id": user, "exp": time.Now().Add(time.Hour).Unix()}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(jwtSecret))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := sioclient.Connect(ctx, g.url, sioclient.Options{Token: token})
	if err != nil {
		return nil, err
	}
	c := &client{conn}
	if event, err := c.next(patience); err != nil || event != "connected "+user+" " {
		return nil, fmt.Errorf("%s: got %q, %v, want to be greeted", user, event, err)
	}
	return c, nil
}

// next returns the next event, as clustertest.Format has it.
func (c *client) next(timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	e, err := c.Next(ctx)
	if err != nil {
		return "", err
	}
	var body struct{ UserID, Message, Room string }
	if err := e.Decode(&body); err != nil {
		return "", err
	}
	if e.Name != "new_message" { // others have a message of their own
		body.Message = ""
	}
	return clustertest.Format(e.Name, body.Message, body.UserID, body.Room), nil
}

// do emits an event about a conversation and returns when it is acknowledged.
func (c *client) do(event, room string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := c.EmitAck(ctx, event, map[string]string{"roomType": "conversation", "roomId": room})
	if err == nil && !bytes.Contains(answer, []byte(`"success":true`)) {
		err = fmt.Errorf("%s %s: %s", event, room, answer)
	}
	return err
}

// await polls a condition that should hold soon.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
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
