package authz

import (
	"sync"
	"time"
)

const (
	// After breakAfter questions in a row without an answer, a user's questions
	// are refused for breakFor. Then one is asked again.
	breakAfter = 5
	breakFor   = 5 * time.Second

	// The application is not asked at all if, of the users who asked within
	// recent, at least breakUsers and at least half have had no answer to their
	// last question. One user cannot cause that, whatever the application does
	// with his questions.
	breakUsers = 5
	recent     = 10 * time.Second

	// probePause is the time between two questions that test whether the
	// application answers again. There is one at a time.
	probePause = 500 * time.Millisecond

	maxRecords = 1 << 16 // users that are remembered
)

// A circuit is a circuit breaker for questions to an application that does not
// answer. Safe for concurrent use.
type circuit struct {
	mu      sync.Mutex // guards the following
	users   map[string]record
	failing int       // users with failures
	swept   time.Time // when old records were last forgotten

	open    bool // the application rests
	probing bool // and a question tries whether it is back
	next    time.Time
}

// A record has the results of a user's last questions.
type record struct {
	failures int // in a row
	last     time.Time
	trying   bool // a question after the user's rest is under way
}

// A refusal says why a question is not asked.
type refusal string

const (
	asks      refusal = ""
	userRests refusal = "the last questions about this user had no answer: a rest"
	nodeRests refusal = "most questions have no answer: a rest"
)

// begin reports whether a question of a user may be asked. If so, done must be
// called afterwards with the same probe.
func (c *circuit) begin(user string, now time.Time) (probe bool, why refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep(now)
	r := c.users[user]
	rests := r.failures > 0 && now.Before(r.last.Add(breakFor))
	switch {
	case r.failures >= breakAfter && (rests || r.trying):
		return false, userRests
	case c.open && (c.probing || now.Before(c.next) || rests):
		return false, nodeRests
	}
	if r.failures >= breakAfter {
		r.trying = true
		c.users[user] = r
	}
	c.probing = c.open
	return c.open, asks
}

// done records how a question ended. It reports whether the circuit opens or
// closes with it.
func (c *circuit) done(user string, probe, failed bool, now time.Time) (changed, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.open
	if probe {
		c.probing, c.next = false, now.Add(probePause)
	}
	switch {
	case failed:
		c.fail(user, now)
	case probe && c.open:
		c.open, c.failing = false, 0
		clear(c.users)
	default:
		c.set(user, record{last: now})
	}
	return c.open != before, c.open
}

func (c *circuit) fail(user string, now time.Time) {
	c.set(user, record{failures: c.users[user].failures + 1, last: now})
	if !c.open && c.failing >= breakUsers && 2*c.failing >= len(c.users) {
		c.open, c.next = true, now.Add(probePause)
	}
}

func (c *circuit) set(user string, r record) {
	before, known := c.users[user]
	if !known && len(c.users) >= maxRecords {
		return
	}
	if before.failures > 0 {
		c.failing--
	}
	if r.failures > 0 {
		c.failing++
	}
	c.users[user] = r
}

// sweep forgets users who have not asked recently.
func (c *circuit) sweep(now time.Time) {
	if now.Sub(c.swept) < recent/2 {
		return
	}
	c.swept = now
	for user, r := range c.users {
		if now.Sub(r.last) < recent || r.trying {
			continue
		}
		if r.failures > 0 {
			c.failing--
		}
		delete(c.users, user)
	}
}
