package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// settled parses an environment and a settings file.
func settled(t *testing.T, environment, file string) (Loaded, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for word := range strings.FieldsSeq(environment) {
		name, value, _ := strings.Cut(word, "=")
		values[name] = value
	}
	return Sources{environments: []Environ{{Name: "environment", values: values}}, Paths: []string{path}}.Parse()
}

func TestMistypedNamesAreReported(t *testing.T) {
	for _, row := range []struct{ environment, file, want string }{
		{"", "JWT_SECERT=x", ".env:1: JWT_SECERT: there is no such setting: JWT_SECRET?"},
		{"", "# comment\n\nCORS_ORIGINS=x", ".env:3: CORS_ORIGINS: there is no such setting: CORS_ORIGIN?"},
		{"", "export MAX_CONNECTION=1", ".env:1: MAX_CONNECTION: there is no such setting: MAX_CONNECTIONS?"},
		{"", "port=1", "PORT?"},
		{"", "DATABASE_URL=x", "DATABASE_URL: there is no such setting: \"gateway config --defaults\" lists them"},
		{"", "GOMEMLIMIT=1GiB", "GOMEMLIMIT: is read from the environment alone"},
		{"JWT_SECERT=x", "", "environment: JWT_SECERT: there is no such setting: JWT_SECRET?"},
		{"port=1", "", "PORT?"},
		{"JWTSECRET=x", "", "JWT_SECRET?"},
		{"REDIS_URI=x", "", "REDIS_URL?"},
		// Names that resemble none of the settings, or belong to other programs.
		{"PATH=/bin HOME=/ LANG=C DATABASE_URL=x SERVICE_PORT=1 NODE_VERSION=22 GOMEMLIMIT=1GiB NO_PROXY=x POST=1", "", ""},
		{"REDIS_SERVICE_HOST=10.0.0.1 REDIS_PORT_6379_TCP=tcp://10.0.0.1:6379 RABBITMQ_DEFAULT_USER=x", "", ""},
		{"PORT=1", "PORT=2\nMESSAGE_SERVICE_URL=", ""},
	} {
		l, err := settled(t, row.environment, row.file)
		if got := strings.Join(l.Warnings, "\n"); err != nil || !strings.HasSuffix(got, row.want) && !strings.Contains(got, row.want) || row.want == "" && got != "" {
			t.Errorf("development, %q %q: got %q, %v; want %q", row.environment, row.file, got, err, row.want)
		}
		_, err = settled(t, "NODE_ENV=production JWT_SECRET=0123456789abcdef "+row.environment, row.file)
		if got := errorText(err); row.want == "" && err != nil || !strings.Contains(got, row.want) {
			t.Errorf("production, %q %q: got %q, want %q", row.environment, row.file, got, row.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestTheSourceOfASettingIsKnown(t *testing.T) {
	l, err := settled(t, "PORT=1 REDIS_HOST=", "# c\nPORT=2\nREDIS_HOST=r\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"PORT": "environment", "REDIS_PORT": "default"} {
		if l.From[name] != want {
			t.Errorf("%s comes from %q, want %q", name, l.From[name], want)
		}
	}
	if from := l.From["REDIS_HOST"]; !strings.HasSuffix(from, ".env:3") || l.Redis.Host != "r" {
		t.Errorf("REDIS_HOST=%s comes from %q, want line 3 of the file", l.Redis.Host, from)
	}
}

func TestLastFileWinsAndMissingFilesAreErrors(t *testing.T) {
	dir := t.TempDir()
	first, last := filepath.Join(dir, "first"), filepath.Join(dir, "last")
	for path, text := range map[string]string{first: "PORT=1\nSERVICE_HOST=10.0.0.1\nLOG_DIR=", last: "PORT=2\nLOG_DIR=there"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Sources{Paths: []string{first, last}}.Parse()
	if err != nil || l.Server.Port != 2 || l.Server.Host != "10.0.0.1" || l.Log.Dir != "there" {
		t.Errorf("PORT=%d SERVICE_HOST=%s LOG_DIR=%s, %v", l.Server.Port, l.Server.Host, l.Log.Dir, err)
	}
	_, err = Sources{Paths: []string{first, filepath.Join(dir, "missing")}}.Parse()
	if _, wrong := errors.AsType[Error](err); !wrong || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a missing file: %v, want an Error that names it", err)
	}
}

func TestDurationsTakeUnits(t *testing.T) {
	for text, want := range map[string]string{
		"10000": "10000", "10s": "10000", "1m30s": "90000", "250ms": "250",
		"10": "10", "1.5ms": "", "10 s": "", "": "10000", "-1s": "", "2h": "",
	} {
		cfg, err := parseConfig(environment("DRAIN_PERIOD="+text, "SHUTDOWN_TIMEOUT=3600000"), nil)
		s := settings[slices.IndexFunc(settings, func(s Setting) bool { return s.Name == "DRAIN_PERIOD" })]
		if got := s.kind.text(&cfg); err == nil && got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %s, %v; want %q", text, got, err, want)
		}
	}
}

func TestValuesThatLookLikeSecondsAreReported(t *testing.T) {
	for word, want := range map[string]string{
		"DRAIN_PERIOD=10": "write 10s for seconds", "LOG_STATS_INTERVAL=60": "write 60s", "ROOM_LINGER=10": "write 10s",
		"DRAIN_PERIOD=10ms": "", "DRAIN_PERIOD=100": "", "DRAIN_PERIOD=0": "", "DRAIN_PERIOD=10s": "", "PING_INTERVAL=300": "",
	} {
		l, err := settled(t, word, "")
		if got := strings.Join(l.Warnings, "\n"); err != nil || !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q, %v; want %q", word, got, err, want)
		}
	}
}

func TestWeakSecretsStopProduction(t *testing.T) {
	for _, row := range []struct {
		words   string
		allowed bool
	}{
		{"NODE_ENV=production JWT_SECRET=secret", false},
		{"NODE_ENV=staging JWT_SECRET=0123456789abcde", false},
		{"NODE_ENV=production JWT_SECRET=0123456789abcdef", true},
		{"NODE_ENV=production JWT_SECRET=secret ALLOW_WEAK_SECRET=true", true},
		{"NODE_ENV=development JWT_SECRET=secret", true},
	} {
		_, err := parseConfig(environment(strings.Fields(row.words)...), nil)
		if (err == nil) != row.allowed || err != nil && !strings.Contains(err.Error(), "ALLOW_WEAK_SECRET=true") {
			t.Errorf("%s: %v", row.words, err)
		}
	}
}

func TestMistypedSchemesAreNoOrigins(t *testing.T) {
	for text, want := range map[string]bool{
		"htps://app.example.com": false, "htttps://a": false, "ttp://a": false, "hhtp://a": false, "httpss://a": false,
		"capacitor://localhost": true, "ionic://localhost": true, "tauri://localhost": true, "https://a": true,
	} {
		if got := originsOf(text) != nil; got != want {
			t.Errorf("%s: accepted %v, want %v", text, got, want)
		}
	}
}

// Commands of an installed gateway read the settings that the systemd unit gives the
// service: env files, Environment lines and drop-ins.
func TestSettingsOfTheServiceAreReadFromItsUnit(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const unit = "usr/lib/systemd/system/websocket-gateway.service"
	write(unit, `[Service]
ExecStart=/usr/bin/gateway serve --env-file /a.env --env-file=/b.env
Environment=NODE_ENV=test "KEY_PREFIX=a b"
EnvironmentFile=-/c.env
WorkingDirectory=%S/websocket-gateway
LimitNOFILE=200000
`)
	write("etc/systemd/system/websocket-gateway.service.d/override.conf", "[Service]\nLimitNOFILE=4096:8192\nEnvironment=PORT=4\n")
	write("a.env", "PORT=1\nREDIS_HOST=a\nLOG_LEVEL=debug\n")
	write("b.env", "REDIS_HOST=b\n")
	write("c.env", "NODE_ENV=development\n")
	install := FindInstallation(filepath.Join(root, packagedProgram))
	if install == nil || install.Descriptors != 4096 || install.Directory != filepath.Join(root, "/var/lib/websocket-gateway") {
		t.Fatalf("installation %+v", install)
	}
	l, err := install.Sources().Parse()
	if err != nil || l.Server.Environment != Development || l.Redis.KeyPrefix != "a b" || l.Server.Port != 4 || l.Redis.Host != "b" || l.Log.Level.String() != "DEBUG" {
		t.Errorf("%v, %v", l.Config, err)
	}
	if from := l.From["REDIS_HOST"]; from != filepath.Join(root, "b.env:1") {
		t.Errorf("REDIS_HOST comes from %s, want line 1 of b.env", from)
	}
	if install := FindInstallation("/opt/gateway"); install != nil {
		t.Errorf("a program outside of the package: installation %+v, want none", install)
	}
}
