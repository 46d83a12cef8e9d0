package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// An attack is one row being played. Its methods are safe for concurrent use.
type attack struct {
	ctx      context.Context // over when the row is
	until    time.Time
	target   string // host:port of the gateway
	signer   *signer
	services *services // nil when the gateway is alone
	samples  []string

	opened, refused, closed, sent atomic.Int64 // connections, answers, connections, bytes

	mu       sync.Mutex // guards the following
	foes     map[*foe]struct{}
	tallies  map[string]int64
	problems []string
}

// did counts what the attackers have done, by a word of the row's choice.
func (a *attack) did(what string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tallies[what] += int64(n)
}

// problem notes that the gateway let something pass.
func (a *attack) problem(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if text := fmt.Sprintf(format, args...); len(a.problems) < 10 && !slices.Contains(a.problems, text) {
		a.problems = append(a.problems, text)
	}
}

func (a *attack) keep(f *foe) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.foes[f] = struct{}{}
}

func (a *attack) forget(f *foe) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.foes, f)
}

// end takes all attackers away.
func (a *attack) end() {
	a.mu.Lock()
	foes := slices.Collect(maps.Keys(a.foes))
	a.mu.Unlock()
	for _, f := range foes {
		f.close()
	}
}

// going reports whether the row goes on.
func (a *attack) going() bool { return a.ctx.Err() == nil }

// sleep waits and reports whether the row still goes on then.
func (a *attack) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-a.ctx.Done():
		return false
	}
}

// pace calls act so many times a second, as long as the row goes on and act
// says true. Who is late catches up, for at most a tenth of a second.
func (a *attack) pace(perSecond float64, act func(i int) bool) {
	interval := time.Duration(float64(time.Second) / perSecond)
	due := time.Now()
	for i := 0; ; i++ {
		if wait := time.Until(due); wait > 0 && !a.sleep(wait) || !a.going() || !act(i) {
			return
		}
		if due = due.Add(interval); time.Since(due) > 100*time.Millisecond {
			due = time.Now()
		}
	}
}

// crew runs act n times at once and waits for all to end.
func crew(n int, act func(k int)) {
	var all sync.WaitGroup
	for k := range n {
		all.Go(func() { act(k) })
	}
	all.Wait()
}

// hands is how many attackers work at once where each waits for answers.
const hands = 16

// paced is pace for acts that wait for an answer: several hands share the
// rate, and i tells the acts apart.
func (a *attack) paced(perSecond float64, act func(i int)) {
	crew(hands, func(k int) {
		a.pace(perSecond/hands, func(i int) bool {
			act(i*hands + k)
			return true
		})
	})
}

// addresses is how many the visitors come from.
const addresses = 1000

// visit has somebody new connect so many times a second, act, and go; i tells
// them apart.
func (a *attack) visit(perSecond float64, act func(i int, f *foe)) {
	a.paced(perSecond, func(i int) {
		if f := a.dial(i % addresses); f != nil {
			act(i, f)
			f.close()
		}
	})
}

// recruit opens sockets of users of their own, so many a second, and returns
// those that were let in.
func (a *attack) recruit(n int, perSecond float64, user func(i int) string) (foes []*foe) {
	a.pace(perSecond, func(i int) bool {
		if f := a.socket(i, user(i)); f != nil {
			foes = append(foes, f)
		}
		return i+1 < n
	})
	return foes
}

// eve is the name of attacker i.
func eve(i int) string { return fmt.Sprint("eve-", i) }

// token is a good one, of a user.
func (a *attack) token(user string) string {
	return a.signer.token(user)
}

// work says what was done, for the report.
func (a *attack) work() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	parts := []string{count(a.opened.Load()) + " connections", count(a.sent.Load()>>10) + " KiB"}
	for _, what := range slices.Sorted(maps.Keys(a.tallies)) {
		parts = append(parts, count(a.tallies[what])+" "+what)
	}
	return strings.Join(parts, ", ")
}

// count writes a number with commas.
func count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// await waits until the row is over for what the gateway has to do.
func (a *attack) await(what string, holds func() bool) {
	for !holds() {
		if !a.sleep(20 * time.Millisecond) {
			a.problem("not in time: %s", what)
			return
		}
	}
}
