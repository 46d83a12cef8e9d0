package loop

import "github.com/hometrip/gateway/codec"

// A client that does not read fast enough has its messages waiting: in the
// session's queue, where they are shared with all other receivers. Only the
// rest of the one message that the kernel took in part is copied, into gnet's
// buffer, from where gnet writes it when the socket is writable. gnet does not
// tell when that is done, so each beat looks.

// blocked are the sessions of a loop whose sockets take nothing at the moment.
// Owned by its event loop.
type blocked struct {
	sessions map[*session]struct{}
	held     map[*codec.Message]int // messages in their queues, and in how many
}

// block notes that the session's socket takes nothing.
func (w *worker) block(s *session) {
	if s.blocked {
		return
	}
	if w.blocked.sessions == nil {
		w.blocked = blocked{sessions: make(map[*session]struct{}), held: make(map[*codec.Message]int)}
	}
	s.blocked = true
	w.blocked.sessions[s] = struct{}{}
	w.outbox.each(&s.queue, w.hold)
}

// unblock is the reverse of block.
func (w *worker) unblock(s *session) {
	if !s.blocked {
		return
	}
	s.blocked = false
	delete(w.blocked.sessions, s)
	w.outbox.each(&s.queue, w.letGoOf)
}

// hold counts a message for a session that is blocked: its place in the queue,
// and its bytes once for all of them.
func (w *worker) hold(m *codec.Message) {
	n := w.blocked.held[m]
	w.blocked.held[m] = n + 1
	if n == 0 {
		w.stats.Owed.Add(int64(m.Size()))
	}
	w.stats.Owed.Add(pendingSize)
}

func (w *worker) letGoOf(m *codec.Message) {
	n := w.blocked.held[m] - 1
	w.blocked.held[m] = n
	if n == 0 {
		delete(w.blocked.held, m)
		w.stats.Owed.Add(-int64(m.Size()))
	}
	w.stats.Owed.Add(-pendingSize)
}

// lookAtBlocked has those written to whose sockets take something again.
func (w *worker) lookAtBlocked() {
	for s := range w.blocked.sessions {
		if s.ws == nil || s.ws.writable() {
			w.unblock(s)
			s.touch()
		}
	}
}

// writable reports whether gnet has written all that it was given.
func (c *wsConn) writable() bool { return c.c == nil || c.c.OutboundBuffered() == 0 }
