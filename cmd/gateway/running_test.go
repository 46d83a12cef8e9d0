package main

import (
	"strings"
	"testing"

	"github.com/hometrip/gateway/internal/config"
)

// For each setting that differs, the doctor advises what applies it: a restart, a
// hand-over or SIGHUP. A hand-over to another address would be refused.
func TestAdviceForASettingThatDiffers(t *testing.T) {
	want := map[string]string{
		"PORT": "restart", "SERVICE_HOST": "restart", "PING_INTERVAL": "systemctl reload", "LOG_LEVEL": "kill -HUP 7",
	}
	for _, s := range config.Settings() {
		if word, ok := want[s.Name]; ok && !strings.Contains(applies(&s, 7), word) {
			t.Errorf("%s: %q, want %s", s.Name, applies(&s, 7), word)
		}
	}
}
