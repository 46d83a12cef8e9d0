// Package fairpool runs tasks on a fixed number of goroutines, for clients that
// must not delay each other: each client has a queue of its own, and the queues
// take turns.
package fairpool

import (
	"context"
	"sync"
)

const (
	// taskBytes is what a waiting task counts in addition to its size.
	taskBytes = 256

	// reserve is the share of the bytes, one part in reserve, for clients that
	// have nothing queued.
	reserve = 4
)

// A Config configures a Pool.
type Config struct {
	Workers int // goroutines
	Bytes   int // of all tasks that wait
	Running int // tasks of one client at a time; 0: as many as there are goroutines

	// Share limits a client to one part in Share+1 of the bytes if no other
	// client has tasks, and to less the more others have: one part in Share of
	// what is free.
	Share int
}

// A Pool runs tasks. K identifies a client. Safe for concurrent use.
type Pool[K comparable] struct {
	config  Config
	ctx     context.Context
	end     context.CancelFunc
	workers sync.WaitGroup

	mu    sync.Mutex // guards the following
	ready *sync.Cond // a queue has its turn, or the end has come
	all   map[K]*queue[K]
	turn  []*queue[K] // with a task that may run, the next one first
	bytes int         // that wait
	ended bool
}

// A queue is one client's tasks. Guarded by the pool's mutex.
type queue[K comparable] struct {
	key     K
	tasks   []task
	bytes   int
	running int
	inTurn  bool
}

// A task is a function that waits for a goroutine of the pool, and the bytes it
// holds meanwhile.
type task struct {
	run   func(context.Context)
	bytes int
}

// New starts a pool, which runs until Close.
func New[K comparable](c Config) *Pool[K] {
	c.Share = max(c.Share, 1)
	if c.Running <= 0 || c.Running > c.Workers {
		c.Running = c.Workers
	}
	p := &Pool[K]{config: c, all: make(map[K]*queue[K])}
	p.ready = sync.NewCond(&p.mu)
	p.ctx, p.end = context.WithCancel(context.Background())
	for range c.Workers {
		p.workers.Go(p.work)
	}
	return p
}

// Do queues a task of a client, which holds size bytes while it waits. It
// reports false, and the task does not run, if too much waits already or the
// pool is closed. It never blocks.
func (p *Pool[K]) Do(client K, size int, run func(context.Context)) bool {
	size += taskBytes
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.all[client]
	if p.ended || !p.fits(q, size) {
		return false
	}
	if q == nil {
		q = &queue[K]{key: client}
		p.all[client] = q
	}
	q.tasks = append(q.tasks, task{run, size})
	q.bytes += size
	p.bytes += size
	p.line(q)
	return true
}

// fits reports whether that many bytes may be added to a queue, which is nil
// for a client without tasks.
func (p *Pool[K]) fits(q *queue[K], size int) bool {
	if q == nil || len(q.tasks) == 0 {
		return p.bytes+size <= p.config.Bytes
	}
	free := p.config.Bytes - p.config.Bytes/reserve - p.bytes
	return q.bytes+size <= free/p.config.Share
}

// line queues a client for its turn if it has a task that may run.
func (p *Pool[K]) line(q *queue[K]) {
	if !q.inTurn && len(q.tasks) > 0 && q.running < p.config.Running {
		q.inTurn = true
		p.turn = append(p.turn, q)
		p.ready.Signal()
	}
}

func (p *Pool[K]) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.turn) == 0 && !p.ended {
			p.ready.Wait()
		}
		if len(p.turn) == 0 {
			return // another goroutine runs the queues that are left
		}
		q, run := p.next()
		p.mu.Unlock()
		run(p.ctx)
		p.mu.Lock()
		q.running--
		p.line(q)
		if len(q.tasks) == 0 && q.running == 0 {
			delete(p.all, q.key)
		}
	}
}

// next returns the next task to run.
func (p *Pool[K]) next() (*queue[K], func(context.Context)) {
	q := p.turn[0]
	p.turn[0] = nil
	p.turn = p.turn[1:]
	t := q.tasks[0]
	q.tasks[0] = task{}
	q.tasks = q.tasks[1:]
	q.bytes -= t.bytes
	p.bytes -= t.bytes
	q.inTurn = false
	q.running++
	p.line(q)
	return q, t.run
}

// Close cancels the context of running tasks, runs the waiting ones with a
// cancelled context, so that each can report it, and returns when all have
// returned.
func (p *Pool[K]) Close() {
	p.end()
	p.mu.Lock()
	p.ended = true
	p.ready.Broadcast()
	p.mu.Unlock()
	p.workers.Wait()
}
