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

// An attack is one row while it runs. Its methods are safe for concurrent use.
type attack struct {
	ctx      context.Context // over when the row is
	until    time.Time
	target   string // host:port of the gateway
	signer   *signer
	services *services // nil when the gateway is alone
	samples  []string

	opened, refused, closed, sent atomic.Int64 // connections, answers, connections, bytes

	mu        sync.Mutex // guards the following
	attackers map[*attacker]struct{}
	tallies   map[string]int64
	problems  []string
}

// tally counts what the attackers have done, by a word of the row's choice.
func (a *attack) tally(what string, n int) {
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

func (a *attack) add(f *attacker) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attackers[f] = struct{}{}
}

func (a *attack) remove(f *attacker) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.attackers, f)
}

// end closes all attackers' connections.
func (a *attack) end() {
	a.mu.Lock()
	attackers := slices.Collect(maps.Keys(a.attackers))
	a.mu.Unlock()
	for _, f := range attackers {
		f.close()
	}
}

// running reports whether the row goes on.
func (a *attack) running() bool { return a.ctx.Err() == nil }

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
		if wait := time.Until(due); wait > 0 && !a.sleep(wait) || !a.running() || !act(i) {
			return
		}
		if due = due.Add(interval); time.Since(due) > 100*time.Millisecond {
			due = time.Now()
		}
	}
}

// parallel runs act n times at once and waits for all to end.
func parallel(n int, act func(k int)) {
	var all sync.WaitGroup
	for k := range n {
		all.Go(func() { act(k) })
	}
	all.Wait()
}

// workers is the number of attackers that act at once where each waits for answers.
const workers = 16

// paced is pace for acts that wait for an answer: several workers share the
// rate, and i tells the acts apart.
func (a *attack) paced(perSecond float64, act func(i int)) {
	parallel(workers, func(k int) {
		a.pace(perSecond/workers, func(i int) bool {
			act(i*workers + k)
			return true
		})
	})
}

// addresses is the number of addresses that eachConnection connects from.
const addresses = 1000

// eachConnection opens a new connection so many times a second, calls act with it
// and closes it; i counts the connections.
func (a *attack) eachConnection(perSecond float64, act func(i int, f *attacker)) {
	a.paced(perSecond, func(i int) {
		if f := a.dial(i % addresses); f != nil {
			act(i, f)
			f.close()
		}
	})
}

// openSockets opens sockets of users of their own, so many a second, and returns
// those that were let in.
func (a *attack) openSockets(n int, perSecond float64, user func(i int) string) (attackers []*attacker) {
	a.pace(perSecond, func(i int) bool {
		if f := a.socket(i, user(i)); f != nil {
			attackers = append(attackers, f)
		}
		return i+1 < n
	})
	return attackers
}

// attackerName returns the user id of attacker i.
func attackerName(i int) string { return fmt.Sprint("attacker-", i) }

// token returns a valid token of a user.
func (a *attack) token(user string) string {
	return a.signer.token(user)
}

// work describes what the attackers did, for the report.
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
