package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/config"
)

// gateway config shows each value, where it comes from, and no secret, as text and as
// JSON.
func TestConfigShowsValuesAndTheirSources(t *testing.T) {
	t.Setenv("PORT", "4321")
	t.Setenv("PUBLISH_TOKEN", "hunter2")
	out, err := command(t, nil, "config")
	if err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]string)
	for line := range strings.Lines(out) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), "=")
		lines[name] = strings.Join(strings.Fields(rest), " ")
	}
	for name, want := range map[string]string{
		"PORT": "4321 # environment", "PUBLISH_TOKEN": "[hidden] # environment", "REDIS_PORT": "6379 # default",
		"JWT_SECRET": "[hidden] # made up for this run",
	} {
		if lines[name] != want {
			t.Errorf("%s: %q, want %q", name, lines[name], want)
		}
	}
	if strings.Contains(out, "hunter2") || strings.Contains(out, `\*`) {
		t.Error("the output has a secret or Markdown escapes")
	}
	out, err = command(t, nil, "config", "--json")
	var list []struct{ Name, Default, Value, From, Meaning string }
	if bad := json.Unmarshal([]byte(out), &list); err != nil || bad != nil || len(list) != len(config.Settings()) {
		t.Fatalf("%v, %v: %s", err, bad, out)
	}
	for _, s := range list {
		if s.Name == "PORT" && (s.Value != "4321" || s.From != "environment" || s.Default != "3002" || s.Meaning == "") {
			t.Errorf("%+v", s)
		}
	}
	t.Setenv("PORT", "x")
	if _, err := command(t, nil, "config"); exitCode(err) != exitUsage {
		t.Errorf("a wrong setting: %v, want exit code 2", err)
	}
	if out, err := command(t, nil, "config", "--defaults"); err != nil || !strings.Contains(out, "| `PORT` | `3002` |") {
		t.Errorf("defaults: %v %.200s", err, out)
	}
}
