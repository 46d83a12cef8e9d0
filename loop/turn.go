package loop

import (
	"context"
	"time"
)

// How a loop divides its time. Everything that a session is sent is queued by
// Sink.Send and written later by flush, so that what comes together is written
// with one write(2). A turn: run the tasks in the mailbox, resume paused input,
// take broadcasts from the mailbox, flush.
//
//   - A turn queues a broadcast for a portion of a room's members
//     (rooms.Shard), so a large room takes several turns.
//   - A turn writes to flushBatch sessions. If a broadcast into a large room
//     touches more, they wait in the backlog, and the loop continues after a
//     round of epoll: a socket never waits for more than one batch of writes.
//   - A cycle ends when every session has been touched by the broadcasts taken
//     in it, and written to. A cycle takes at most deliverBatch bytes of
//     broadcasts from the mailbox, so a client that keeps up is never given
//     more between two writes than it may have pending, however far the loop is
//     behind. Services wait instead (Hub.Deliver), and so do clients (paused).

// turns records where a loop is in its turns and cycles. Owned by its event
// loop.
type turns struct {
	touched touched
	budget  int       // bytes of broadcasts that may still be taken in this cycle
	began   time.Time // when the first of them was taken; zero while there is none
	pressed bool      // a session's queue is half full: input pauses until it is written
	paused  []resumer // connections and sessions whose input is paused

	depth     int  // callbacks on the stack
	posted    bool // a turn has been posted
	scheduled bool // a turn is scheduled after a round of epoll, through wakeup
	queued    int  // callbacks that queued something since the last such turn
	immediate int  // callbacks that may write at once

	seen int32 // sum of what prefetch has read, so that the reads are not optimised away
}

// touched is the list of a loop's sessions that are to be written to. A session
// is in it at most once; session.dirty is set then. Owned by its event loop.
type touched struct {
	fresh   []*session // since the last flush
	spare   []*session // empty, to become fresh
	backlog []*session // earlier, in order
	written int        // how many of the backlog have been written to
	mark    int        // how many must have been for the cycle to end
}

func (t *touched) add(s *session) { t.fresh = append(t.fresh, s) }

// left reports whether sessions wait to be written to.
func (t *touched) left() bool { return len(t.fresh) > 0 || t.written < len(t.backlog) }

// release drops the written sessions once they are most of the backlog.
func (t *touched) release() {
	if t.written*2 < len(t.backlog) {
		return
	}
	n := copy(t.backlog, t.backlog[t.written:])
	clear(t.backlog[n:])
	t.backlog = t.backlog[:n]
	t.mark = max(t.mark-t.written, 0)
	t.written = 0
}

// A resumer is a connection or session whose input was paused.
type resumer interface {
	resume(now time.Time)
}

// pause schedules r to be resumed in a later turn.
func (w *worker) pause(r resumer) {
	w.turns.paused = append(w.turns.paused, r)
	w.scheduleTurn()
}

// enter and settle surround every callback of gnet. What callbacks queue is
// written at the end of this round of epoll: a socket that two of them send to
// gets one write, and its reader is woken once. A chat at full speed then costs
// 24 us of CPU an event, against 31 when each callback writes. But in a round
// with one callback there is nothing to wait for, and waking up again costs 10
// us: after such a round the next few callbacks write at once.
func (w *worker) enter() {
	w.wake()
	w.turns.depth++
}

func (w *worker) settle() {
	if !w.leave() {
		return
	}
	if w.turns.immediate == 0 {
		w.scheduleTurn()
		return
	}
	w.turns.immediate--
	w.writeSoon()
}

// settleHTTP is settle for HTTP requests: it writes at once, because the answer
// to a request confirms what it caused.
func (w *worker) settleHTTP() {
	if w.leave() {
		w.writeSoon()
	}
}

// leave ends a callback. It reports whether sessions are to be written to and
// no turn is already scheduled that will do it.
func (w *worker) leave() bool {
	if w.turns.depth--; w.turns.depth > 0 || len(w.turns.touched.fresh) == 0 && !w.shard.Walking() {
		return false
	}
	w.turns.queued++
	return !w.turns.scheduled && !w.turns.posted
}

// writeSoon writes at once, or schedules a turn if there are many sessions.
func (w *worker) writeSoon() {
	if len(w.turns.touched.fresh) > flushAtOnce || w.turns.pressed {
		w.scheduleTurn()
		return
	}
	w.turns.depth++ // sessions that end meanwhile are handled afterwards
	defer func() { w.turns.depth-- }()
	defer w.recoverPanic("flush")
	w.flush(time.Now())
}

// onPosted is the task that postTurn posts. While the loop is behind, it runs only
// the tasks of the mailbox: gnet runs posted tasks until none is left, and a
// loop that wrote another batch each time would not get to its sockets.
func (w *worker) onPosted(context.Context) error {
	defer w.recoverPanic("turn")
	w.enter()
	defer func() { w.turns.depth-- }()
	w.turns.posted = false
	now := time.Now()
	w.turned(now)
	w.shard.Tasks(now)
	if !w.turns.scheduled {
		w.runTurn(now)
	}
	return nil
}

// onWakeup is a turn after a round of epoll.
func (w *worker) onWakeup() {
	defer w.recoverPanic("turn")
	w.enter()
	defer func() { w.turns.depth-- }()
	w.turns.scheduled = false
	if w.turns.queued == 1 {
		w.turns.immediate = writeAtOnce
	}
	w.turns.queued = 0
	now := time.Now()
	w.turned(now)
	w.shard.Tasks(now)
	w.runTurn(now)
}

// runTurn is the part of a turn after the tasks: input, broadcasts, writing.
func (w *worker) runTurn(now time.Time) {
	if !w.turns.pressed {
		w.resumePaused(now)
	}
	before, gave := w.turns.budget, w.shard.Walking()
	if !w.turns.pressed {
		w.turns.budget = w.shard.Drain(w.turns.budget)
	}
	pressed := w.turns.pressed
	w.flush(now)
	t := &w.turns.touched
	gave = gave || w.turns.budget != before
	if gave && w.turns.began.IsZero() {
		w.turns.began = now
	}
	if gave || pressed && t.mark == 0 {
		t.mark = len(t.backlog)
	}
	more := w.turns.budget == 0 || len(w.turns.paused) > 0
	if t.written >= t.mark {
		t.mark, w.turns.pressed = 0, false
		w.endCycle()
	}
	if more {
		w.scheduleTurn()
	}
}

// endCycle is called when all touched sessions have been written to. The cycle
// continues if members still wait for a broadcast taken in it.
func (w *worker) endCycle() {
	if w.shard.Walking() {
		return
	}
	w.turns.budget = deliverBatch
	if !w.turns.began.IsZero() {
		w.stats.Broadcast.record(time.Since(w.turns.began))
		w.turns.began = time.Time{}
	}
}

func (w *worker) resumePaused(now time.Time) {
	paused := w.turns.paused
	w.turns.paused = nil
	for _, r := range paused {
		r.resume(now)
	}
}

// flush writes to the touched sessions. Those touched since the last flush go
// first, if they are few, so that an answer in a chat does not wait for the
// rest of a large room.
func (w *worker) flush(now time.Time) {
	t := &w.turns.touched
	// A session that ends may queue messages for others, which are then fresh.
	fresh := t.fresh
	t.fresh = t.spare[:0]
	batch := flushBatch
	if len(fresh) > batch/2 {
		t.backlog = append(t.backlog, fresh...)
	} else {
		batch -= len(fresh)
		w.write(fresh, now)
	}
	clear(fresh)
	t.spare = fresh

	end := min(t.written+batch, len(t.backlog))
	w.write(t.backlog[t.written:end], now)
	t.written = end
	t.release()
	w.shed(now)
	if t.left() || w.shard.Walking() {
		w.scheduleTurn()
	}
}

func (w *worker) write(sessions []*session, now time.Time) {
	for len(sessions) > 0 {
		few := sessions[:min(lookAhead, len(sessions))]
		sessions = sessions[len(few):]
		w.prefetch(few)
		for _, s := range few {
			s.dirty = false
			s.flush(now)
		}
	}
}

// prefetch reads what a flush of these sessions needs, ahead of the system calls.
// Memory that was not used since the last broadcast is slow to load, but a few
// loads overlap. 20 events a second to 10,000 cost 13.0 us of CPU a delivery
// with it and 13.3 without; in bursts of two, 6.5 and 7.4.
func (w *worker) prefetch(few []*session) {
	for _, s := range few {
		w.turns.seen += s.queue.first
		if s.ws != nil {
			w.turns.seen += s.ws.fd
		}
	}
}

// scheduleTurn schedules a turn after another round of epoll.
func (w *worker) scheduleTurn() {
	if w.turns.scheduled {
		return
	}
	if w.wakeup == nil { // at the start and the end of the process
		if !w.turns.posted {
			w.turns.posted = true
			w.postTurn()
		}
		return
	}
	w.turns.scheduled = true
	w.wakeup.signal()
}
