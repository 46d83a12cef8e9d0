package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
)

// installed is the Debian package unpacked into a directory and run as its systemd
// unit says. Nothing is installed on the machine.
type installed struct {
	*gateway
	root     string
	settings string // path of the settings file that the operator edits
}

var debianPackage struct {
	once sync.Once
	path string
}

// install unpacks the package and writes an operator's settings: those of the test,
// and those that isolate it from the machine.
func install(t *testing.T, settings ...string) *installed {
	t.Helper()
	debianPackage.once.Do(func() {
		dir := filepath.Dir(gatewaytest.Program(t)) // removed when the tests end
		arch := strings.TrimSpace(run(t, "dpkg", "--print-architecture"))
		run(t, "../../deploy/deb/build", "1.2.3", arch, gatewaytest.Program(t), dir)
		debianPackage.path = filepath.Join(dir, "websocket-gateway_1.2.3_"+arch+".deb")
	})
	i := &installed{root: t.TempDir()}
	run(t, "dpkg-deb", "-x", debianPackage.path, i.root)
	i.settings = filepath.Join(i.root, "etc/default/websocket-gateway")
	g := gatewaytest.New(t)
	i.gateway = &gateway{Gateway: g, t: t}
	i.write(append([]string{
		"SERVICE_HOST=127.0.0.1", "PORT=" + g.Addr[strings.LastIndex(g.Addr, ":")+1:], "JWT_SECRET=" + gatewaytest.Secret,
		"PUBLISH_TOKEN=" + gatewaytest.PublishToken, handoverSocket(t), "USE_REDIS=false", "USE_RABBITMQ=false", "DRAIN_PERIOD=100",
	}, settings...)...)
	g.Command = i.execute(t, "ExecStart=")
	return i
}

// write appends lines to the operator's settings.
func (i *installed) write(lines ...string) {
	file, err := os.OpenFile(i.settings, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString("\n" + strings.Join(lines, "\n") + "\n")
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// replace replaces text in the operator's settings.
func (i *installed) replace(old, new string) {
	text, err := os.ReadFile(i.settings)
	if err == nil {
		err = os.WriteFile(i.settings, []byte(strings.Replace(string(text), old, new, 1)), 0o640)
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// execute returns a command of the unit, with its paths below the root directory.
func (i *installed) execute(t *testing.T, what string) []string {
	t.Helper()
	unit := read(t, filepath.Join(i.root, "usr/lib/systemd/system/websocket-gateway.service"))
	for line := range strings.Lines(unit) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), what); ok {
			words := []string{"env", "-i"} // systemd does not pass the environment of a shell
			for word := range strings.FieldsSeq(command) {
				if strings.HasPrefix(word, "/") {
					word = filepath.Join(i.root, word)
				}
				words = append(words, word)
			}
			return words
		}
	}
	t.Fatalf("the unit has no %s", what)
	return nil
}

// command runs a command of the installed gateway in a shell that has other settings
// in its environment. It returns output and exit code.
func (i *installed) command(args ...string) (out string, code int) {
	i.t.Helper()
	cmd := exec.Command(filepath.Join(i.root, "usr/bin/gateway"), args...)
	cmd.Dir = i.t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PORT=1", "JWT_SECRET=of the shell", "REDIS_HOST=of.the.shell"}
	text, err := cmd.CombinedOutput()
	exit := &exec.ExitError{}
	if err != nil && !errors.As(err, &exit) {
		i.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// wantIn checks that a text contains these words.
func wantIn(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s: want %q in\n%s", what, word, text)
		}
	}
}

// tryToken connects with a token.
func (g *gateway) tryToken(t *testing.T, token string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := sioclient.Connect(ctx, g.URL, sioclient.Options{Token: token})
	if err == nil {
		c.Close()
	}
	return err
}

// signed returns a token of user ann, signed with this secret.
func signed(t *testing.T, secret string) string {
	t.Helper()
	claims := jwt.MapClaims{"id": "ann", "exp": time.Now().Add(time.Hour).Unix()}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Commands of the installed package use the settings of the service, not those of the
// shell. The doctor reports settings that were edited since the start, with the
// command that applies them.
func TestInstalledCommandsUseTheSettingsOfTheService(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not packaged")
	i := install(t, "RABBITMQ_HOST=127.0.0.1", "RABBITMQ_PORT=1")
	out, code := i.command("doctor")
	wantIn(t, "doctor, nobody runs", out, i.settings, "websocket-gateway.service", "RLIMIT_NOFILE 200000", "no gateway runs here")
	if strings.Contains(out, "of.the.shell") || strings.Contains(out, "made up") || code != 0 {
		t.Errorf("doctor without a running gateway: exit code %d, want 0\n%s", code, out)
	}
	out, _ = i.command("dead-letter", "list")
	wantIn(t, "dead-letter list", out, "127.0.0.1:1", i.settings)
	out, _ = i.command("config")
	wantIn(t, "config", out, "# "+i.settings+":", "NODE_ENV=production", "service.env:3")
	out, code = i.command("token", "--user", "ann")
	if code != 0 {
		t.Fatalf("token: %s", out)
	}
	token := strings.TrimSpace(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:])

	i.Launch()
	if err := i.tryToken(t, token); err != nil {
		t.Errorf("the token that gateway token printed is refused: %v", err)
	}
	if out, code = i.command("healthcheck"); code != 0 {
		t.Errorf("healthcheck: exit code %d, want 0: %s", code, out)
	}
	out, code = i.command("doctor")
	wantIn(t, "doctor", out, fmt.Sprintf("process %d", i.Pid()), "as on disk")
	if code != 0 {
		t.Errorf("doctor: exit code %d", code)
	}
	// The file is edited. The process keeps the settings that it has read.
	i.write("LOG_LEVEL=debug", "PING_INTERVAL=20s")
	out, _ = i.command("doctor")
	wantIn(t, "doctor after an edit", out, "LOG_LEVEL", "info", "debug", "reload", "PING_INTERVAL", "20000", "kill -HUP", "systemctl reload")

	other := filepath.Join(t.TempDir(), "other.env")
	writeFile(t, other, "LOG_FORMAT=text\n")
	out, _ = i.command("config", "--env-file", other)
	wantIn(t, "--env-file", out, "LOG_FORMAT=text", "PORT=1 ", "# environment")
}

func TestMistypedSettingsStopTheInstalledGateway(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not packaged")
	i := install(t, "JWT_SECERT=x", "CORS_ORIGINS=https://a.example", "MAX_CONNECTION=5")
	out, err := i.Run()
	exit := &exec.ExitError{}
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("exit: %v, want 2, after which systemd does not try again", err)
	}
	wantIn(t, "start", out, i.settings+":", "JWT_SECERT: there is no such setting: JWT_SECRET?", "CORS_ORIGIN?", "MAX_CONNECTIONS?")
	i.replace("JWT_SECERT=x", "")
	i.replace("CORS_ORIGINS=https://a.example", "")
	i.replace("MAX_CONNECTION=5", "NODE_ENV=development\nMAX_CONNECTION=5")
	i.Launch()
	gatewaytest.Await(t, "a warning", func() bool { return strings.Contains(i.Out.String(), "MAX_CONNECTIONS?") })
}

// reload appends lines to the settings, sends SIGHUP, and returns the log line with
// the result.
func (i *installed) reload(t *testing.T, lines ...string) string {
	t.Helper()
	i.write(lines...)
	before := len(i.Out.String())
	i.Signal(syscall.SIGHUP)
	line := ""
	gatewaytest.Await(t, "word of a reload", func() bool {
		for text := range strings.Lines(i.Out.String()[before:]) {
			if strings.Contains(text, `"settings reloaded"`) || strings.Contains(text, `"settings not reloaded`) {
				line = text
			}
		}
		return strings.HasSuffix(line, "\n")
	})
	return line
}

// allowed returns the Access-Control-Allow-Origin header for a request of this origin.
func (i *installed) allowed(t *testing.T, origin string) string {
	t.Helper()
	res, _, err := exchange(http.MethodGet, i.URL+"/health", http.Header{"Origin": {origin}}, "")
	if err != nil {
		t.Fatal(err)
	}
	return res.Header.Get("Access-Control-Allow-Origin")
}

// SIGHUP reopens log files and applies the settings that can change at runtime. It
// names those that need a restart, and applies nothing if a setting is invalid.
func TestReloadOfTheInstalledGateway(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not packaged")
	dir := t.TempDir()
	logs, routes := filepath.Join(dir, "logs"), filepath.Join(dir, "routes.yaml")
	i := install(t, "LOG_DIR="+logs, "ROUTES_FILE=", "MAX_ROOMS=3")
	i.Launch()
	stays := i.dial(t, "ann", false)

	t.Run("log files that were moved or deleted are opened again", func(t *testing.T) {
		if err := os.Remove(filepath.Join(logs, "all.log")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(logs, "error.log"), filepath.Join(logs, "error.log.1")); err != nil {
			t.Fatal(err)
		}
		wantIn(t, "nothing has changed", i.reload(t), `"settings reloaded"`, `"changed":null`)
		gatewaytest.Await(t, "all.log with the line", func() bool {
			text, _ := os.ReadFile(filepath.Join(logs, "all.log"))
			return strings.Contains(string(text), `"settings reloaded"`)
		})
		if _, err := os.Stat(filepath.Join(logs, "error.log")); err != nil {
			t.Error(err)
		}
	})
	t.Run("settings that can change at runtime are applied", func(t *testing.T) {
		old, next := signed(t, gatewaytest.Secret), signed(t, "another secret of the tests")
		writeFile(t, routes, "routes:\n  - {event: booking.reminder, rooms: \"user:{userId}\", emit: reminder, fields: [text]}\n")
		line := i.reload(t, "JWT_SECRET=another secret of the tests", "CORS_ORIGIN=https://new.example", "LOG_LEVEL=debug",
			"MAX_ROOMS=2", "METRICS_TOKEN=a token for metrics", "ROUTES_FILE="+routes)
		wantIn(t, "the line", line, "LOG_LEVEL: info -> debug", "MAX_ROOMS: 3 -> 2", "https://new.example",
			"JWT_SECRET: [hidden] -> [hidden]", "route booking.reminder", `"needRestart":null`)
		if strings.Contains(line, "another secret") {
			t.Error("the log line contains a secret")
		}
		if err := i.tryToken(t, next); err != nil {
			t.Errorf("a token of the new secret is refused: %v", err)
		}
		if err := i.tryToken(t, old); err == nil || !strings.Contains(err.Error(), "invalid signature") {
			t.Errorf("a token of the old secret: %v, want invalid signature", err)
		}
		if got := i.allowed(t, "https://new.example"); got != "https://new.example" {
			t.Errorf("the new origin gets %q, want it allowed", got)
		}
		if got := i.allowed(t, "http://localhost:3000"); got != "" {
			t.Errorf("the old origin gets %q, want none", got)
		}
		if status, _, err := get(i.URL + "/metrics"); status != http.StatusUnauthorized {
			t.Errorf("metrics without the new token: status %d, %v, want 401", status, err)
		}
		stays.do("join_room", "1") // connected clients stay, with the new limits
		if got := stays.ack("join_room", conversation("2")); got != `{"error":"In 2 rooms already"}` {
			t.Errorf("joining a third room: %s, want a refusal", got)
		}
		if status, body, err := i.Post("booking.reminder", `{"userId":"ann","text":"x"}`); status != http.StatusAccepted {
			t.Errorf("posting an event of the new route: %d %s %v, want 202", status, body, err)
		}
		if e := stays.next(t); e != "reminder" {
			t.Errorf("got %s, want reminder", e)
		}
	})
	t.Run("settings that need a restart are named", func(t *testing.T) {
		line := i.reload(t, "PING_INTERVAL=20s", "LOG_LEVEL=info")
		wantIn(t, "the line", line, "LOG_LEVEL: debug -> info", "PING_INTERVAL: 25000 -> 20000", `"needRestart":["PING`)
		out, _ := i.command("doctor")
		wantIn(t, "doctor", out, "PING_INTERVAL", "systemctl reload")
		if strings.Contains(out, "LOG_LEVEL ") {
			t.Errorf("the doctor reports LOG_LEVEL as not reloaded:\n%s", out)
		}
	})
	for what, wrong := range map[string]string{
		"a bad value": "MAX_ROOMS=many", "a weak secret": "JWT_SECRET=short", "a mistyped name": "LOG_LEVLE=debug",
		"a missing file": "ROUTES_FILE=/nowhere.yaml", "a key of another form": "JWT_SECRET=-----BEGIN PUBLIC KEY-----",
	} {
		t.Run(what+" is refused, and the gateway goes on", func(t *testing.T) {
			name, _, _ := strings.Cut(wrong[strings.LastIndex(wrong, "\n")+1:], "=")
			wantIn(t, "the line", i.reload(t, wrong, "CORS_ORIGIN=https://later.example"), "not reloaded", name)
			if got := i.allowed(t, "https://new.example"); got != "https://new.example" {
				t.Errorf("the previous origin gets %q, want it still allowed", got)
			}
			if err := i.tryToken(t, signed(t, "another secret of the tests")); err != nil {
				t.Errorf("a token of the previous secret is refused: %v", err)
			}
			i.replace(wrong, "")
		})
	}
	stays.do("typing", "1")
	i.Stop()
}

// A setting that names a missing or invalid file makes the gateway exit with 2, after
// which systemd does not restart it.
func TestUnusableFilesExitWithCode2(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no such settings")
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	writeFile(t, bad, "routes: 7\n")
	for name, settings := range map[string][]string{
		"JWT_PUBLIC_KEY":        {"JWT_SECRET=", "JWT_PUBLIC_KEY=/nowhere.pem"},
		"ROUTES_FILE=/nowhere":  {"ROUTES_FILE=/nowhere"},
		"ROUTES_FILE=" + bad:    {"ROUTES_FILE=" + bad},
		"MAX_CONNECTIONS=10000": {"MAX_CONNECTIONS=10000000"},
		"RABBITMQ_URL":          {"USE_RABBITMQ=true", "RABBITMQ_URL=amqps://h/?cacertfile=/nowhere.pem"},
	} {
		out, err := gatewaytest.New(t, settings...).Run("serve")
		exit := &exec.ExitError{}
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(out, name) {
			t.Errorf("%v: %v, want exit code 2 and %s\n%s", settings, err, name, out)
		}
	}
}
