package upstream

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hometrip/gateway/upstream/eventlog"
)

func TestTraceparent(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for header, want := range map[string]bool{
		"00-" + trace + "-" + span + "-01":      true,
		"cc-" + trace + "-" + span + "-01-more": true, // of a later version of the header
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

// At level debug each event is logged with its trace.
func TestEventsAreLoggedAtDebugWithTheirTrace(t *testing.T) {
	for level, want := range map[slog.Level]int{slog.LevelInfo: 0, slog.LevelDebug: 1} {
		var out bytes.Buffer
		c := Config{
			Table: table(t), Rooms: &fakeRooms{}, MaxBody: 100,
			Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})),
		}
		e := eventlog.Entry{
			Position: 1, Key: "message.sent", Body: []byte(messageBody(1)),
			Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		}
		if err := newIntake(&c, &counters{}).take(&e, noon); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "traceId=4bf92f3577b34da6a3ce929d0e0e4736 spanId=00f067aa0ba902b7"); got != want {
			t.Errorf("at %v: %d lines with the trace, want %d: %s", level, got, want, out.String())
		}
	}
}
