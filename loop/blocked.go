package loop

import "github.com/hometrip/gateway/codec"

// A client that does not read fast enough has its messages waiting: in the
// session's queue, where they are shared with all other receivers. Only the
// rest of the one message that the kernel took in part is copied, into gnet's
// buffer, from where gnet writes it when the socket is writable. gnet does not
// tell when that is done, so each tick looks.

// blocked are the sessions of a loop whose sockets take nothing at the moment.
// Owned by its event loop.
type blocked struct {
	sessions map[*session]struct{}
	held     map[*codec.Message]int // messages in their queues, and in how many
	latest   map[state]int32        // nodes of messages that tell a state
}

// A state is what a session's client is to know the newest of: see
// codec.Message.
type state struct {
	of   *session
	name string
}

// block notes that the session's socket takes nothing.
func (w *worker) block(s *session) {
	if s.blocked {
		return
	}
	if w.blocked.sessions == nil {
		w.blocked = blocked{
			sessions: make(map[*session]struct{}), held: make(map[*codec.Message]int), latest: make(map[state]int32),
		}
	}
	s.blocked = true
	w.blocked.sessions[s] = struct{}{}
	w.outbox.each(&s.queue, func(i int32) { w.hold(s, i) })
}

// unblock is the reverse of block.
func (w *worker) unblock(s *session) {
	if !s.blocked {
		return
	}
	s.blocked = false
	delete(w.blocked.sessions, s)
	w.outbox.each(&s.queue, func(i int32) { w.letGoOf(s, i) })
}

// hold counts what is queued in a node for a session that is blocked: its place
// in the queue, and its bytes once for all sessions. What told an older state of
// the same is not sent any more.
func (w *worker) hold(s *session, i int32) {
	m, b := w.outbox.nodes[i].message, &w.blocked
	if b.held[m]++; b.held[m] == 1 {
		w.stats.Owed.Add(int64(m.Size()))
	}
	w.stats.Owed.Add(pendingSize)
	if m.Latest == "" {
		return
	}
	told := state{s, m.Latest}
	if old := b.latest[told]; old != 0 {
		w.letGoOf(s, old)
		w.outbox.remove(&s.queue, old)
		w.stats.Superseded.Add(1)
	}
	b.latest[told] = i
}

func (w *worker) letGoOf(s *session, i int32) {
	m, b := w.outbox.nodes[i].message, &w.blocked
	if b.held[m]--; b.held[m] == 0 {
		delete(b.held, m)
		w.stats.Owed.Add(-int64(m.Size()))
	}
	w.stats.Owed.Add(-pendingSize)
	if m.Latest != "" {
		delete(b.latest, state{s, m.Latest})
	}
}

// checkBlocked has those written to whose sockets take something again.
func (w *worker) checkBlocked() {
	for s := range w.blocked.sessions {
		if s.ws == nil || s.ws.writable() {
			w.unblock(s)
			s.touch()
		}
	}
}

// writable reports whether gnet has written all that it was given.
func (c *wsConn) writable() bool { return c.c == nil || c.c.OutboundBuffered() == 0 }
