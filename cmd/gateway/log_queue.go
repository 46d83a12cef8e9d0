package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// logQueueLen is how many lines may wait for the writer. At some hundred
// bytes a line it is about a megabyte.
const logQueueLen = 4096

// Where a line goes.
const (
	toConsole = 1 << iota
	toAll
	toErrors
)

// A logLine is an encoded record with the outputs it goes to. Owned by the queue.
type logLine struct {
	to   int
	text []byte
}

// logOutputs are the writers; nil for outputs that are off. Owned by the
// queue's goroutine.
type logOutputs struct {
	console, all, errors io.Writer
}

// A logQueue accepts lines from any goroutine and never blocks: if an output is
// slow and the queue full, lines are dropped and counted. post, close and
// dropped are safe for concurrent use; the rest belongs to its goroutine.
type logQueue struct {
	out      logOutputs
	own      slog.Handler // for the queue's own records, straight to out
	failed   bool         // the last write to a file did
	reported uint64       // dropped lines that have been reported

	dropped atomic.Uint64

	mu     sync.RWMutex // guards closed against sending on lines
	closed bool
	lines  chan logLine  // closed by close
	done   chan struct{} // closed by run
}

func newLogQueue(out logOutputs, level slog.Leveler) *logQueue {
	q := &logQueue{out: out, lines: make(chan logLine, logQueueLen), done: make(chan struct{})}
	q.own = slog.NewJSONHandler(direct{q}, &slog.HandlerOptions{Level: level, ReplaceAttr: tameAttr})
	go q.run()
	return q
}

// logWriter makes a handler's output lines for some of the outputs.
type logWriter struct {
	queue *logQueue
	to    int
}

// Write queues a copy of text, one line. It always succeeds.
func (w logWriter) Write(text []byte) (int, error) {
	w.queue.post(logLine{w.to, append([]byte(nil), text...)})
	return len(text), nil
}

func (q *logQueue) post(line logLine) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		q.dropped.Add(1)
		return
	}
	select {
	case q.lines <- line:
	default:
		q.dropped.Add(1)
	}
}

// run is the goroutine that writes.
func (q *logQueue) run() {
	defer close(q.done)
	for line := range q.lines {
		q.write(line)
		if len(q.lines) < logQueueLen/2 {
			q.reportDropped()
		}
	}
	q.reportDropped()
}

func (q *logQueue) write(line logLine) {
	if line.to&toConsole != 0 {
		q.out.console.Write(line.text) // an error cannot be reported anywhere
	}
	var err error
	if line.to&toAll != 0 && q.out.all != nil {
		_, err = q.out.all.Write(line.text)
	}
	if line.to&toErrors != 0 && q.out.errors != nil && err == nil {
		_, err = q.out.errors.Write(line.text)
	}
	if err != nil && !q.failed {
		q.record(slog.LevelWarn, "log file not written", slog.Any("error", err))
	}
	q.failed = err != nil
}

// reportDropped writes a line with the number of lines that were dropped.
func (q *logQueue) reportDropped() {
	if dropped := q.dropped.Load(); dropped > q.reported {
		q.record(slog.LevelWarn, "log records dropped", slog.Uint64("count", dropped-q.reported))
		q.reported = dropped
	}
}

// record writes a record of the queue itself, without queueing it.
func (q *logQueue) record(level slog.Level, message string, attr slog.Attr) {
	if !q.own.Enabled(context.Background(), level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, message, 0)
	r.AddAttrs(attr)
	q.own.Handle(context.Background(), r)
}

// direct writes to the console and all.log, from the queue's goroutine.
type direct struct{ queue *logQueue }

func (d direct) Write(text []byte) (int, error) {
	d.queue.out.console.Write(text)
	if d.queue.out.all != nil {
		d.queue.out.all.Write(text)
	}
	return len(text), nil
}

// close ends the queue and reports whether everything in it was written within
// timeout.
func (q *logQueue) close(timeout time.Duration) bool {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.lines)
	}
	q.mu.Unlock()
	select {
	case <-q.done:
		return true
	case <-time.After(timeout):
		return false
	}
}
