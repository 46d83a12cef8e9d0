package upstream

import (
	"context"
	"log/slog"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// traceHeader carries the trace an event belongs to (W3C Trace Context, which
// OpenTelemetry uses), in AMQP headers and in HTTP.
const traceHeader = "traceparent"

// traceOf reads version-trace-span-flags; ok is false for what is none (W3C
// Trace Context, section 3.2.2).
func traceOf(header string) (trace, span string, ok bool) {
	parts := strings.Split(header, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || len(parts[2]) != 16 ||
		strings.Trim(parts[1]+parts[2], "0123456789abcdef") != "" || strings.Trim(parts[1], "0") == "" {
		return "", "", false
	}
	return parts[1], parts[2], true
}

// logEvent writes the one line an event has in the log, at debug: with the
// trace it belongs to, for whoever follows one through the services.
func logEvent(log *slog.Logger, from, key, id, trace string, e *Event) {
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	fields := []any{"from", from, "key", key, "rooms", e.Rooms}
	if id != "" {
		fields = append(fields, "messageId", id)
	}
	if traceID, span, ok := traceOf(trace); ok {
		fields = append(fields, "traceId", traceID, "spanId", span)
	}
	log.Debug("event", fields...)
}

// traceparent returns the header of a delivery, "" without one.
func traceparent(headers amqp.Table) string {
	text, _ := headers[traceHeader].(string)
	return text
}
