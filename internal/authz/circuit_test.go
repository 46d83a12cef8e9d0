package authz

import (
	"fmt"
	"testing"
	"time"
)

// userCircuit is a circuit with a clock set by the test.
type userCircuit struct {
	t       *testing.T
	circuit circuit
	now     time.Time
}

func newUserCircuit(t *testing.T) *userCircuit {
	return &userCircuit{t: t, circuit: circuit{users: make(map[string]record)}, now: time.Now()}
}

// ask asks one question, which fails or not, and reports whether it was passed on to
// the application.
func (l *userCircuit) ask(user string, fails bool) bool {
	probe, why := l.circuit.begin(user, l.now)
	if why == asks {
		l.circuit.done(user, probe, fails, l.now)
	}
	return why == asks
}

func (l *userCircuit) want(user string, fails, reaches bool) {
	l.t.Helper()
	if got := l.ask(user, fails); got != reaches {
		l.t.Errorf("question of %s reaches the application: %v, want %v", user, got, reaches)
	}
}

func (l *userCircuit) pass(d time.Duration) { l.now = l.now.Add(d) }

// outage makes one question fail for this many users.
func (l *userCircuit) outage(users int) {
	for i := range users {
		l.want(fmt.Sprint("user", i), true, true)
	}
}

// After breakAfter failed questions a user's questions are refused for breakFor. Then
// one question is tried at a time; another failure starts a new break.
func TestTheCircuitOpensForAUserWhoseQuestionsFail(t *testing.T) {
	l := newUserCircuit(t)
	for range breakAfter {
		l.want("eve", true, true)
	}
	l.want("eve", false, false)
	l.want("ann", false, true)
	l.pass(breakFor)
	probe, why := l.circuit.begin("eve", l.now)
	l.want("eve", false, false) // only one question at a time
	if why != asks {
		t.Fatalf("after the break: %s, want the question asked", why)
	}
	l.circuit.done("eve", probe, true, l.now)
	l.want("eve", false, false) // the trial has failed
	l.pass(breakFor)
	l.want("eve", false, true)
	l.want("eve", false, true)
}

// Questions of many users fail, so the circuit is open for everyone. After each pause
// one question of one user is tried; a success closes the circuit.
func TestAnOpenCircuitIsTriedWithOneQuestionAtATime(t *testing.T) {
	l := newUserCircuit(t)
	l.outage(breakUsers)
	l.want("ann", true, false)
	l.pass(probePause)
	probe, why := l.circuit.begin("ann", l.now)
	if !probe || why != asks {
		t.Fatalf("probe %v, %s", probe, why)
	}
	l.want("bob", false, false) // while a trial is under way
	l.circuit.done("ann", probe, true, l.now)
	l.want("bob", false, false)
	l.pass(probePause)
	l.want("ann", false, false) // another user's turn to try
	l.want("bob", false, true)  // the application works again
	l.want("ann", false, true)
	l.want("user1", false, true)
}

// Failures of a few users do not open the circuit as long as other users get answers.
func TestFailuresOfAFewUsersDoNotOpenTheCircuit(t *testing.T) {
	l := newUserCircuit(t)
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
	l := newUserCircuit(t)
	l.outage(breakUsers - 1)
	l.pass(recent)
	l.want("ann", true, true)
	l.want("bob", false, true)
	if n := len(l.circuit.users); n != 2 || l.circuit.failing != 1 {
		t.Errorf("%d users are remembered, %d with failures", n, l.circuit.failing)
	}
}
