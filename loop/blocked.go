package loop

import "github.com/hometrip/gateway/codec"

// A client that does not read fast enough has its messages waiting: in the
// session's queue, where they are shared with all other receivers. Only the
// rest of the one message that the kernel took in part is copied, into gnet's
// buffer, from where gnet writes it when the socket is writable. gnet does not
// tell when that is done, so each tick looks.

// blocked is the list of a loop's sessions whose sockets accept no bytes at the
// moment. Owned by its event loop.
type blocked struct {
	sessions map[*session]struct{}
	held     map[*codec.Message]int // messages in their queues, and in how many
	latest   map[state]int32        // nodes of messages that tell a state
}

// A state names what a message is the newest state of: see
// codec.Message.Latest.
type state struct {
	of   *session
	name string
}

// block records that the session's socket accepts no bytes.
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

// hold counts what a node of the queue holds for a blocked session: its place
// in the queue, and its bytes once for all sessions. An older message about the
// same state is dropped.
func (w *worker) hold(s *session, i int32) {
	m, b := w.outbox.nodes[i].message, &w.blocked
	if b.held[m]++; b.held[m] == 1 {
		w.stats.Held.Add(int64(m.Size()))
	}
	w.stats.Held.Add(pendingSize)
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
		w.stats.Held.Add(-int64(m.Size()))
	}
	w.stats.Held.Add(-pendingSize)
	if m.Latest != "" {
		delete(b.latest, state{s, m.Latest})
	}
}

// checkBlocked writes to the sessions whose sockets accept bytes again.
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
