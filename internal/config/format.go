package config

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// String returns the settings as NAME=value, secrets hidden.
func (c Config) String() string {
	words := make([]string, len(settings))
	for i, s := range settings {
		words[i] = s.Name + "=" + s.Show(s.kind.text(&c))
	}
	return strings.Join(words, " ")
}

// GoString returns the same as String, so that %#v hides secrets too.
func (c Config) GoString() string { return c.String() }

// LogValue returns the settings as a group, secrets hidden.
func (c Config) LogValue() slog.Value {
	attrs := make([]slog.Attr, len(settings))
	for i, s := range settings {
		attrs[i] = slog.String(s.Name, s.Show(s.kind.text(&c)))
	}
	return slog.GroupValue(attrs...)
}

// hiding, when embedded, makes a group of settings print as [hidden], however
// it is formatted, logged or marshalled.
type hiding struct{}

// Format implements fmt.Formatter.
func (hiding) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue implements slog.LogValuer.
func (hiding) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText implements encoding.TextMarshaler.
func (hiding) MarshalText() ([]byte, error) { return []byte(hidden), nil }
