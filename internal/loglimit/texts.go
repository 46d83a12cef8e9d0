package loglimit

import (
	"strings"
	"time"
)

// maxTexts limits how many texts are remembered. Beyond it all are forgotten,
// so that a few lines are written too early.
const maxTexts = 100

// Texts limits lines by their text: one line of each text in an interval. Digits
// do not count, because the ports in an error differ with each attempt. The zero
// value lets each first line through. Owned by one goroutine.
type Texts struct{ limiters map[string]*Limiter }

// Allow is Limiter.Allow for the lines of one text.
func (t *Texts) Allow(text string, now time.Time, interval time.Duration) (skipped int64, ok bool) {
	text = strings.Map(withoutDigits, text)
	l := t.limiters[text]
	if l == nil {
		if t.limiters == nil || len(t.limiters) >= maxTexts {
			t.limiters = make(map[string]*Limiter)
		}
		l = new(Limiter)
		t.limiters[text] = l
	}
	return l.Allow(now, interval)
}

func withoutDigits(r rune) rune {
	if r >= '0' && r <= '9' {
		return -1
	}
	return r
}
