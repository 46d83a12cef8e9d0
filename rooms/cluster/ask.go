package cluster

import (
	"slices"
	"sync/atomic"
	"time"
)

// A waiter is who has to wait for a join to be known: the directory has the
// room, what was published to it before is out, and every node that held it
// already has noticed. The last is asked of them: that Redis has told them is
// not enough, for it tells without waiting, and until it has come through they
// take the room for theirs alone.
type waiter struct {
	room  string
	until time.Time
	told  atomic.Bool
	known func()

	// Guarded by the lane's mutex.
	number uint64    // of the question
	asked  time.Time // when it went out
	nodes  []uint32  // that have not answered
	out    bool      // the question is
}

// tell reports whether the waiter has not been told before.
func (w *waiter) tell() bool {
	if w.told.Swap(true) {
		return false
	}
	w.known()
	return true
}

// await queues a waiter behind what was published before.
func (l *lane) await(room string, known func()) {
	w := &waiter{room: room, until: time.Now().Add(l.c.config.JoinTimeout), known: known}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = append(l.late, w)
	l.put(w.letter())
}

// letter is the question.
func (w *waiter) letter() letter {
	x := letter{question: true, waiter: w}
	x.Room = w.room
	return x
}

// ask notes which nodes are about to be asked, before they can answer.
func (l *lane) ask(r *reading) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for i := range l.batch {
		x := &l.batch[i]
		if w := x.waiter; w != nil && !w.told.Load() {
			w.number, w.asked, w.nodes = x.number, now, slices.Clone(r.nodes[x.at])
			l.asked[w.number] = w
		}
	}
}

// unheard takes a node out of questions that did not reach it: nobody there
// can be sent anything.
func (l *lane) unheard(node uint32, questions []*waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range questions {
		w.without(node)
	}
}

func (w *waiter) without(node uint32) {
	w.nodes = slices.DeleteFunc(w.nodes, func(n uint32) bool { return n == node })
}

// asking is called when a question is out. Perhaps there was nobody to ask, or
// all have answered; or the directory does not have the room yet and it was
// too early.
func (l *lane) asking(v *view, w *waiter) {
	l.mu.Lock()
	e := l.held[w.room]
	early := e != nil && e.occupied && e.wrote != v.session
	if early {
		delete(l.asked, w.number)
		l.early = append(l.early, w)
	}
	w.out = !early
	known := l.settled(w, v)
	l.mu.Unlock()
	if known {
		w.tell()
	}
}

// settled reports whether nobody is left to answer, and then notes that the
// room is known. l.mu is held.
func (l *lane) settled(w *waiter, v *view) bool {
	if !w.out || len(w.nodes) > 0 {
		return false
	}
	delete(l.asked, w.number)
	if e := l.held[w.room]; e != nil && v != nil && e.wrote == v.session {
		e.known = v.session
	}
	return true
}

// giveUp goes on without nodes that have lost their lease. It returns who needs
// to wait no longer. l.mu is held.
func (l *lane) giveUp() (known []*waiter) {
	v := l.c.view.Load()
	if v == nil {
		return nil
	}
	for _, w := range l.asked {
		w.nodes = slices.DeleteFunc(w.nodes, func(n uint32) bool { return !v.mayHave(n, w.asked) })
		if l.settled(w, v) {
			known = append(known, w)
		}
	}
	return known
}

// askAgain puts back the questions that were too early.
func (l *lane) askAgain() {
	if len(l.early) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.early {
		if !w.told.Load() {
			l.put(w.letter())
		}
	}
	clear(l.early)
	l.early = l.early[:0]
}

// question answers another node, which has entered a room.
func (l *lane) question(room string, from uint32, number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubt(room)
	if l.full(1) { // it will not wait for ever
		l.c.stats.dropped[DropQueueFull].Add(1)
		return
	}
	x := letter{answer: from, number: number}
	x.Room = room
	l.put(x)
}

// answered notes the answer of a node.
func (l *lane) answered(node uint32, number uint64) {
	v := l.c.view.Load()
	l.mu.Lock()
	w := l.asked[number]
	known := false
	if w != nil {
		w.without(node)
		known = l.settled(w, v)
	}
	l.mu.Unlock()
	if known {
		w.tell()
	}
}
