package rooms

import (
	"sync"
	"time"
)

// A taken is the result of taking a session: its record, or why there is none.
type taken struct {
	record *Record
	from   *Socket // that had it on this node; nil: none
	why    RecoveryResult
}

// takeSession takes the session that a client comes back for: from an earlier
// return of the client, from this node, or from another one. It calls done
// once, on any goroutine. The record stays in Redis under the name of this node
// until the client is back or the session is over.
func (h *Hub) takeSession(c *comeback, now time.Time, done func(taken)) {
	pid, user, remote := c.auth.pid, c.id.UserID, h.config.Recovery.Remote
	got := func(t taken) {
		if t.why == RecoveryUnknown && remote != nil {
			remote.Take(pid, user, func(r *Record, why RecoveryResult) {
				if r != nil {
					r.Moves++
				}
				done(taken{record: r, why: why})
			})
			return
		}
		done(t)
	}
	if before := h.sessions.comes(c); before != nil {
		before.yield(user, c, got)
		return
	}
	h.takeHere(pid, user, c, now, got)
}

// takeHere takes the session of a pid from this node. by is the return that
// takes it; nil: another node, or a return that has waited for an earlier one.
func (h *Hub) takeHere(pid, user string, by *comeback, now time.Time, done func(taken)) {
	f := h.sessions.find(pid, user, by)
	switch {
	case f.coming != nil:
		f.coming.yield(user, by, done)
		return
	case f.why != RecoveryDone:
		done(taken{why: f.why})
		return
	}
	take := func() { h.takeFound(pid, user, f, by, done) }
	if h.config.Recovery.Remote == nil || !h.reached.doubtful(now) {
		take()
		return
	}
	h.config.Recovery.Remote.Elsewhere(pid, func(moves uint32, elsewhere bool) {
		if !elsewhere {
			take()
			return
		}
		h.ifMoved(pid, f, moves, func() { done(taken{why: RecoveryUnknown}) }, take)
	})
}

// ifMoved calls moved if another node has taken a session that was found here
// and this node does not have it any more; otherwise it calls stays. Redis says
// how often the session was moved; this node compares that with what it knows.
func (h *Hub) ifMoved(pid string, f finding, moves uint32, moved, stays func()) {
	if f.socket == nil {
		if moves < RecordMoves(f.record) {
			stays()
			return
		}
		moved()
		return
	}
	f.socket.shard.Post(func(now time.Time) {
		if n := f.socket.session; n != nil && moves < n.moves() {
			stays()
			return
		}
		f.socket.displaced(now)
		moved()
	})
}

// Displace records that another node has taken a session while this node could
// not be reached. moves is how often the session had been moved when this node
// last had it.
func (h *Hub) Displace(pid string, moves uint32) {
	if form := h.sessions.record(pid, false); form != nil && RecordMoves(form) <= moves {
		h.sessions.record(pid, true)
	}
	s := h.sessions.liveSocket(pid)
	if s == nil {
		return
	}
	s.shard.Post(func(now time.Time) {
		if n := s.session; n != nil && n.moves() <= moves {
			s.displaced(now)
		}
	})
}

// takeFound takes a session from the return or the socket that has it, or
// returns its record.
func (h *Hub) takeFound(pid, user string, f finding, by *comeback, done func(taken)) {
	s := f.socket
	if s == nil {
		r, err := ParseRecord(f.record)
		if err != nil {
			done(taken{why: RecoveryFailed})
			return
		}
		done(taken{record: r})
		return
	}
	s.shard.Post(func(now time.Time) {
		r, why := s.surrender(user, now)
		switch why {
		case RecoveryDone:
			h.sessions.close(s.session.pid, s)
		case RecoveryUnknown: // another return has taken it since it was found, or it has departed and left a record
			f = h.sessions.find(pid, user, by)
			switch {
			case f.coming != nil:
				f.coming.yield(user, by, done)
				return
			case f.record != nil:
				h.takeFound(pid, user, f, by, done)
				return
			}
		}
		done(taken{record: r, from: s, why: why})
	})
}

// Surrender gives the session of a pid to another node, if this node has it,
// and calls done once, on any goroutine.
func (h *Hub) Surrender(pid, user string, now time.Time, done func(*Record, RecoveryResult)) {
	h.takeHere(pid, user, nil, now, func(t taken) {
		if t.why == RecoveryDone && t.from != nil {
			h.sessions.moved(pid, t.from)
		}
		done(t.record, t.why)
	})
}

// A reach records whether other nodes can ask this node for its sessions. While
// they cannot, they take it for dead and may take sessions from Redis. Safe for
// concurrent use.
type reach struct {
	mu    sync.Mutex
	yes   bool
	known bool      // it has been yes
	until time.Time // until then, sessions may have been taken that this node does not know of
}

// doubtFor is how long, beyond the window, this node may still have sessions
// that another node has taken meanwhile.
const doubtFor = 10 * time.Minute

// Reachable records whether other nodes can ask this node for sessions. It is
// called at each change.
func (h *Hub) Reachable(yes bool, now time.Time) {
	if h.reached.set(yes, now, h.config.Recovery.Window+doubtFor, h.sessions.empty()) {
		h.resave()
	}
}

// set records whether other nodes can ask this node. It reports whether they
// can again.
func (r *reach) set(yes bool, now time.Time, doubt time.Duration, empty bool) (again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if yes && !r.known && empty {
		r.yes, r.known = true, true
		return false
	}
	again = yes && !r.yes
	r.known = r.known || yes
	r.yes, r.until = yes, now.Add(doubt)
	return again
}

// doubtful reports whether this node may have sessions that other nodes have
// taken.
func (r *reach) doubtful(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.yes || now.Before(r.until)
}

// moved records that another node has taken the session of a socket.
func (ss *sessions) moved(pid string, s *Socket) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.leaving[pid] = s
}

// arrived returns the socket whose session another node has taken, nil if it
// has left already.
func (ss *sessions) arrived(pid string) *Socket {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.leaving[pid]
	delete(ss.leaving, pid)
	return s
}

// Dissolve records that a surrendered session goes on elsewhere: its socket
// here leaves its rooms silently.
func (h *Hub) Dissolve(pid string) {
	if s := h.sessions.arrived(pid); s != nil {
		s.shard.Post(func(now time.Time) { s.dissolve(now) })
	}
}
