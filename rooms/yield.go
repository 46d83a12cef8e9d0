package rooms

import (
	"crypto/rand"
	"time"
)

// claim records in Redis that this node has the session now. A session that was
// on this node is recorded there already.
func (c *comeback) claim() {
	hub := c.socket.shard.hub
	if remote := hub.config.Recovery.Remote; remote != nil && c.record.Node != hub.nodeName() {
		claimed := *c.record
		claimed.Node = hub.nodeName()
		remote.Save(claimed.PID, AppendRecord(nil, &claimed), hub.config.Recovery.Window, nil)
	}
}

// yield gives the session to a later return of its client, and ends this one: a
// client that connects again has given up its previous connection. by is that
// return, nil if it comes to another node. It is called on any goroutine; done
// is called once.
func (c *comeback) yield(user string, by *comeback, done func(taken)) {
	c.socket.shard.Post(func(now time.Time) {
		s, hub := c.socket, c.socket.shard.hub
		again := func(now time.Time) { hub.takeHere(c.auth.pid, user, by, now, done) }
		switch {
		case c.id.UserID != user:
			done(taken{why: RecoveryOtherUser})
		case c.fate == over:
			again(now)
		case c.fate == goesBack:
			c.from.shard.Post(again) // behind its way back
		case s.phase == phaseTaking || s.comeback() != c:
			if c.heir != nil {
				c.heir(taken{why: RecoveryBusy})
			}
			c.heir = done
			c.closeFor()
		default:
			record, from := c.record, c.from
			c.undo(now)
			c.closeFor()
			c.end()
			done(taken{record: record, from: from})
		}
	})
}

// closeFor closes the connection of a return that has yielded.
func (c *comeback) closeFor() {
	if c.socket.comeback() == c {
		c.socket.aside.comeback = nil
	}
	if c.socket.phase != phaseClosed {
		c.socket.phase = phaseClosed
		c.socket.close(ReasonTakenOver)
	}
}

// end records that the return is over.
func (c *comeback) end() {
	c.fate = over
	c.socket.shard.hub.sessions.isOver(c)
}

// putBack stores the session for the next return.
func (c *comeback) putBack() {
	r, from := c.record, c.from
	hub := c.socket.shard.hub
	if r != nil && from != nil {
		c.fate = goesBack
		from.shard.Post(func(time.Time) {
			from.takeBack(r)
			hub.sessions.isOver(c)
		})
		return
	}
	switch remote := hub.config.Recovery.Remote; {
	case r == nil:
	case r.Ended && r.Node != hub.nodeName() && !r.placed():
		// Position 0 is where the node that had the session began to read.
		if remote != nil {
			remote.Forget(r.PID, r.Moves)
		}
	case r.Ended:
		r.Node = hub.nodeName()
		hub.keepRecord(r)
	case remote != nil: // what its node, which is dead, has given is unknown
		r.Node = "-" + rand.Text()[:8] // no node's name: the first one that asks for it gets it
		remote.Save(r.PID, AppendRecord(nil, r), hub.config.Recovery.Window, nil)
	}
	c.end()
}

// takeBack gives the session back to a socket, if it has not left yet.
func (s *Socket) takeBack(r *Record) {
	hub := s.shard.hub
	if s.phase != phaseAbsent {
		r.Left = true
		hub.keepRecord(r)
		return
	}
	s.session.gone = false
	hub.sessions.open(s)
	s.keepEnded(false)
}
