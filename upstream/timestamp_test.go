package upstream

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// A timestamp in seconds is used as it is. One in a smaller unit is converted, and an
// implausible one is replaced by the time of arrival; both are reported.
func TestTimestampsOfPublishers(t *testing.T) {
	arrived := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	sent := arrived.Add(-time.Minute)
	const lateIn1999 = 946684800 - 86400
	for name, c := range map[string]struct {
		seconds   int64 // as in the AMQP property
		want      time.Time
		plausible bool
	}{
		"seconds":              {sent.Unix(), sent.Truncate(time.Second), true},
		"milliseconds":         {sent.UnixMilli(), sent, false},
		"microseconds":         {sent.UnixMicro(), sent, false},
		"nanoseconds":          {sent.UnixNano(), sent, false},
		"zero":                 {0, arrived, false},
		"one":                  {1, arrived, false},
		"negative":             {-5, arrived, false},
		"before 2000":          {lateIn1999, arrived, false},
		"the year 2000":        {lateIn1999 + 86400, time.Unix(lateIn1999+86400, 0), true},
		"an hour ahead":        {arrived.Unix() + 3600, time.Unix(arrived.Unix()+3600, 0), true},
		"a day ahead":          {arrived.Unix() + 86400, time.Unix(arrived.Unix()+86400, 0), true},
		"more than that":       {arrived.Unix() + 86402, arrived, false},
		"the year 3000":        {32503680000, arrived, false},
		"the largest there is": {1<<63 - 1, arrived, false},
		"the least":            {-1 << 63, arrived, false},
	} {
		got, plausible := publishedAt(time.Unix(c.seconds, 0), arrived)
		if !got.Truncate(time.Microsecond).Equal(c.want) || plausible != c.plausible {
			t.Errorf("%s: %v, %v; want %v, %v", name, got, plausible, c.want, c.plausible)
		}
	}
	if got, plausible := publishedAt(time.Time{}, arrived); !got.Equal(arrived) || !plausible {
		t.Errorf("without a timestamp: %v, %v; want the time of arrival", got, plausible)
	}
}

// A wrong timestamp is counted each time. The log line about it is rate-limited and
// names the key and the app of the publisher.
func TestAWrongTimestampIsCountedAndLogged(t *testing.T) {
	var text bytes.Buffer
	in := &intake{count: &counters{}, log: slog.New(slog.NewTextHandler(&text, nil))}
	arrived := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	milliseconds := eventlog.Entry{Key: "user.logout", AppID: "billing", Published: time.Unix(arrived.UnixMilli(), 0)}
	for i := range 10 {
		if got := in.published(&milliseconds, arrived.Add(time.Duration(i)*time.Second)); !got.Equal(arrived) {
			t.Fatalf("published at %v, want %v", got, arrived)
		}
	}
	in.published(&eventlog.Entry{Published: arrived}, arrived)
	in.published(&eventlog.Entry{}, arrived)
	if n := in.count.totals().BadTimestamps; n != 10 {
		t.Errorf("%d counted, want 10", n)
	}
	if lines := strings.Count(text.String(), "\n"); lines != 1 || !strings.Contains(text.String(), "billing") || !strings.Contains(text.String(), "user.logout") {
		t.Errorf("logged %d lines, want one that names key and publisher:\n%s", lines, &text)
	}
}
