package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/config"
)

// command runs a command line in an empty directory and returns its output.
func command(t *testing.T, run server, args ...string) (string, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	var out bytes.Buffer
	root := newCommand(run)
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestServeIsTheDefaultAndReportsItsError(t *testing.T) {
	t.Setenv("LOG_DIR", "")
	t.Setenv("PORT", "4321")
	broken := errors.New("no such port")
	for _, args := range [][]string{{}, {"serve"}} {
		served := 0
		_, err := command(t, func(_ context.Context, start launch) error {
			served = start.Server.Port
			return broken
		}, args...)
		if served != 4321 || !errors.Is(err, broken) {
			t.Errorf("%v: served on port %d, error %v; want 4321 and the error of serve", args, served, err)
		}
	}
}

func TestBadSettingStopsTheStart(t *testing.T) {
	t.Setenv("PORT", "x")
	_, err := command(t, func(context.Context, launch) error {
		t.Error("the gateway was started with a wrong setting")
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), `PORT="x"`) {
		t.Errorf("got %v", err)
	}
}

func TestTokenCommandPrintsATokenTheGatewayAccepts(t *testing.T) {
	t.Setenv("JWT_SECRET", "secret")
	t.Setenv("JWT_ISSUER", "us")
	t.Setenv("JWT_AUDIENCE", "chat")
	out, err := command(t, nil, "token", "--user", "42", "--email", "a@b.c", "--role", "host", "--ttl", "5m")
	if err != nil {
		t.Fatal(err)
	}
	v, err := auth.New(auth.Config{Secret: "secret", Issuer: "us", Audience: "chat"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Verify(strings.TrimSpace(out), time.Now())
	if err != nil || id.UserID != "42" || id.Email != "a@b.c" || id.Role != "host" || id.Expires.IsZero() {
		t.Errorf("got %+v, %v", id, err)
	}
}

func TestTokenCommandNeedsASecretAndAUser(t *testing.T) {
	t.Setenv("JWT_SECRET", "")
	if _, err := command(t, nil, "token", "--user", "42"); err == nil || !strings.Contains(err.Error(), "JWT_SECRET") {
		t.Errorf("without secret: %v", err)
	}
	t.Setenv("JWT_SECRET", "secret")
	if _, err := command(t, nil, "token"); err == nil || !strings.Contains(err.Error(), "user") {
		t.Errorf("without user: %v", err)
	}
}

func TestHealthcheckFollowsTheStatus(t *testing.T) {
	status := http.StatusOK
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			t.Errorf("request for %s, want /health", r.URL.Path)
		}
		w.WriteHeader(status)
	}))
	defer gateway.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(gateway.URL, "http://"), ":")
	t.Setenv("PORT", port)
	if _, err := command(t, nil, "healthcheck"); err != nil {
		t.Errorf("healthy: %v", err)
	}
	status = http.StatusServiceUnavailable
	if _, err := command(t, nil, "healthcheck"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("draining: %v", err)
	}
	if _, err := command(t, nil, "healthcheck", "--url", "http://127.0.0.1:1/health"); err == nil {
		t.Error("no server at the address: healthcheck returned no error")
	}
}

func TestHealthURLIsReachableFromTheSameMachine(t *testing.T) {
	for host, want := range map[string]string{
		"0.0.0.0": "http://127.0.0.1:3002/health", "::": "http://127.0.0.1:3002/health",
		"10.0.0.1": "http://10.0.0.1:3002/health", "::1": "http://[::1]:3002/health",
	} {
		if got := healthURL(config.Config{Server: config.Server{Host: host, Port: 3002}}); got != want {
			t.Errorf("%s: got %s, want %s", host, got, want)
		}
	}
}

func TestConfigAndVersionCommandsPrint(t *testing.T) {
	for want, args := range map[string][]string{
		config.Markdown(): {"config", "--defaults"}, config.Env(): {"config", "--env"}, "gateway ": {"version"},
	} {
		if out, err := command(t, nil, args...); err != nil || !strings.HasPrefix(out, want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// gateway routes check lists routes and client events, routes try shows what an event
// becomes, and both report errors in the file.
func TestRoutesCommandsShowTheResultingEvents(t *testing.T) {
	const text = `
routes:
  - {event: booking.reminder, rooms: "user:{userIds[]}", emit: reminder, fields: [bookingId, {name: kind, from: $key}]}
client_events:
  - {event: mark_read, room: "conversation:{c}", emit: message_read, fields: [m], publish: client.mark_read, ack: confirmed}
`
	file := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("RABBITMQ_QUEUE_PREFIX", "q")
	spaces := regexp.MustCompile(" +")
	for _, c := range []struct {
		args []string
		want string // of the output, or of the error
	}{
		{[]string{"check"}, "\nmessage.sent conversation:{conversationId} new_message "},
		{[]string{"check", file}, "\nbooking.reminder user:{userIds[]} reminder bookingId,kind\n"},
		{[]string{"check", "none.yaml"}, "none.yaml: no such file"},
		{[]string{"try", "message.sent", `{"conversationId":1,"timestamp":"T"}`}, "to conversation:1\n[\"new_message\",{\"conversationId\":1,\"timestamp\":\"T\"}]\n"},
		{[]string{"try", file, "booking.reminder", `{"userIds":[1,"b"],"bookingId":5}`}, "to user:1\nto user:b\n[\"reminder\",{\"bookingId\":5,\"kind\":\"booking_reminder\"}]\n"},
		{[]string{"try", file, "booking.reminder", `{"userIds":[]}`}, "to no room\n"},
		{[]string{"try", "message.read", `{}`}, "no_route: no route for message.read"},
		{[]string{"check", file}, "\nmark_read conversation:{c} message_read m client.mark_read members confirmed 4096 10 20\n"},
		{[]string{"check", "--json", file}, `"client":{`},
		{[]string{"try", file, "mark_read", `{"c":1,"m":2}`}, "to the others in conversation:1\n[\"message_read\",{\"m\":2,\"socketId\":"},
		{[]string{"try", file, "mark_read", `{"c":1}`}, "to services as client.mark_read\n{\"eventName\":\"client.mark_read\",\"source\":\"websocket-gateway\",\"socketId\":"},
		{[]string{"try", "--json", file, "mark_read", `{"c":1}`}, `"room":"conversation:1"`},
		{[]string{"try", file, "mark_read", `{}`}, `the client is answered: {error: "Missing c"}`},
		{[]string{"try", file, "mark_read", `{`}, "line 1, column 1: unexpected end of JSON input"},
	} {
		out, err := command(t, nil, append([]string{"routes"}, c.args...)...)
		if err != nil {
			out += err.Error()
		}
		out = spaces.ReplaceAllString(out, " ")
		if !strings.Contains(out, c.want) {
			t.Errorf("routes %v: %q (%v), want %q in it", c.args, out, err, c.want)
		}
	}
	t.Setenv("ROUTES_FILE", file)
	if out, err := command(t, nil, "routes", "check"); err != nil || !strings.Contains(out, "booking.reminder") {
		t.Errorf("with ROUTES_FILE: %s, %v", out, err)
	}
	if err := os.WriteFile(file, []byte("routes:\n  - {event: a}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := command(t, nil, "routes", "check"); err == nil || !strings.Contains(err.Error(), "line 2: the route has no rooms") {
		t.Errorf("a wrong routes file: %v", err)
	}
}

func TestFirstSignalCancelsTheSecondExits(t *testing.T) {
	codes := make(chan int, 1)
	defer signal.Reset(syscall.SIGINT, syscall.SIGTERM)
	ctx := interruptible(func(code int) { codes <- code })
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	select {
	case code := <-codes:
		t.Fatalf("exit code %d after one signal, want none", code)
	default:
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := <-codes; code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
}
