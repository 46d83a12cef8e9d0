package upstream

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

func TestTraceparent(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for header, want := range map[string]bool{
		"00-" + trace + "-" + span + "-01":      true,
		"cc-" + trace + "-" + span + "-01-more": true, // of a later version
		"":                                      false, "x": false,
		"00-" + trace + "-" + span:                           false,
		"00-" + strings.ToUpper(trace) + "-" + span + "-01":  false,
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01": false,
		"00-" + trace[1:] + "-" + span + "-01":               false,
	} {
		gotTrace, gotSpan, ok := traceOf(header)
		if ok != want || ok && (gotTrace != trace || gotSpan != span) {
			t.Errorf("%q: %q %q %v", header, gotTrace, gotSpan, ok)
		}
	}
}

func TestEventsAreLoggedAtDebugWithTheirTrace(t *testing.T) {
	h := &house{}
	for level, want := range map[slog.Level]int{slog.LevelInfo: 0, slog.LevelDebug: 1} {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
		p := &Publisher{Table: table(t), Rooms: h, MaxBody: 100, Local: true, Log: log}
		if status, body := post(p, "message.sent", messageBody(1), func(r *http.Request) {
			r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		}); status != 202 {
			t.Fatal(status, body)
		}
		if got := strings.Count(out.String(), "traceId=4bf92f3577b34da6a3ce929d0e0e4736 spanId=00f067aa0ba902b7"); got != want {
			t.Errorf("at %v: %d lines with the trace, want %d: %s", level, got, want, out.String())
		}
	}
}
