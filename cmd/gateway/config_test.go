package main

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

// environment is a lookup over NAME=value words.
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

// parseConfig parses words of an environment and the lines of a .env.
func parseConfig(lookup func(string) (string, bool), file map[string]string) (Config, error) {
	values := make(map[string]string)
	for _, s := range settings {
		if value, ok := lookup(s.name); ok {
			values[s.name] = value
		}
	}
	in := inputs{environments: []environ{{name: "environment", values: values}}}
	l, err := in.settle([]envFile{{path: ".env", values: file}})
	return l.Config, err
}

// secretWord sets a secret that production takes.
const secretWord = "JWT_SECRET=a secret of the tests"

func mustParse(t *testing.T, words ...string) Config {
	t.Helper()
	cfg, err := parseConfig(environment(words...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	got := mustParse(t)
	if got.JWTSecret == "" || !got.EphemeralSecret {
		t.Error("development has no secret made up")
	}
	got.JWTSecret, got.EphemeralSecret = "", false
	want := Config{
		Environment: "development", Host: "::", Port: 3002,
		CORSOrigins: []string{"http://localhost:3000", "https://localhost:3000"},
		Metrics:     true, MetricsRoomsLimit: 1000, Console: "auto", CanaryInterval: 5 * time.Second,
		PingInterval: 25 * time.Second, PingTimeout: 60 * time.Second, ConnectTimeout: 45 * time.Second,
		HeadTimeout: 10 * time.Second, KeepAliveTimeout: 75 * time.Second,
		MaxHeadSize: 16384, MaxHTTPBufferSize: 1_000_000, MaxPendingBytes: 1 << 20, MaxMailbox: 65536,
		MaxPerUser: 1000, MaxEvents: 100, MaxEventsBurst: 1000, MaxBytes: 1 << 20,
		RoomPolicy: "open", NotificationRooms: "policy",
		RoomAuthTimeout: 2 * time.Second, RoomAuthTTL: 30 * time.Second, RoomAuthConcurrency: 32,
		MaxRooms: 1000, MaxUserRooms: 5000, MaxRoomID: 256, PresenceMaxMembers: 500, MaxPresence: 100_000,
		DrainPeriod: 10 * time.Second, ShutdownTimeout: 30 * time.Second,
		LogLevel: slog.LevelInfo, LogFormat: "auto", LogDir: "logs", LogMaxSizeMB: 100, LogMaxFiles: 10,
		LogStatsInterval: time.Minute,
		UseRedis:         true, RedisHost: "redis", RedisPort: 6379, RedisDB: 1, KeyPrefix: "ws:",
		NodeLease: 5 * time.Second, RoomLinger: 30 * time.Second,
		MaxPublishQueue: 65536, MaxPublishBytes: 64 << 20, AdapterEvents: "not-routed",
		UseRabbitMQ: true, RabbitMQHost: "rabbitmq", RabbitMQPort: 5672, RabbitMQUser: "guest",
		RabbitMQPassword: "guest", RabbitMQVHost: "/", RabbitMQExchanges: []string{"hometrip_events"},
		RabbitMQQueuePrefix: "websocket-gateway", RabbitMQPrefetch: 500,
		EventLog: "auto", EventLogRetention: time.Hour, EventLogMaxBytes: 1 << 30, EventLogTailBytes: 64 << 20,
		MaxEventSize: 262144,
		Recovery:     "asked", RecoveryWindow: 2 * time.Minute, RecoveryMaxEvents: 1000, RecoveryMaxBytes: 4 << 20,
		PresenceGrace: 5 * time.Second, MaxRecoverySessions: 100_000, MaxRecoveryBytes: 64 << 20, MaxRecoveryPerUser: 100,
	}
	for _, s := range settings {
		if g, w := s.kind.text(&got), s.kind.text(&want); g != w {
			t.Errorf("%s: the default is %q, the contract in this test says %q: change one of them", s.name, g, w)
		}
	}
	if !t.Failed() && !reflect.DeepEqual(got, want) {
		t.Errorf("a field that no setting prints differs:\ngot  %#v\nwant %#v", got, want)
	}
}

// TestEverySettingReachesAFieldOfItsOwn: a value other than the default
// changes the Config, is written back the same, and is known by one name.
func TestEverySettingReachesAFieldOfItsOwn(t *testing.T) {
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
		value := special[s.name]
		switch {
		case value != "":
		case s.def == "true":
			value = "false"
		case s.def == "false":
			value = "true"
		case strings.Contains(s.kind.allowed, "from"):
			value = "2000"
		case strings.HasSuffix(s.name, "_URL"):
			value = "http://service:8080/path"
		default:
			value = "value"
		}
		if seen[s.name] || s.doc == "" || value == s.def {
			t.Errorf("%s: stands twice, has no doc, or its default is the value %q that this test sets: give it another one in the map special above", s.name, value)
		}
		seen[s.name] = true
		var base, changed Config
		if !s.kind.set(&base, s.def) || !s.kind.set(&changed, value) {
			t.Errorf("%s: its default %q, or the value %q of this test, is not one of: %s. Correct the default in config_*.go, or add an allowed value to the map special above",
				s.name, s.def, value, s.kind.allowed)
		}
		if reflect.DeepEqual(base, changed) || s.kind.text(&changed) != value {
			t.Errorf("%s=%s: reads back as %q: its kind sets or prints a field of another setting", s.name, value, s.kind.text(&changed))
		}
	}
	fields := reflect.TypeFor[Config]().NumField() - 2 // EphemeralSecret and SecretFile are no settings
	if len(seen) != fields {
		t.Errorf("%d settings for %d fields: each field of Config needs an entry in config_settings.go, config_limits.go or config_upstream.go", len(seen), fields)
	}
}

func TestAllBadValuesAreReportedAtOnceWithoutSecrets(t *testing.T) {
	_, err := parseConfig(environment(
		"PORT=http", "PING_INTERVAL=25x", "METRICS_ENABLED=maybe", "LOG_LEVEL=loud", "NODE_ENV=prodution",
		"MAX_HEAD_SIZE=1", "CORS_ORIGIN=http://a/path", "BOOKING_SERVICE_URL=booking:3000", "REDIS_HOST=a b",
		"JWT_JWKS_URL=https://me:hunter2@issuer/", "RABBITMQ_EXCHANGE= , ", "PORT=70000",
	), nil)
	if err == nil {
		t.Fatal("accepted")
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
	} {
		_, err := parseConfig(environment(row.words...), nil)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: got %v, want an error about %s", row.words, err, row.want)
		}
	}
	for _, key := range []string{secretWord, "JWT_PUBLIC_KEY=key.pem", "JWT_JWKS_URL=http://issuer/"} {
		if cfg := mustParse(t, "NODE_ENV=production", key); cfg.EphemeralSecret {
			t.Errorf("%s: a secret was made up", key)
		}
	}
}

func TestTheConsoleIsForWhoDevelops(t *testing.T) {
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
		if cfg.hasConsole() != row.there || cfg.mintsTokens() != row.mints || cfg.showsFigures() != row.figures {
			t.Errorf("%s: console %v, tokens %v, figures %v", row.words, cfg.hasConsole(), cfg.mintsTokens(), cfg.showsFigures())
		}
	}
	if cfg := mustParse(t, "JWT_JWKS_URL=http://issuer/"); cfg.mintsTokens() {
		t.Error("tokens are made without a secret")
	}
}

func TestEphemeralSecretIsAnotherOneEachRun(t *testing.T) {
	if a, b := mustParse(t), mustParse(t); a.JWTSecret == b.JWTSecret || len(a.JWTSecret) < 26 {
		t.Errorf("%q and %q", a.JWTSecret, b.JWTSecret)
	}
}

func TestEnvironmentWinsOverTheFile(t *testing.T) {
	file := map[string]string{"PORT": "1", "SERVICE_HOST": "10.0.0.1", "LOG_DIR": "there", "REDIS_HOST": ""}
	cfg, err := parseConfig(environment("PORT=2", "SERVICE_HOST=", "LOG_DIR="), file)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Port != 2 || cfg.Host != "10.0.0.1" || cfg.LogDir != "" || cfg.RedisHost != "redis" {
		t.Errorf("got %d %q %q %q", cfg.Port, cfg.Host, cfg.LogDir, cfg.RedisHost)
	}
}

// TestDotenvReadsAsNodeDoes: the expected values are what dotenv 16 of npm
// reads from the same file.
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
	in := inputs{paths: []string{path}, optional: true}
	if files, err := in.read(); err != nil || files != nil {
		t.Errorf("no file: got %v, %v", files, err)
	}
	if err := os.WriteFile(path, []byte("JWT SECRET\nhunter2=\"x\nREDIS_PASSWORD=hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readEnvFile(path)
	if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestSecretsAreHiddenHoweverAConfigIsShown(t *testing.T) {
	words := []string{"PORT=4321"}
	secrets := 0
	for _, s := range settings {
		if s.secret && s.name != "JWT_PUBLIC_KEY" {
			value := "hunter2"
			switch s.name {
			case "RABBITMQ_URL":
				value = "amqp://u:hunter2@h/"
			case "REDIS_URL":
				value = "redis://u:hunter2@h/"
			}
			words = append(words, s.name+"="+value)
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
			t.Errorf("shown as %s", shown)
		}
	}
	if !json.Valid([]byte(logged.String())) {
		t.Errorf("not JSON: %s", logged.String())
	}
}

func TestOriginsAreWrittenAsBrowsersDo(t *testing.T) {
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
		ok := origins(func(c *Config) *[]string { return &c.CORSOrigins }).set(&cfg, row.text)
		if ok != (row.want != nil) || ok && !slices.Equal(cfg.CORSOrigins, row.want) {
			t.Errorf("%q: got %q, %v; want %q", row.text, cfg.CORSOrigins, ok, row.want)
		}
	}
}

// difference shows the lines that only one of two texts has.
func difference(have, want string) string {
	var b strings.Builder
	lines := func(text string) []string { return strings.Split(text, "\n") }
	for _, line := range lines(have) {
		if !slices.Contains(lines(want), line) {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	for _, line := range lines(want) {
		if !slices.Contains(lines(have), line) {
			fmt.Fprintf(&b, "+ %s\n", line)
		}
	}
	return b.String()
}

func TestEnvExampleChangesNothing(t *testing.T) {
	copied, err := readEnvFile("../../.env.example")
	if err != nil || len(copied.values) != 0 {
		t.Errorf("copied unchanged it sets %v, %v", copied.values, err)
	}
}
