package rooms

import (
	crand "crypto/rand"
	"encoding/base64"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hometrip/gateway/codec"
)

// openRecordFor is how long the record of an open session is kept when its node
// dies and writes no end.
const openRecordFor = 24 * time.Hour

// A session is what a socket has beside the rest when its client asked for
// recovery. Owned by the socket's event loop.
type session struct {
	pid    string
	token  uint64 // TokenMark
	log    uint16 // which log the positions are of, as Shard.log counts
	gaps   uint32 // Shard.gaps when it began: it cannot be recovered over a gap
	given  uint64 // of an absent one: see Record
	at     int64  // of an absent one: when its connection ended, Unix ms
	last   uint64 // position of the last event it was given; 0: none
	joins  []uint64
	hold   *comeback // holds events while the client comes back; nil: they are sent
	absent bool      // events are for nobody
	gone   bool      // somebody else has the session: it is not kept here any more
	saves  int       // under way: Redis may not have the rooms that the socket is in

	// fence is in the offsets that the client is given, and in the session's
	// record. A client with another one than the record's is not recovered: the
	// record is older than what the client has seen, or newer. It changes when
	// the session is taken from a node that did not give it away, and when a
	// change of rooms is acknowledged of which Redis does not know.
	fence uint32
}

// lostFence is in the offsets of sessions that nobody can come back to. No
// record has it.
const lostFence = 1

func newFence() uint32 { return rand.Uint32N(math.MaxUint32-lostFence) + lostFence + 1 }

// newPID returns the secret by which a client comes back to its session: 120
// random bits.
func newPID() string {
	var raw [15]byte
	crand.Read(raw[:]) // never fails (crypto/rand, Go 1.24)
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// beginSession gives a socket a session. It is in no room yet.
func (s *Socket) beginSession(pid string, id Identity) {
	sh := s.shard
	s.session = &session{pid: pid, token: TokenMark(id.TokenID), log: sh.log, gaps: sh.gaps}
	sh.hub.sessions.open(pid, s)
	if history := sh.hub.config.Recovery.History; history != nil {
		history.Wanted()
	}
}

// joined notes the position at which the socket has joined a room, its last.
func (n *session) joined(sh *Shard) {
	n.rebase(sh)
	n.joins = append(n.joins, sh.Position())
}

// left forgets the position of a slot; the last room moves into the gap, as in
// room.leave.
func (n *session) left(slot int) {
	end := len(n.joins) - 1
	n.joins[slot] = n.joins[end]
	n.joins = n.joins[:end]
}

// rebase has the positions be of the log that is read now. Of that, the socket
// was given everything.
func (n *session) rebase(sh *Shard) {
	if n.log == sh.log {
		return
	}
	n.log, n.last, n.given = sh.log, 0, sh.base
	for i := range n.joins {
		n.joins[i] = sh.base
	}
}

// give sends the socket an event of the log with its offset, or holds it.
func (s *Socket) give(b *Broadcast) {
	n := s.session
	switch {
	case n.absent:
	case n.hold != nil:
		n.hold.keep(b)
	case b.Message.Volatile:
		s.sink.Send(b.Message)
	default:
		n.rebase(s.shard)
		n.last = b.Position
		fence := n.fence
		if n.lost(s.shard) {
			fence = lostFence
		}
		s.sink.Send(s.shard.withOffset(b, fence))
	}
}

// sendNumbered queues a message of the log for members, of which some get
// offsets, and returns how many got it.
func (sh *Shard) sendNumbered(members []member, b *Broadcast) (sent int) {
	for i := range members {
		s := members[i].socket
		if s.given != 0 || b.Shared {
			if s.floor() >= b.Position {
				continue
			}
			if b.Shared {
				s.raise(b.Position)
			}
		}
		sent++
		if s.session == nil {
			s.sink.Send(b.Message)
		} else {
			s.give(b)
		}
	}
	return sent
}

// withOffset returns the message of an event with its offset. It is encoded
// once for all members on this shard, and all rooms of the event, that have the
// same fence in a row: most have none.
func (sh *Shard) withOffset(b *Broadcast, fence uint32) *codec.Message {
	if sh.plain != b.Message || sh.fence != fence {
		sh.plain, sh.fence, sh.numbered = b.Message, fence, b.Message.WithOffset(sh.identity, b.Position, fence)
	}
	return sh.numbered
}

// record describes the socket's session as it is now.
func (s *Socket) record() *Record {
	n, sh := s.session, s.shard
	r := &Record{
		PID: n.pid, ID: s.id, User: s.userID, Token: n.token, Issued: s.issued, Node: sh.hub.nodeName(), Log: sh.identity,
		Fence: n.fence,
		Rooms: make([]RoomFrom, 0, len(s.rooms)),
	}
	n.rebase(sh)
	for i, m := range s.rooms {
		if !m.room.own {
			r.Rooms = append(r.Rooms, RoomFrom{Name: m.room.name, From: n.joins[i]})
		}
	}
	return r
}

// ended is the record of a session whose connection has ended.
func (s *Socket) ended(left bool) *Record {
	r := s.record()
	r.Ended, r.Left, r.At = true, left, time.UnixMilli(s.session.at)
	r.Given, r.Last = s.session.given, s.session.last
	r.Orphan = s.session.saves > 0
	return r
}

// lost reports whether nobody can come back to the session: events for it were
// lost, or it was absent when the log became another one.
func (n *session) lost(sh *Shard) bool { return n.gaps != sh.gaps || n.absent && n.log != sh.log }

// saveSession has other nodes know the session's rooms.
func (s *Socket) saveSession() { s.save(nil) }

func (s *Socket) save(done func(saved bool)) {
	remote := s.shard.hub.config.Recovery.Remote
	switch {
	case s.session == nil || s.phase != phaseConnected || remote == nil:
	case s.session.lost(s.shard):
		remote.Forget(s.session.pid)
	default:
		remote.Save(s.session.pid, AppendRecord(nil, s.record()), openRecordFor, done)
		return
	}
	if done != nil {
		done(true)
	}
}

// whenSaved has other nodes know the session's rooms and calls tell then, unless
// the client has gone: what a client is told of its rooms is true even if this
// node is killed. When Redis does not take the record in time the client gets
// another fence first, with which nobody recovers it from an older record.
func (s *Socket) whenSaved(now time.Time, tell func()) {
	if s.session == nil {
		tell()
		return
	}
	id, n := s.id, s.session
	n.saves++
	consult(s.shard, now, s.save, func(saved bool, _ time.Time) {
		if !s.connectedAs(id) {
			if saved { // else whoever takes the session gives it another fence
				n.saves--
			}
			return
		}
		n.saves--
		if !saved {
			s.session.fence = newFence()
			s.tellFence()
			s.saveSession()
		}
		tell()
	})
}

// tellFence has the client know its session's fence: every string that is an
// event's last argument is its offset.
func (s *Socket) tellFence() {
	sh, n := s.shard, s.session
	if sh.identity == "" {
		return // nobody comes back to a session without a log
	}
	n.rebase(sh)
	n.last = max(n.last, s.Position())
	b := codec.AppendOffset(append(sh.buf[:0], `42["`+eventRecoveryState+`",{},"`...), sh.identity, n.last, n.fence)
	s.sendPacket(append(b, `"]`...))
}

// forgetSession ends a session for good.
func (s *Socket) forgetSession() {
	if s.session == nil || s.session.gone {
		return
	}
	s.session.gone = true
	s.shard.hub.sessions.close(s.session.pid, s)
	if remote := s.shard.hub.config.Recovery.Remote; remote != nil {
		remote.Forget(s.session.pid)
	}
}

func (h *Hub) nodeName() string {
	if h.config.Recovery.Remote == nil {
		return ""
	}
	return h.config.Recovery.Remote.Node()
}

// nobody is the sink of an absent socket.
type nobody struct{}

func (nobody) Send(*codec.Message) {}
func (nobody) Close(Reason)        {}
func (nobody) Wake()               {}
func (nobody) Source() uint64      { return 0 }

// goAway has a connected socket whose connection has ended stay in its rooms
// as an absent member until the grace is over.
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

// makeAbsent takes the connection from a connected socket. reason says why; "":
// the connection has ended.
func (s *Socket) makeAbsent(reason string, now time.Time) {
	s.noteEnd(reason, false, now)
	sh := s.shard
	n := s.session
	n.rebase(sh)
	n.given = max(s.Position(), n.last)
	n.absent, n.at = true, now.UnixMilli()
	s.sink, s.aside, s.until = nobody{}, nil, 0
	s.phase = phaseAbsent
	sh.stats.Sockets.Add(-1)
	sh.stats.Absent.Add(1)
}

// keepEnded has the session's record known to whoever comes back to it.
func (s *Socket) keepEnded(left bool) {
	r := s.ended(left)
	if left {
		s.shard.hub.keepRecord(r)
	} else if remote := s.shard.hub.config.Recovery.Remote; remote != nil {
		remote.Save(r.PID, AppendRecord(nil, r), s.shard.hub.config.Recovery.Window, nil)
	}
}

// keepRecord keeps the record of a session that no socket of this node has.
func (h *Hub) keepRecord(r *Record) {
	form := AppendRecord(nil, r)
	dropped := h.sessions.end(r, form)
	remote := h.config.Recovery.Remote
	if remote == nil {
		return
	}
	remote.Save(r.PID, form, h.config.Recovery.Window, nil)
	for _, pid := range dropped {
		remote.Forget(pid)
	}
}

// resave has Redis know all sessions of this node anew: it may have lost their
// records, or have older ones. Those that other nodes have taken meanwhile end.
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

// resave goes on with the next sockets when the first of them are done.
func (sh *Shard) resave(sockets []*Socket) {
	sockets = slices.DeleteFunc(sockets, func(s *Socket) bool { return s.session == nil }) // it has ended meanwhile
	n := min(len(sockets), resaveBatch)
	left := n
	for _, s := range sockets[:n] {
		n := s.session
		sh.hub.config.Recovery.Remote.Owns(n.pid, func(yes bool) {
			sh.Post(func(now time.Time) {
				switch {
				case s.session != n || n.gone:
				case !yes:
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

// resaveEnded does the same for sessions that no socket has.
func (h *Hub) resaveEnded(pids []string) {
	if len(pids) == 0 {
		return
	}
	remote := h.config.Recovery.Remote
	remote.Owns(pids[0], func(yes bool) {
		if record := h.sessions.record(pids[0], !yes); record != nil && yes {
			remote.Save(pids[0], record, h.config.Recovery.Window, nil)
		}
		h.resaveEnded(pids[1:])
	})
}

// displaced ends a socket whose session another one has now, here or on another
// node. The others are not told: the client is there.
func (s *Socket) displaced(now time.Time) {
	if s.session == nil || s.session.gone {
		return
	}
	s.shard.hub.sessions.close(s.session.pid, s)
	s.session.gone = true
	if s.phase == phaseConnected {
		sink := s.sink
		s.makeAbsent(ReasonTakenOver.String(), now)
		sink.Close(ReasonTakenOver)
	}
	s.dissolve(now)
}

// resaveBatch is how many sessions are written anew in one turn of a loop.
const resaveBatch = 200

// depart takes an absent socket out of its rooms, which are told. Its client
// may still come back to the record.
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
	s.shard.hub.sessions.arrived(s.session.pid)
	s.leaveAll(now)
	s.phase = phaseClosed
}

// dissolve takes an absent socket out of its rooms without a word: its client
// is back.
func (s *Socket) dissolve(now time.Time) {
	if s.phase != phaseAbsent {
		return
	}
	delete(s.shard.pace, s)
	for len(s.rooms) > 0 {
		s.shard.leave(s, len(s.rooms)-1, now)
	}
	s.shard.stats.Absent.Add(-1)
	s.phase = phaseClosed
}

// surrender gives the session of a socket away, to a connection that has come
// back to it. What is left here stays in the rooms until it is dissolved.
func (s *Socket) surrender(user string, now time.Time) (*Record, RecoveryResult) {
	n := s.session
	switch {
	case n == nil || n.gone:
		return nil, RecoveryUnknown
	case s.userID != user:
		return nil, RecoveryOtherUser
	case n.lost(s.shard) && n.log != s.shard.log:
		return nil, RecoveryOtherLog
	case n.lost(s.shard):
		return nil, RecoveryLogShort
	case s.phase == phaseConnected:
		sink := s.sink
		s.makeAbsent(ReasonTakenOver.String(), now)
		sink.Close(ReasonTakenOver)
		s.shard.absent.add(s, now, max(s.shard.hub.config.Recovery.Grace, takeOverGrace))
	case s.phase != phaseAbsent:
		return nil, RecoveryBusy
	}
	n.gone = true
	return s.ended(false), RecoveryDone
}

// takeOverGrace is how long what is left of a session waits for the word that
// its client is back elsewhere.
const takeOverGrace = 2 * time.Second
