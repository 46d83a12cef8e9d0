package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/config"
)

// parse reads settings from words NAME=value.
func parse(t *testing.T, words ...string) (config.Loaded, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(path, []byte(strings.Join(words, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.ProcessSources([]string{path}).Parse()
}

func TestProductionWarnsAboutFailedDoctorChecks(t *testing.T) {
	for _, row := range []struct{ words, want string }{
		{"NODE_ENV=production JWT_SECRET=secret ALLOW_WEAK_SECRET=true", "JWT_SECRET"},
		{"NODE_ENV=production JWT_SECRET=0123456789abcdef0123", "JWT_SECRET"},
		{"NODE_ENV=production JWT_SECRET=b3Jh7Vq1XzPzYk0u9mQ2sT4wE6rLcNaD5fGhJkMx CORS_ORIGIN=*", "CORS_ORIGIN"},
		{"NODE_ENV=production JWT_SECRET=b3Jh7Vq1XzPzYk0u9mQ2sT4wE6rLcNaD5fGhJkMx CORS_ORIGIN=https://a.example", ""},
		{"NODE_ENV=development JWT_SECRET=secret CORS_ORIGIN=*", ""},
	} {
		l, err := parse(t, strings.Fields(row.words)...)
		if err != nil {
			t.Fatal(err)
		}
		var logged strings.Builder
		warnOfSettings(&l, slog.New(slog.NewTextHandler(&logged, nil)))
		if got := logged.String(); !strings.Contains(got, "setting="+row.want) && row.want != "" || row.want == "" && got != "" || strings.Contains(got, "=secret") {
			t.Errorf("%s: %q, want a warning about %q", row.words, got, row.want)
		}
	}
}
