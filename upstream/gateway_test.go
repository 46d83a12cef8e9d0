package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hometrip/gateway/internal/sioclient"
)

// A process is the gateway's program with settings for this test's world.
type process struct {
	t      *testing.T
	binary string
	env    []string
	url    string
	cmd    *exec.Cmd
	out    bytes.Buffer // read after the end
}

// build builds the program; start it with launch, or run its subcommands.
func build(t *testing.T, w *world) *process {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "gateway")
	if out, err := exec.Command("go", "build", "-race", "-o", binary, "../cmd/gateway").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	return &process{t: t, binary: binary, url: fmt.Sprintf("http://127.0.0.1:%d", port), env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SERVICE_HOST=127.0.0.1", "PORT=" + strconv.Itoa(port),
		"JWT_SECRET=secret", "USE_REDIS=false", "LOG_DIR=", "DRAIN_PERIOD=0", "PUBLISH_TOKEN=t0ken",
		"RABBITMQ_URL=" + w.broker.URL, "RABBITMQ_EXCHANGE=" + w.exchanges[0], "RABBITMQ_QUEUE_PREFIX=" + w.prefix,
	}}
}

func (p *process) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.binary, args...)
	cmd.Env, cmd.Dir = p.env, filepath.Dir(p.binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs a subcommand and returns what it prints.
func (p *process) run(args ...string) string {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("gateway %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// launch starts the gateway and waits until it has RabbitMQ.
func (p *process) launch() {
	p.t.Helper()
	p.cmd = p.command()
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.finish)
	await(p.t, "the gateway", func() bool { return strings.Contains(p.get("/health"), `"isConnected":true`) })
}

func (p *process) finish() {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the gateway ended with %v\n%s", err, p.out.String())
	}
}

func (p *process) get(path string) string {
	request, err := http.NewRequest(http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Accept", "text/plain")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

// A user is a connected client that fails its test by itself.
type user struct {
	*sioclient.Client
	t *testing.T
}

func (p *process) connect(id string) user {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	c, err := sioclient.Connect(ctx, p.url, sioclient.Options{Token: strings.TrimSpace(p.run("token", "--user", id))})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	u := user{c, p.t}
	if event := u.next(); !strings.HasPrefix(event, "connected [") {
		p.t.Fatalf("greeting %s", event)
	}
	return u
}

// next returns the next event: its name and its arguments.
func (u user) next() string {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), patience)
	defer cancel()
	e, err := u.Next(ctx)
	if err != nil {
		u.t.Fatal(err)
	}
	return fmt.Sprintf("%s %s", e.Name, e.Args)
}

func (u user) want(event string) {
	u.t.Helper()
	if got := u.next(); got != event {
		u.t.Fatalf("got %s\nwant %s", got, event)
	}
}

func TestGatewayBringsEventsFromServicesToItsClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sharedBroker(t))
	p := build(t, w)
	p.launch()
	ann, ben := p.connect("7"), p.connect("8")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := ann.EmitAck(ctx, "join_room", map[string]any{"roomType": "conversation", "roomId": 1}); err != nil {
		t.Fatal(err)
	}

	w.publish("booking.confirmed", `{"eventName":"booking.confirmed","data":{"userId":8,"reservationId":"r","status":"ok"},"timestamp":"T"}`)
	ben.want(`booking_update [{"bookingId":"r","status":"ok","type":"booking_confirmed","timestamp":"T"}]`)
	w.publish("notification.created", `{"userId":"7","notificationId":1,"title":"hi","data":{"a":[1]},"timestamp":"T"}`)
	ann.want(`new_notification [{"notificationId":1,"title":"hi","data":{"a":[1]},"timestamp":"T"}]`)
	p.run("publish", "booking.paid", `{"userId":8,"timestamp":"T"}`)
	ben.want(`booking_update [{"type":"booking_paid","timestamp":"T"}]`)
	if out := p.run("publish", "--http", p.url, "booking.paid", `{"userId":8,"timestamp":"U"}`); out != "{\"rooms\":1}\n" {
		t.Errorf("publish over HTTP: %s", out)
	}
	ben.want(`booking_update [{"type":"booking_paid","timestamp":"U"}]`)

	const events = 2000
	go w.stream(events)
	for n := range events {
		ann.want(fmt.Sprintf("new_message [%s]", messageBody(n)))
	}
	await(t, "the figures", func() bool {
		figures := p.get("/metrics")
		return strings.Contains(figures, "gateway_rabbitmq_connected 1\n") &&
			strings.Contains(figures, fmt.Sprintf("gateway_service_events_total{what=\"acknowledged\"} %d\n", events+3))
	})
}

func TestDeadLettersOnTheCommandLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sharedBroker(t))
	p := build(t, w)
	p.launch()
	for i := range 3 {
		p.run("publish", "message.sent", fmt.Sprint("poison ", i))
	}
	var ids []string
	await(t, "three letters", func() bool {
		ids = nil
		for line := range strings.Lines(p.run("dead-letter", "list")) {
			if strings.Contains(line, "not_json") && strings.Contains(line, fmt.Sprint("message.sent  poison ", len(ids))) {
				ids = append(ids, strings.Fields(line)[0])
			}
		}
		return len(ids) == 3
	})
	if out := p.run("dead-letter", "show", ids[1]); !strings.Contains(out, "\npoison 1\n") || strings.Contains(out, "poison 2") ||
		!strings.Contains(out, w.prefix+".message.sent") {
		t.Errorf("shown: %s", out)
	}
	var letter struct{ ID, Event, Body string }
	if out := p.run("dead-letter", "show", ids[1], "--json"); json.Unmarshal([]byte(out), &letter) != nil ||
		letter.ID != ids[1] || letter.Event != "message.sent" || letter.Body != "poison 1" {
		t.Errorf("show --json prints %s", out)
	}
	var list struct {
		Count   int
		Letters []struct{ ID, Reason string }
	}
	if out := p.run("dead-letter", "list", "--json"); json.Unmarshal([]byte(out), &list) != nil ||
		list.Count != 3 || len(list.Letters) != 3 || list.Letters[1].ID != ids[1] {
		t.Errorf("list --json prints %s", out)
	}
	if out := p.run("dead-letter", "drop", ids[0], ids[1]); out != "dropped 2\n" {
		t.Errorf("dropped: %s", out)
	}
	if out := p.run("dead-letter", "replay", "--all"); out != "replayed 1\n" {
		t.Errorf("replayed: %s", out)
	}
	await(t, "its return", func() bool { return strings.Contains(p.run("dead-letter", "list"), "poison 2") })
	if out, err := p.command("dead-letter", "drop", "nope").CombinedOutput(); err == nil || !strings.Contains(string(out), "no dead letter nope") {
		t.Errorf("dropping what is not there: %v %s", err, out)
	}
	p.run("dead-letter", "drop", "--all")
	if out := p.run("dead-letter", "list"); !strings.Contains(out, "\n0 dead letters\n") {
		t.Errorf("list: %s", out)
	}
}
