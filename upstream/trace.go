package upstream

import (
	"log/slog"
	"strings"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// traceOf parses the header traceparent, version-trace-span-flags; ok is false for anything else (W3C
// Trace Context, section 3.2.2).
func traceOf(header string) (trace, span string, ok bool) {
	parts := strings.Split(header, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || len(parts[2]) != 16 ||
		strings.Trim(parts[1]+parts[2], "0123456789abcdef") != "" || strings.Trim(parts[1], "0") == "" {
		return "", "", false
	}
	return parts[1], parts[2], true
}

// logEvent logs an event with its trace, at level debug.
func logEvent(log *slog.Logger, e *eventlog.Entry, names []string) {
	fields := []any{"key", e.Key, "position", e.Position.String(), "rooms", names}
	if e.MessageID != "" {
		fields = append(fields, "messageId", e.MessageID)
	}
	if traceID, span, ok := traceOf(e.Trace); ok {
		fields = append(fields, "traceId", traceID, "spanId", span)
	}
	log.Debug("event", fields...)
}
