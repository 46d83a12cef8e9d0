package authz

import (
	"fmt"
	"testing"
	"time"
)

// A line is a circuit and a clock that tests set.
type line struct {
	t       *testing.T
	circuit circuit
	now     time.Time
}

func newLine(t *testing.T) *line {
	return &line{t: t, circuit: circuit{users: make(map[string]record)}, now: time.Now()}
}

// ask puts one question and reports whether it reached the application.
func (l *line) ask(user string, fails bool) bool {
	probe, why := l.circuit.begin(user, l.now)
	if why == asks {
		l.circuit.done(user, probe, fails, l.now)
	}
	return why == asks
}

func (l *line) want(user string, fails, reaches bool) {
	l.t.Helper()
	if got := l.ask(user, fails); got != reaches {
		l.t.Errorf("question of %s reaches the application: %v, want %v", user, got, reaches)
	}
}

func (l *line) pass(d time.Duration) { l.now = l.now.Add(d) }

// outage has so many users fail.
func (l *line) outage(users int) {
	for i := range users {
		l.want(fmt.Sprint("user", i), true, true)
	}
}

func TestAUserWhoseQuestionsFailRests(t *testing.T) {
	l := newLine(t)
	for range breakAfter {
		l.want("eve", true, true)
	}
	l.want("eve", false, false)
	l.want("ann", false, true)
	l.pass(breakFor)
	probe, why := l.circuit.begin("eve", l.now)
	l.want("eve", false, false) // one at a time
	if why != asks {
		t.Fatalf("after the rest: %s", why)
	}
	l.circuit.done("eve", probe, true, l.now)
	l.want("eve", false, false) // it failed again
	l.pass(breakFor)
	l.want("eve", false, true)
	l.want("eve", false, true)
}

func TestAnOutageIsTriedWithOneQuestionAtATime(t *testing.T) {
	l := newLine(t)
	l.outage(breakUsers)
	l.want("ann", true, false)
	l.pass(probePause)
	probe, why := l.circuit.begin("ann", l.now)
	if !probe || why != asks {
		t.Fatalf("probe %v, %s", probe, why)
	}
	l.want("bob", false, false) // while one is under way
	l.circuit.done("ann", probe, true, l.now)
	l.want("bob", false, false)
	l.pass(probePause)
	l.want("ann", false, false) // somebody else's turn to try
	l.want("bob", false, true)  // it is back
	l.want("ann", false, true)
	l.want("user1", false, true)
}

// TestAFewUsersDoNotMakeAnOutage: as long as others are answered.
func TestAFewUsersDoNotMakeAnOutage(t *testing.T) {
	l := newLine(t)
	for i := range 2 * breakUsers {
		l.want(fmt.Sprint("good", i), false, true)
	}
	for range breakAfter {
		l.outage(breakUsers)
	}
	for i := range 2 * breakUsers {
		l.want(fmt.Sprint("good", i), false, true)
	}
}

func TestOldFailuresAreForgotten(t *testing.T) {
	l := newLine(t)
	l.outage(breakUsers - 1)
	l.pass(recent)
	l.want("ann", true, true)
	l.want("bob", false, true)
	if n := len(l.circuit.users); n != 2 || l.circuit.failing != 1 {
		t.Errorf("%d users are remembered, %d with failures", n, l.circuit.failing)
	}
}
