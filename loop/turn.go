package loop

import (
	"context"
	"time"
)

// How a loop shares itself out. Everything a session is sent is queued by
// Sink.Send and written later, by flush, so that what came together leaves
// with one write(2). A turn is: run the tasks in the mailbox, take input that
// was paused, take broadcasts from the mailbox, flush.
//
//   - A turn queues a broadcast for a portion of a room's members (rooms.Shard),
//     so the members of a large room are touched over several turns.
//   - A turn writes to flushBatch sessions. When more are touched, by a
//     broadcast into a large room, they queue up in the backlog and the loop
//     comes back for them after a round of epoll: its sockets are never more
//     than one batch of writes away.
//   - A cycle ends when everybody has been touched by the broadcasts taken in it,
//     and written to. A cycle takes deliverBatch bytes of broadcasts from
//     the mailbox and no more, so that a reader that keeps up is never given more
//     between two writes than it may have pending, however far the loop is
//     behind. Services wait (Hub.Deliver) and clients wait (paused) instead.

// touched are the sessions of a loop that have something to be written. A
// session is in it at most once: session.dirty says that it is. Owned by its
// event loop.
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

// release lets go of the sessions that have been written to, once they are
// most of the backlog.
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

// A resumer is somebody whose input was paused.
type resumer interface {
	resume(now time.Time)
}

// pause has r resumed in a later turn.
func (w *worker) pause(r resumer) {
	w.paused = append(w.paused, r)
	w.comeBack()
}

// enter and settle stand around every callback of gnet's. What they have to say
// is written at the end of this round of epoll, together with what others say
// in it: a socket that two of them speak to gets one write, and a reader is
// woken once and not for each. A chat at full speed costs 24 us of CPU an event
// like this, and 31 when each callback writes. But in a round of one there is
// nothing to wait for, and coming back costs 10 us: after such a round the next
// few write at once.
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

// settleHTTP is settle for requests, whose answers say that something is done:
// it is done before the next request is looked at.
func (w *worker) settleHTTP() {
	if w.leave() {
		w.speak()
	}
}

// leave reports whether there is something to say and nothing that will.
func (w *worker) leave() bool {
	if w.depth--; w.depth > 0 || len(w.touched.fresh) == 0 && !w.shard.Walking() {
		return false
	}
	w.spoke++
	return !w.asked && !w.rung
}

// speak writes at once, but to a crowd.
func (w *worker) speak() {
	if len(w.touched.fresh) > flushAtOnce || w.pressed {
		w.comeBack()
		return
	}
	w.depth++ // what closes meanwhile has its say afterwards
	defer func() { w.depth-- }()
	defer w.survive("flush")
	w.flush(time.Now())
}

// onBell is what ring posts. While the loop is behind, only the tasks are
// done: gnet runs what is posted until nothing is left, and a loop that wrote
// another batch each time would not get round to its sockets.
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

// take is the part of a turn behind the tasks.
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

// endCycle is called when everybody has been written to who was touched. The
// cycle goes on if others wait for a broadcast taken in it.
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

// flush writes to the sessions that were touched. Those touched just now go
// first, if they are few: an answer in a chat does not wait for the rest of a
// crowd.
func (w *worker) flush(now time.Time) {
	t := &w.touched
	// A session that ends has more to say to others, who then are the fresh.
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

// look reads what a flush of each session needs. Memory nobody has looked at
// since the last broadcast comes slowly, but for all of a few at a time: not so
// between two system calls. 20 events a second to 10,000 cost 13.0 us of CPU a
// delivery like this, and 13.3 without; in bursts of two, 6.5 and 7.4.
func (w *worker) look(few []*session) {
	for _, s := range few {
		w.seen += s.queue.first
		if s.ws != nil {
			w.seen += s.ws.fd
		}
	}
}

// comeBack asks for a turn after another round of epoll.
func (w *worker) comeBack() {
	if w.asked {
		return
	}
	if w.again == nil { // in the first and the last instants
		if !w.rung {
			w.rung = true
			w.ring()
		}
		return
	}
	w.asked = true
	w.again.ask()
}
