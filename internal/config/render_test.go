package config

import (
	"strings"
	"testing"
)

func TestSettingsOnATerminalHaveNoMarkdown(t *testing.T) {
	text := Text()
	if strings.ContainsAny(text, "|`\\") || !strings.Contains(text, "  PORT=3002\n") || strings.Count(text, "Allowed:") != len(settings) {
		t.Errorf("settings without Markdown and with all Allowed lines wanted, got %.500s", text)
	}
}
