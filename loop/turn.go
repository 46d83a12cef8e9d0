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

// touched has the sessions of a loop that are to be written to. A session is in
// it at most once: session.dirty says that it is. Owned by its event loop.
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

// pause has r resumed in a later turn.
func (w *worker) pause(r resumer) {
	w.paused = append(w.paused, r)
	w.comeBack()
}

// enter and settle surround every callback of gnet. What callbacks queue is
// written at the end of this round of epoll: a socket that two of them send to
// gets one write, and its reader is woken once. A chat at full speed then costs
// 24 us of CPU an event, against 31 when each callback writes. But in a round
// with one callback there is nothing to wait for, and waking up again costs 10
// us: after such a round the next few callbacks write at once.
func (w *worker) enter() {
	w.stir()
	w.depth++
}

func (w *worker) settle() {
	if !w.leave() {
		return
	}
	if w.single == 0 {
		w.comeBack()
		return
	}
	w.single--
	w.speak()
}

// settleHTTP is settle for HTTP requests: it writes at once, because the answer
// to a request confirms what it caused.
func (w *worker) settleHTTP() {
	if w.leave() {
		w.speak()
	}
}

// leave ends a callback. It reports whether sessions are to be written to and
// no turn is already scheduled that will do it.
func (w *worker) leave() bool {
	if w.depth--; w.depth > 0 || len(w.touched.fresh) == 0 && !w.shard.Walking() {
		return false
	}
	w.spoke++
	return !w.asked && !w.rung
}

// speak writes at once, or schedules a turn if there are many sessions.
func (w *worker) speak() {
	if len(w.touched.fresh) > flushAtOnce || w.pressed {
		w.comeBack()
		return
	}
	w.depth++ // sessions that end meanwhile are handled afterwards
	defer func() { w.depth-- }()
	defer w.survive("flush")
	w.flush(time.Now())
}

// onBell is the task that ring posts. While the loop is behind, it runs only
// the tasks of the mailbox: gnet runs posted tasks until none is left, and a
// loop that wrote another batch each time would not get to its sockets.
func (w *worker) onBell(context.Context) error {
	defer w.survive("turn")
	w.enter()
	defer func() { w.depth-- }()
	w.rung = false
	now := time.Now()
	w.turned(now)
	w.shard.Tasks(now)
	if !w.asked {
		w.take(now)
	}
	return nil
}

// onAgain is a turn after a round of epoll.
func (w *worker) onAgain() {
	defer w.survive("turn")
	w.enter()
	defer func() { w.depth-- }()
	w.asked = false
	if w.spoke == 1 {
		w.single = writeAtOnce
	}
	w.spoke = 0
	now := time.Now()
	w.turned(now)
	w.shard.Tasks(now)
	w.take(now)
}

// take is the part of a turn after the tasks: input, broadcasts, writing.
func (w *worker) take(now time.Time) {
	if !w.pressed {
		w.resumePaused(now)
	}
	before, gave := w.budget, w.shard.Walking()
	if !w.pressed {
		w.budget = w.shard.Drain(w.budget)
	}
	pressed := w.pressed
	w.flush(now)
	t := &w.touched
	gave = gave || w.budget != before
	if gave && w.began.IsZero() {
		w.began = now
	}
	if gave || pressed && t.mark == 0 {
		t.mark = len(t.backlog)
	}
	more := w.budget == 0 || len(w.paused) > 0
	if t.written >= t.mark {
		t.mark, w.pressed = 0, false
		w.endCycle()
	}
	if more {
		w.comeBack()
	}
}

// endCycle is called when all touched sessions have been written to. The cycle
// continues if members still wait for a broadcast taken in it.
func (w *worker) endCycle() {
	if w.shard.Walking() {
		return
	}
	w.budget = deliverBatch
	if !w.began.IsZero() {
		w.stats.Broadcast.record(time.Since(w.began))
		w.began = time.Time{}
	}
}

func (w *worker) resumePaused(now time.Time) {
	paused := w.paused
	w.paused = nil
	for _, r := range paused {
		r.resume(now)
	}
}

// flush writes to the touched sessions. Those touched since the last flush go
// first, if they are few, so that an answer in a chat does not wait for the
// rest of a large room.
func (w *worker) flush(now time.Time) {
	t := &w.touched
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
		w.comeBack()
	}
}

func (w *worker) write(sessions []*session, now time.Time) {
	for len(sessions) > 0 {
		few := sessions[:min(lookAhead, len(sessions))]
		sessions = sessions[len(few):]
		w.look(few)
		for _, s := range few {
			s.dirty = false
			s.flush(now)
		}
	}
}

// look reads what a flush of these sessions needs, ahead of the system calls.
// Memory that was not used since the last broadcast is slow to load, but a few
// loads overlap. 20 events a second to 10,000 cost 13.0 us of CPU a delivery
// with it and 13.3 without; in bursts of two, 6.5 and 7.4.
func (w *worker) look(few []*session) {
	for _, s := range few {
		w.seen += s.queue.first
		if s.ws != nil {
			w.seen += s.ws.fd
		}
	}
}

// comeBack schedules a turn after another round of epoll.
func (w *worker) comeBack() {
	if w.asked {
		return
	}
	if w.again == nil { // at the start and the end of the process
		if !w.rung {
			w.rung = true
			w.ring()
		}
		return
	}
	w.asked = true
	w.again.ask()
}
