package redislog

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/redislog/core"
)

const appendsWaiting = 4096 // entries that may wait to be sent; beyond it Append blocks

var errClosed = errors.New("redislog: closed")

// An appender sends entries to Redis in the order of the calls, in batches. Its
// goroutine begins with the first entry and ends with close. Safe for concurrent
// use.
type appender struct {
	log   *Log
	queue chan *appending
	over  context.Context // cancelled when the appender is closed
	end   context.CancelFunc
	ended chan struct{} // closed when the goroutine has ended
	begin sync.Once
}

// An appending is an entry that waits for its result.
type appending struct {
	ctx     context.Context
	command core.Command
	done    chan appended // has a buffer of one
}

// An appended is the result of appending one entry.
type appended struct {
	position eventlog.Position
	err      error
}

func (a *appender) init(l *Log) {
	a.log, a.queue, a.ended = l, make(chan *appending, appendsWaiting), make(chan struct{})
	a.over, a.end = context.WithCancel(context.Background())
}

func (a *appender) close() {
	a.end()
	a.begin.Do(func() { close(a.ended) })
	<-a.ended
}

// Append implements eventlog.Log.
func (l *Log) Append(ctx context.Context, e eventlog.Entry) (wait func() (eventlog.Position, error)) {
	a := &l.appender
	a.begin.Do(func() { go a.run() })
	w := &appending{ctx, core.Append(&e), make(chan appended, 1)}
	select {
	case a.queue <- w:
	case <-ctx.Done():
		return func() (eventlog.Position, error) { return 0, ctx.Err() }
	case <-a.over.Done():
		return func() (eventlog.Position, error) { return 0, errClosed }
	}
	return func() (eventlog.Position, error) {
		select {
		case r := <-w.done:
			return r.position, r.err
		case <-ctx.Done():
			return 0, fmt.Errorf("redis has not confirmed it: %w", ctx.Err())
		case <-a.over.Done():
			return 0, errClosed
		}
	}
}

func (a *appender) run() {
	defer close(a.ended)
	batch := make([]*appending, 0, core.AppendsAtOnce)
	for {
		select {
		case w := <-a.queue:
			batch = append(batch[:0], w)
		case <-a.over.Done():
			return
		}
		for len(batch) < core.AppendsAtOnce && len(a.queue) > 0 {
			batch = append(batch, <-a.queue)
		}
		a.send(batch)
		clear(batch)
	}
}

// send appends a batch in one round trip and sends each entry its result. It
// skips entries whose caller has given up.
func (a *appender) send(batch []*appending) {
	client, err := a.log.connection()
	commands, sent := make([]core.Command, 0, len(batch)), batch[:0]
	for _, w := range batch {
		switch {
		case err != nil:
			w.done <- appended{err: err}
		case w.ctx.Err() == nil:
			commands, sent = append(commands, w.command), append(sent, w)
		}
	}
	if len(commands) == 0 {
		return
	}
	for i, r := range a.log.doMulti(a.over, client, commands) {
		position, failed := core.Appended(&r)
		if failed != nil {
			failed = a.log.failure(failed)
		}
		if r.Err != nil {
			err = r.Err
		}
		sent[i].done <- appended{position, failed}
	}
	if err != nil {
		a.log.disconnect(client)
	}
}
