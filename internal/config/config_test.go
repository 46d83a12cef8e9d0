package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// environment returns a lookup function for NAME=value words.
func environment(words ...string) func(string) (string, bool) {
	values := map[string]string{}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		values[name] = value
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

// parseConfig parses an environment and the values of a .env file.
func parseConfig(lookup func(string) (string, bool), file map[string]string) (Config, error) {
	values := make(map[string]string)
	for _, s := range settings {
		if value, ok := lookup(s.Name); ok {
			values[s.Name] = value
		}
	}
	in := Sources{environments: []Environ{{Name: "environment", values: values}}}
	l, err := in.settle([]envFile{{path: ".env", values: file}})
	return l.Config, err
}

// secretWord sets a secret that is accepted in production.
const secretWord = "JWT_SECRET=a secret of the tests"

func mustParse(t *testing.T, words ...string) Config {
	t.Helper()
	cfg, err := parseConfig(environment(words...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDefaultsEqualTheContract(t *testing.T) {
	got := mustParse(t)
	if got.Auth.Secret == "" || !got.Auth.EphemeralSecret {
		t.Error("no secret was generated for development")
	}
	got.Auth.Secret, got.Auth.EphemeralSecret = "", false
	want := Config{
		Server:  Server{Environment: "development", Host: "::", Port: 3002, CORSOrigins: []string{"http://localhost:3000", "https://localhost:3000"}},
		Metrics: Metrics{Enabled: true, RoomsLimit: 1000},
		Canary:  Canary{Interval: 5 * time.Second},
		Console: Console{Mode: "auto"},
		Connections: Connections{
			PingInterval: 25 * time.Second, PingTimeout: 60 * time.Second, ConnectTimeout: 45 * time.Second,
			HeadTimeout: 10 * time.Second, KeepAliveTimeout: 75 * time.Second,
		},
		Limits: Limits{
			SocketsPerUser: 1000, HeadSize: 16384, HTTPBufferSize: 1_000_000, PendingBytes: 1 << 20, Mailbox: 65536,
			Events: 100, EventsBurst: 1000, Bytes: 1 << 20,
		},
		Rooms: Rooms{
			Policy: "open", Notifications: "policy", AuthTimeout: 2 * time.Second, AuthTTL: 30 * time.Second, AuthConcurrency: 32,
			PerSocket: 1000, PerUser: 5000, IDLength: 256, PresenceMembers: 500, PresencePerSecond: 100_000,
		},
		Shutdown: Shutdown{DrainPeriod: 10 * time.Second, Timeout: 30 * time.Second},
		Log: Log{
			Level: slog.LevelInfo, Format: "auto", Dir: "logs", MaxSizeMB: 100, MaxFiles: 10, StatsInterval: time.Minute,
		},
		Redis:   Redis{Use: true, Host: "redis", Port: 6379, DB: 1, KeyPrefix: "ws:"},
		Cluster: Cluster{Lease: 5 * time.Second, RoomLinger: 30 * time.Second, PublishQueue: 65536, PublishBytes: 64 << 20},
		Adapter: Adapter{Events: "not-routed"},
		RabbitMQ: RabbitMQ{
			Use: true, Host: "rabbitmq", Port: 5672, User: "guest", Password: "guest", VHost: "/",
			Exchanges: []string{"hometrip_events"}, QueuePrefix: "websocket-gateway", Prefetch: 500,
		},
		Events:   Events{Log: "auto", Retention: time.Hour, MaxBytes: 1 << 30, TailBytes: 64 << 20, MaxSize: 262144},
		Presence: Presence{Exchange: "hometrip_presence", LastSeen: 30 * 24 * time.Hour},
		Recovery: Recovery{
			Mode: "asked", Window: 2 * time.Minute, MaxEvents: 1000, MaxBytes: 4 << 20, PresenceGrace: 5 * time.Second,
			MaxSessions: 100_000, MaxSessionBytes: 64 << 20, MaxPerUser: 100,
		},
	}
	for _, s := range settings {
		if g, w := s.kind.text(&got), s.kind.text(&want); g != w {
			t.Errorf("%s: the default is %q, the contract in this test says %q: change one of them", s.Name, g, w)
		}
	}
	if !t.Failed() && !reflect.DeepEqual(got, want) {
		t.Errorf("a field that no setting prints differs:\ngot  %#v\nwant %#v", got, want)
	}
}

// Each setting with a value other than its default changes the Config, is printed as
// that value, and has a unique name.
func TestEverySettingHasItsOwnField(t *testing.T) {
	special := map[string]string{
		"REDIS_URL": "rediss://u:p@h1:7000/2?addr=h2:7000", "MAX_PUBLISH_BYTES": "70000000",
		"RABBITMQ_URL": "amqp://u:p@h1/v,amqps://h2:5671/v",
		"NODE_ENV":     "test", "CORS_ORIGIN": "https://app.example.com", "LOG_LEVEL": "debug", "LOG_FORMAT": "json",
		"JWT_JWKS_URL": "https://issuer/keys", "MAX_PENDING_BYTES": "70000",
		"TRUSTED_PROXIES": "10.0.0.0/8,192.0.2.7/32", "PROXY_PROTOCOL": "true", "ADMIN_ADDR": "127.0.0.1:9100",
		"ROOM_POLICY": "claims", "NOTIFICATION_ROOMS": "own", "ROOM_AUTH_URL": "https://app/rooms", "ROOM_ID_CHARACTERS": "abc-",
		"MAX_EVENTS_BURST": "70", "ROOM_AUTH_TIMEOUT": "3000", "ROOM_AUTH_CONCURRENCY": "7", "MAX_ROOM_ID_LENGTH": "70",
		"SOCKETIO_ADAPTER_EVENTS": "all", "HANDOVER_SOCKET": "/run/gateway/handover.sock", "RECOVERY": "all", "MAX_RECOVERY_BYTES": "2000000",
		"EVENT_LOG": "memory", "EVENT_LOG_RETENTION": "7200000", "EVENT_LOG_MAX_BYTES": "200000000", "EVENT_LOG_TAIL_BYTES": "2000000",
		"REDIS_DB": "7", "CONSOLE": "true", "LOG_MAX_FILES": "7", "EVENT_LOOPS": "3",
	}
	seen := map[string]bool{}
	for _, s := range settings {
		value := special[s.Name]
		switch {
		case value != "":
		case s.Default == "true":
			value = "false"
		case s.Default == "false":
			value = "true"
		case strings.Contains(s.kind.allowed, "from"):
			value = "2000"
		case strings.HasSuffix(s.Name, "_URL"):
			value = "http://service:8080/path"
		default:
			value = "value"
		}
		if seen[s.Name] || s.Doc == "" || value == s.Default {
			t.Errorf("%s: stands twice, has no doc, or its default is the value %q that this test sets: give it another one in the map special above", s.Name, value)
		}
		seen[s.Name] = true
		var base, changed Config
		if !s.kind.set(&base, s.Default) || !s.kind.set(&changed, value) {
			t.Errorf("%s: its default %q, or the value %q of this test, is not one of: %s. Correct the default in the tables of settings, or add an allowed value to the map special above",
				s.Name, s.Default, value, s.kind.allowed)
		}
		if reflect.DeepEqual(base, changed) || s.kind.text(&changed) != value {
			t.Errorf("%s=%s: reads back as %q: its kind sets or prints a field of another setting", s.Name, value, s.kind.text(&changed))
		}
	}
	fields := -2 // Auth.EphemeralSecret and Auth.SecretFile are not settings
	for group := range reflect.TypeFor[Config]().Fields() {
		for field := range group.Type.Fields() {
			if field.IsExported() {
				fields++
			}
		}
	}
	if len(seen) != fields {
		t.Errorf("%d settings for %d fields: each field of Config needs an entry in settings.go, limits.go or recovery.go", len(seen), fields)
	}
}

func TestAllBadValuesAreReportedAtOnceWithoutSecrets(t *testing.T) {
	_, err := parseConfig(environment(
		"PORT=http", "PING_INTERVAL=25x", "METRICS_ENABLED=maybe", "LOG_LEVEL=loud", "NODE_ENV=prodution",
		"MAX_HEAD_SIZE=1", "CORS_ORIGIN=http://a/path", "BOOKING_SERVICE_URL=booking:3000", "REDIS_HOST=a b",
		"JWT_JWKS_URL=https://me:hunter2@issuer/", "RABBITMQ_EXCHANGE= , ", "PORT=70000",
	), nil)
	if err == nil {
		t.Fatal("bad values were accepted")
	}
	for _, want := range []string{
		`PORT="70000": want a whole number from 0 to 65535`,
		`PING_INTERVAL="25x": want milliseconds from 100 to 3600000`,
		`METRICS_ENABLED="maybe": want true or false`,
		`LOG_LEVEL="loud": want error, warn`,
		`NODE_ENV="prodution": want development, test, staging, production`,
		`MAX_HEAD_SIZE="1"`, `CORS_ORIGIN="http://a/path"`, `BOOKING_SERVICE_URL="booking:3000"`,
		`REDIS_HOST="a b"`, `JWT_JWKS_URL="[hidden]"`, `RABBITMQ_EXCHANGE=`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %s", want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the error shows a password")
	}
}

func TestContradictionsStopTheStart(t *testing.T) {
	for _, row := range []struct {
		want  string
		words []string
	}{
		{"JWT_SECRET", []string{"NODE_ENV=production"}},
		{"JWT_SECRET", []string{"NODE_ENV=staging", "JWT_SECRET="}},
		{"only one", []string{"JWT_SECRET=s", "JWT_JWKS_URL=http://issuer/"}},
		{"only one", []string{"JWT_SECRET=s", "JWT_PUBLIC_KEY=key.pem"}},
		{"CONSOLE_TOKEN", []string{"NODE_ENV=production", secretWord, "CONSOLE=true"}},
		{"CONSOLE_TOKEN", []string{"NODE_ENV=staging", secretWord, "CONSOLE=true"}},
		{"SHUTDOWN_TIMEOUT", []string{"DRAIN_PERIOD=2000", "SHUTDOWN_TIMEOUT=1000"}},
		{"USE_REDIS=true", []string{"SOCKETIO_ADAPTER_KEY=socket.io", "USE_REDIS=false"}},
		{"want SOCKETIO_ADAPTER_KEY", []string{"SOCKETIO_ADAPTER_EVENTS=compare"}},
	} {
		_, err := parseConfig(environment(row.words...), nil)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: got %v, want an error about %s", row.words, err, row.want)
		}
	}
	for _, key := range []string{secretWord, "JWT_PUBLIC_KEY=key.pem", "JWT_JWKS_URL=http://issuer/"} {
		if cfg := mustParse(t, "NODE_ENV=production", key); cfg.Auth.EphemeralSecret {
			t.Errorf("%s: a secret was generated although a key is set", key)
		}
	}
}

// The environment and CONSOLE decide whether there is a console, whether it mints
// tokens, and whether it shows figures.
func TestTheConsoleIsOnInDevelopmentOnly(t *testing.T) {
	for _, row := range []struct {
		words                 string
		there, mints, figures bool
	}{
		{"NODE_ENV=development", true, true, true},
		{"NODE_ENV=test", true, false, true},
		{"NODE_ENV=staging", false, false, true},
		{"NODE_ENV=production", false, false, true},
		{"NODE_ENV=development CONSOLE=false", false, true, true},
		{"NODE_ENV=production CONSOLE=true CONSOLE_TOKEN=c", true, false, true},
		{"NODE_ENV=production CONSOLE_TOKEN=c", false, false, true},
		{"NODE_ENV=development METRICS_TOKEN=m", true, true, false},
		{"NODE_ENV=development ADMIN_ADDR=127.0.0.1:9100", true, true, false},
		{"NODE_ENV=development METRICS_TOKEN=m CONSOLE_TOKEN=c", true, true, true},
		{"NODE_ENV=development METRICS_ENABLED=false CONSOLE_TOKEN=c", true, true, false},
	} {
		cfg := mustParse(t, append(strings.Fields(row.words), secretWord)...)
		if cfg.HasConsole() != row.there || cfg.MintsTokens() != row.mints || cfg.ShowsFigures() != row.figures {
			t.Errorf("%s: console %v, mints tokens %v, shows figures %v; want %v, %v, %v", row.words, cfg.HasConsole(), cfg.MintsTokens(), cfg.ShowsFigures(), row.there, row.mints, row.figures)
		}
	}
	if cfg := mustParse(t, "JWT_JWKS_URL=http://issuer/"); cfg.MintsTokens() {
		t.Error("MintsTokens is true without a secret")
	}
}

func TestGeneratedSecretsDiffer(t *testing.T) {
	if a, b := mustParse(t), mustParse(t); a.Auth.Secret == b.Auth.Secret || len(a.Auth.Secret) < 26 {
		t.Errorf("generated secrets %q and %q, want two different ones", a.Auth.Secret, b.Auth.Secret)
	}
}

func TestEnvironmentWinsOverTheFile(t *testing.T) {
	file := map[string]string{"PORT": "1", "SERVICE_HOST": "10.0.0.1", "LOG_DIR": "there", "REDIS_HOST": ""}
	cfg, err := parseConfig(environment("PORT=2", "SERVICE_HOST=", "LOG_DIR="), file)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Server.Port != 2 || cfg.Server.Host != "10.0.0.1" || cfg.Log.Dir != "" || cfg.Redis.Host != "redis" {
		t.Errorf("got PORT=%d SERVICE_HOST=%q LOG_DIR=%q REDIS_HOST=%q", cfg.Server.Port, cfg.Server.Host, cfg.Log.Dir, cfg.Redis.Host)
	}
}

// A .env file is read as dotenv 16 of npm reads it. The expected values are from
// there.
func TestDotenvReadsAsNodeDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".env")
	file := `# a comment
PORT=3005
export SERVICE_HOST=10.0.0.1
JWT_SECRET=pa$$word$HOME\$x
REDIS_PASSWORD='si$ngle # not a comment'
RABBITMQ_PASSWORD="dou$ble{$x}"
LOG_DIR=
CORS_ORIGIN=https://a.example.com,localhost:3000   # a comment
`
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := readEnvFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := read.values
	want := map[string]string{
		"PORT": "3005", "SERVICE_HOST": "10.0.0.1", "JWT_SECRET": `pa$$word$HOME\$x`,
		"REDIS_PASSWORD": "si$ngle # not a comment", "RABBITMQ_PASSWORD": "dou$ble{$x}", "LOG_DIR": "",
		"CORS_ORIGIN": "https://a.example.com,localhost:3000",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestBrokenDotenvIsReportedWithoutItsContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".env")
	in := Sources{Paths: []string{path}, optional: true}
	if files, err := in.read(); err != nil || files != nil {
		t.Errorf("no file: got %v, %v", files, err)
	}
	if err := os.WriteFile(path, []byte("JWT SECRET\nhunter2=\"x\nREDIS_PASSWORD=hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readEnvFile(path)
	if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an error with the path and without the file's content", err)
	}
}

func TestSecretsAreHiddenInEveryFormOfAConfig(t *testing.T) {
	words := []string{"PORT=4321"}
	secrets := 0
	for _, s := range settings {
		if s.Secret && s.Name != "JWT_PUBLIC_KEY" {
			value := "hunter2"
			switch s.Name {
			case "RABBITMQ_URL":
				value = "amqp://u:hunter2@h/"
			case "REDIS_URL":
				value = "redis://u:hunter2@h/"
			}
			words = append(words, s.Name+"="+value)
			secrets++
		}
	}
	cfg := mustParse(t, words...)
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("settings", "config", cfg)
	for _, shown := range []string{
		cfg.String(), fmt.Sprint(cfg), fmt.Sprintf("%v %+v %s %#v", cfg, &cfg, cfg, cfg), logged.String(),
	} {
		if strings.Contains(shown, "hunter2") || strings.Count(shown, hidden) < secrets || !strings.Contains(shown, "4321") {
			t.Errorf("shown as %s, want secrets hidden and PORT shown", shown)
		}
	}
	if !json.Valid([]byte(logged.String())) {
		t.Errorf("not JSON: %s", logged.String())
	}
	logged.Reset()
	log := slog.New(slog.NewJSONHandler(&logged, nil))
	for field, value := range reflect.ValueOf(cfg).Fields() {
		group := value.Interface()
		log.Info(field.Name, "value", group, "format", fmt.Sprintf("%v %+v %#v", group, &group, group))
	}
	if strings.Contains(logged.String(), "hunter2") {
		t.Errorf("groups of settings are shown as %s, want secrets hidden and PORT shown", logged.String())
	}
}

func TestOriginsAreNormalizedAsBrowsersDo(t *testing.T) {
	for _, row := range []struct {
		text string
		want []string
	}{
		{"localhost:3000", []string{"http://localhost:3000", "https://localhost:3000"}},
		{"App.Example.com", []string{"http://app.example.com", "https://app.example.com"}},
		{"https://a.example.com/, http://b:8080 ,", []string{"https://a.example.com", "http://b:8080"}},
		{"https://a:443,http://a:80,http://a:443", []string{"https://a", "http://a", "http://a:443"}},
		{"a:80", []string{"http://a", "https://a:80"}},
		{"capacitor://localhost", []string{"capacitor://localhost"}},
		{"http://[::1]:3000", []string{"http://[::1]:3000"}},
		{"*", []string{"*"}},
		{"https://a, *", []string{"*"}},
		{"https://a/path", nil},
		{"https://", nil},
		{"https://*.example.com", nil},
		{"", nil},
	} {
		var cfg Config
		ok := origins(func(c *Config) *[]string { return &c.Server.CORSOrigins }).set(&cfg, row.text)
		if ok != (row.want != nil) || ok && !slices.Equal(cfg.Server.CORSOrigins, row.want) {
			t.Errorf("%q: got %q, %v; want %q", row.text, cfg.Server.CORSOrigins, ok, row.want)
		}
	}
}

func TestEnvExampleChangesNothing(t *testing.T) {
	copied, err := readEnvFile("../../.env.example")
	if err != nil || len(copied.values) != 0 {
		t.Errorf(".env.example sets %v, %v; want nothing", copied.values, err)
	}
}
