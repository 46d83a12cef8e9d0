package authz

import (
	"context"
	"sync"
)

const (
	// maxWaiting is how many questions may wait, of all users and of one. A
	// client that comes back asks for all its rooms at once.
	maxWaiting        = 1 << 16
	maxWaitingPerUser = 2048
)

// lines has questions answered by a fixed number of goroutines, in turn: each
// user has a line, and the next question is that of the next user's. Safe for
// concurrent use.
type lines struct {
	ctx  context.Context
	end  context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex // guards the following
	ready   *sync.Cond // somebody waits, or the end has come
	waiting map[string][]question
	turn    []string // users who wait, the next one first
	total   int
	ended   bool
}

type question func(context.Context)

func newLines(workers int) *lines {
	l := &lines{waiting: make(map[string][]question)}
	l.ready = sync.NewCond(&l.mu)
	l.ctx, l.end = context.WithCancel(context.Background())
	for range workers {
		l.done.Go(l.work)
	}
	return l
}

// join puts a question in its user's line; false means that too many wait.
func (l *lines) join(user string, q question) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.waiting[user]
	if l.ended || l.total >= maxWaiting || len(line) >= maxWaitingPerUser {
		return false
	}
	if len(line) == 0 {
		l.turn = append(l.turn, user)
	}
	l.waiting[user] = append(line, q)
	l.total++
	l.ready.Signal()
	return true
}

// next waits for the next question; nil means the end.
func (l *lines) next() question {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.turn) == 0 && !l.ended {
		l.ready.Wait()
	}
	if l.ended {
		return nil
	}
	user := l.turn[0]
	l.turn = l.turn[1:]
	line := l.waiting[user]
	q := line[0]
	if line = line[1:]; len(line) > 0 {
		l.waiting[user] = line
		l.turn = append(l.turn, user)
	} else {
		delete(l.waiting, user)
	}
	l.total--
	return q
}

func (l *lines) work() {
	for q := l.next(); q != nil; q = l.next() {
		q(l.ctx)
	}
}

// close ends the goroutines; who waits gets no answer.
func (l *lines) close() {
	l.mu.Lock()
	l.ended = true
	l.ready.Broadcast()
	l.mu.Unlock()
	l.end()
	l.done.Wait()
}
