package doctor

import "fmt"

// A Verdict is the result of a check.
type Verdict string

// The verdicts, from good to bad. A skipped check could not be made.
const (
	OK   Verdict = "ok"
	Skip Verdict = "skip"
	Warn Verdict = "warn"
	Fail Verdict = "fail"
)

// A Finding is a check with its result and what to do.
type Finding struct {
	Group   string  `json:"group"`
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`
	Want    string  `json:"want,omitempty"`
	Do      string  `json:"do,omitempty"` // the one thing that helps
}

func ok(check, found string, args ...any) Finding {
	return Finding{Check: check, Verdict: OK, Found: fmt.Sprintf(found, args...)}
}

func skip(check, why string, args ...any) Finding {
	return Finding{Check: check, Verdict: Skip, Found: fmt.Sprintf(why, args...)}
}

func bad(v Verdict, check, found, want, do string) Finding {
	return Finding{Check: check, Verdict: v, Found: found, Want: want, Do: do}
}

// severe is Fail in production and Warn elsewhere.
func severe(production bool) Verdict {
	if production {
		return Fail
	}
	return Warn
}

// In puts findings under a heading.
func In(group string, findings []Finding) []Finding {
	for i := range findings {
		findings[i].Group = group
	}
	return findings
}
