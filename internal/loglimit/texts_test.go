package loglimit

import (
	"strings"
	"testing"
	"time"
)

func TestOneLineOfEachTextInAnInterval(t *testing.T) {
	var l Texts
	now := time.Now()
	for i, row := range []struct {
		text    string
		after   time.Duration
		ok      bool
		skipped int64
	}{
		{"dial :4711: refused", 0, true, 0}, {"dial :4712: refused", 0, false, 0}, {"timeout", 0, true, 0},
		{"dial :4713: refused", time.Second, true, 1},
	} {
		if skipped, ok := l.Allow(row.text, now.Add(row.after), time.Second); ok != row.ok || skipped != row.skipped {
			t.Errorf("line %d: %v with %d skipped, want %v with %d", i, ok, skipped, row.ok, row.skipped)
		}
	}
}

func TestTheNumberOfTextsIsBounded(t *testing.T) {
	var l Texts
	for i := range 10 * maxTexts {
		if _, ok := l.Allow(strings.Repeat("x", i), time.Now(), time.Hour); !ok {
			t.Fatalf("text %d is suppressed, want it logged", i)
		}
		if len(l.limiters) > maxTexts {
			t.Fatalf("%d texts are remembered, want at most %d", len(l.limiters), maxTexts)
		}
	}
}
