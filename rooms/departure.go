package rooms

import (
	"slices"
	"time"

	"github.com/hometrip/gateway/codec"
)

// nobody is the sink of an absent socket.
type nobody struct{}

func (nobody) Send(*codec.Message) {}
func (nobody) Close(Reason)        {}
func (nobody) Wake()               {}
func (nobody) Source() uint64      { return 0 }

// goAway makes a connected socket absent when its connection ends: it stays in
// its rooms until the grace is over.
func (s *Socket) goAway(now time.Time) {
	sh := s.shard
	if s.session.lost(sh) {
		s.noteEnd("", true, now)
		s.leaveAll(now)
		s.phase, s.aside = phaseClosed, nil
		return
	}
	s.makeAbsent("", now)
	grace := sh.hub.config.Recovery.Grace
	if grace <= 0 {
		s.depart(now)
		return
	}
	s.keepEnded(false)
	sh.absent.add(s, now, grace)
}

// makeAbsent takes the connection from a connected socket. reason says why; ""
// means that the connection has ended.
func (s *Socket) makeAbsent(reason string, now time.Time) {
	s.noteEnd(reason, false, now)
	sh, n := s.shard, s.session
	n.rebase(s)
	m := n.beside()
	m.given, m.at = max(s.Position(), n.last.position()), now.UnixMilli()
	s.sink, s.aside, s.until = nobody{}, nil, 0
	s.phase = phaseAbsent
	sh.stats.Sockets.Add(-1)
	sh.stats.Absent.Add(1)
}

// keepEnded stores the session's record, so that the client can come back to
// it.
func (s *Socket) keepEnded(left bool) {
	r := s.ended(left)
	if left {
		s.shard.hub.keepRecord(r)
	} else if remote := s.shard.hub.config.Recovery.Remote; remote != nil {
		remote.Save(r.PID, AppendRecord(nil, r), s.shard.hub.config.Recovery.Window, nil)
	}
}

// keepRecord stores the record of a session that has no socket on this node.
func (h *Hub) keepRecord(r *Record) {
	form := AppendRecord(nil, r)
	dropped := h.sessions.end(r, form)
	remote := h.config.Recovery.Remote
	if remote == nil {
		return
	}
	remote.Save(r.PID, form, h.config.Recovery.Window, nil)
	for _, pid := range dropped {
		remote.Forget(pid, 0) // it is this node's
	}
}

// Refresh writes the records of open sessions to Redis again, before they
// expire there. It is to be called every RefreshSessions.
func (h *Hub) Refresh() { h.resave() }

// RefreshSessions is how often Refresh is to be called.
const RefreshSessions = openRecordFor / 4

// resave writes the records of all sessions of this node again, because Redis
// may have lost them or have older ones. Sessions that other nodes have taken
// meanwhile end.
func (h *Hub) resave() {
	for sockets := h.sessions.sockets(); len(sockets) > 0; {
		shard, n := sockets[0].shard, 1
		for n < len(sockets) && sockets[n].shard == shard {
			n++
		}
		list := sockets[:n]
		sockets = sockets[n:]
		shard.Post(func(time.Time) { shard.resave(list) })
	}
	h.resaveEnded(h.sessions.pids())
}

// resave continues with the next batch of sockets when the previous one is
// written.
func (sh *Shard) resave(sockets []*Socket) {
	sockets = slices.DeleteFunc(sockets, func(s *Socket) bool { return s.session == nil }) // it has ended meanwhile
	n := min(len(sockets), resaveBatch)
	left := n
	for _, s := range sockets[:n] {
		n := s.session
		sh.hub.config.Recovery.Remote.Elsewhere(n.pid.String(), func(moves uint32, elsewhere bool) {
			sh.Post(func(now time.Time) {
				switch {
				case s.session != n || n.gone:
				case elsewhere && moves >= n.moves():
					s.displaced(now)
				case s.phase == phaseAbsent:
					s.keepEnded(false)
				default:
					s.saveSession()
				}
				if left--; left == 0 && len(sockets) > resaveBatch {
					sh.resave(sockets[resaveBatch:])
				}
			})
		})
	}
}

// resaveEnded writes the records of sessions that have no socket.
func (h *Hub) resaveEnded(pids []string) {
	if len(pids) == 0 {
		return
	}
	remote := h.config.Recovery.Remote
	remote.Elsewhere(pids[0], func(moves uint32, elsewhere bool) {
		record := h.sessions.record(pids[0], false)
		switch {
		case record == nil:
		case elsewhere && moves >= RecordMoves(record):
			h.sessions.record(pids[0], true)
		default:
			remote.Save(pids[0], record, h.config.Recovery.Window, nil)
		}
		h.resaveEnded(pids[1:])
	})
}

// displaced ends a socket whose session another socket has now, here or on
// another node. The other members are not notified: the client is still there.
func (s *Socket) displaced(now time.Time) {
	if s.session == nil || s.session.gone {
		return
	}
	s.shard.hub.sessions.close(s.session.pid, s)
	s.session.gone = true
	if s.phase == phaseConnected {
		s.takeOver(now)
	}
	s.dissolve(now)
}

// takeOver closes the connection of a socket whose session another socket has
// now.
func (s *Socket) takeOver(now time.Time) {
	sink := s.sink
	s.makeAbsent(ReasonTakenOver.String(), now)
	sink.Close(ReasonTakenOver)
}

// resaveBatch is how many sessions are written anew in one turn of a loop.
const resaveBatch = 200

// depart removes an absent socket from its rooms and notifies the other
// members. Its client may still come back to the record.
func (s *Socket) depart(now time.Time) {
	if s.phase != phaseAbsent {
		return
	}
	if !s.session.gone && s.session.lost(s.shard) {
		s.forgetSession()
	}
	if !s.session.gone {
		s.keepEnded(true)
		s.session.gone = true
	}
	s.shard.hub.sessions.arrived(s.session.pid.String())
	s.leaveAll(now)
	s.phase = phaseClosed
}

// dissolve removes an absent socket from its rooms without notifying the other
// members, because its client is back.
func (s *Socket) dissolve(now time.Time) {
	if s.phase != phaseAbsent {
		return
	}
	delete(s.shard.pace, s)
	for s.rooms.len() > 0 {
		s.shard.leave(s, s.rooms.len()-1, now)
	}
	s.shard.stats.Absent.Add(-1)
	s.phase = phaseClosed
}

// surrender gives the session of a socket to another connection of its client.
// The socket stays in its rooms until it is dissolved.
func (s *Socket) surrender(user string, now time.Time) (*Record, RecoveryResult) {
	n := s.session
	switch {
	case n == nil || n.gone:
		return nil, RecoveryUnknown
	case s.UserID() != user:
		return nil, RecoveryOtherUser
	case n.lost(s.shard) && n.log != uint8(s.shard.log):
		return nil, RecoveryOtherLog
	case n.lost(s.shard):
		return nil, RecoveryLogShort
	case s.phase == phaseConnected:
		s.takeOver(now)
		s.shard.absent.add(s, now, max(s.shard.hub.config.Recovery.Grace, takeOverGrace))
	case s.phase != phaseAbsent:
		return nil, RecoveryBusy
	}
	n.gone = true
	return s.ended(false), RecoveryDone
}

// takeOverGrace is how long a surrendered socket waits for the confirmation
// that its client is back elsewhere.
const takeOverGrace = 2 * time.Second
