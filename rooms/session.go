package rooms

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"

	"github.com/hometrip/gateway/codec"
)

// openRecordFor is how long Redis keeps the record of an open session. It
// matters if the session's node dies without storing its end.
const openRecordFor = 24 * time.Hour

// A session is the state of a socket whose client asked for recovery: 48 bytes
// while it is idle, in two rooms at most. Owned by the socket's event loop.
type session struct {
	pid   pid      // does not change
	gone  bool     // another connection or node has the session: it is not kept here any more
	gaps  uint16   // Shard.gaps when it began: it cannot be recovered over a gap
	log   uint8    // which log the positions are of, as Shard.log counts
	last  place    // position of the last event it was given; 0: none
	joins [2]place // positions at which the socket has joined its first rooms
	more  *sessionMore
}

// A sessionMore is the part of a session's state that is rarely needed.
type sessionMore struct {
	joins []place   // positions at which the socket has joined the rooms behind the first ones
	hold  *comeback // holds events while the client comes back; nil: they are sent
	saves int       // under way: Redis may not have the rooms that the socket is in

	given uint64 // of an absent session: see Record
	at    int64  // when its connection ended, Unix ms; 0: it is connected. Nothing is sent to an absent session

	moves uint32 // how often another node has taken the session

	// fence is in the offsets that the client is given, and in the session's
	// record. If a client's offset has another fence than the record, it is not
	// recovered: the record is older or newer than what the client has seen.
	// The fence changes when the session is taken from a node that did not give
	// it away, when a change of rooms is acknowledged that Redis does not have,
	// and when the log becomes another one.
	fence uint32
}

// A place is a position in the log, in givenBits.
type place [7]byte

func (p *place) set(position uint64) {
	binary.LittleEndian.PutUint32(p[:4], uint32(position))
	binary.LittleEndian.PutUint32(p[3:], uint32(position>>24))
}

func (p *place) position() uint64 {
	return uint64(binary.LittleEndian.Uint32(p[:4])) | uint64(binary.LittleEndian.Uint32(p[3:]))<<24
}

// beside returns the part that is rarely needed, to be changed. tidy is to be
// called afterwards.
func (n *session) beside() *sessionMore {
	if n.more == nil {
		n.more = &sessionMore{}
	}
	return n.more
}

// tidy frees what is no longer needed.
func (n *session) tidy() {
	if m := n.more; m != nil && len(m.joins) == 0 && m.hold == nil && m.saves == 0 && m.at == 0 && m.fence == 0 && m.moves == 0 {
		n.more = nil
	}
}

func (n *session) absent() bool { return n.more != nil && n.more.at != 0 }

func (n *session) fence() uint32 {
	if n.more == nil {
		return 0
	}
	return n.more.fence
}

func (n *session) moves() uint32 {
	if n.more == nil {
		return 0
	}
	return n.more.moves
}

func (n *session) saving() bool { return n.more != nil && n.more.saves > 0 }

// join returns where the position is stored at which the room of a slot was
// joined.
func (n *session) join(slot int) *place {
	if slot < len(n.joins) {
		return &n.joins[slot]
	}
	return &n.more.joins[slot-len(n.joins)]
}

// lostFence is in the offsets of sessions that cannot be recovered. No record
// has it.
const lostFence = 1

// firstFence is the first one of seven digits: all offsets of a position are as
// long as each other.
const firstFence = 36 * 36 * 36 * 36 * 36 * 36

func newFence() uint32 { return rand.Uint32N(math.MaxUint32-firstFence) + firstFence }

// beginSession gives a socket a new session. The socket is in no room yet.
func (s *Socket) beginSession() {
	sh := s.shard
	s.session = newSession(newPID(), sh)
	sh.hub.sessions.open(s)
	if history := sh.hub.config.Recovery.History; history != nil {
		history.Wanted()
	}
}

func newSession(p pid, sh *Shard) *session {
	return &session{pid: p, log: uint8(sh.log), gaps: uint16(sh.gaps)}
}

// joined stores the position at which the socket has joined a room, its last
// one.
func (s *Socket) joined() {
	n, slot := s.session, s.rooms.len()-1
	if slot >= len(n.joins) {
		m := n.beside()
		m.joins = append(m.joins, place{})
	}
	n.rebase(s)
	n.join(slot).set(s.shard.Position())
}

// left forgets the position of a slot; the last room moves into the gap, as in
// room.leave.
func (s *Socket) left(slot int) {
	n, end := s.session, s.rooms.len()-1
	*n.join(slot) = *n.join(end)
	if end < len(n.joins) {
		return
	}
	m := n.more
	if m.joins = m.joins[:len(m.joins)-1]; len(m.joins) == 0 {
		m.joins = nil
		n.tidy()
	}
}

// rebase converts the positions to the log that is read now. The socket was
// given everything in that log so far. What it was sent of the previous log may
// not have arrived, so only a client that gets something of this log can be
// recovered.
func (n *session) rebase(s *Socket) {
	sh := s.shard
	if n.log == uint8(sh.log) {
		return
	}
	n.log = uint8(sh.log)
	if n.last.position() != 0 {
		n.beside().fence = newFence()
	}
	n.last.set(0)
	if n.more != nil {
		n.more.given = sh.base
	}
	for slot := range s.rooms.all() {
		n.join(slot).set(sh.base)
	}
}

// give sends the socket an event of the log with its offset, or holds it while
// the client comes back.
func (s *Socket) give(b *Broadcast) {
	n := s.session
	fence := uint32(0)
	if m := n.more; m != nil {
		switch {
		case m.at != 0: // it is absent
			return
		case m.hold != nil:
			m.hold.keep(b)
			return
		}
		fence = m.fence
	}
	if b.Message.Volatile {
		s.sink.Send(b.Message)
		return
	}
	n.rebase(s)
	n.last.set(b.Position)
	if n.lost(s.shard) {
		fence = lostFence
	}
	s.sink.Send(s.shard.withOffset(b, fence))
}

// sendNumbered queues a message of the log for members, some of which get
// offsets, and returns how many got it.
func (sh *Shard) sendNumbered(members []*Socket, b *Broadcast) (sent int) {
	for i := range members {
		s := members[i]
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
// once for consecutive members of this shard with the same fence, in all rooms
// of the event; most members have no fence.
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
		PID: n.pid.String(), ID: s.ID(), User: s.UserID(), Token: s.tokenID, Issued: s.issued, Node: sh.hub.nodeName(), Moves: n.moves(),
		Log: sh.identity, Fence: n.fence(),
		Rooms: make([]RoomFrom, 0, s.rooms.len()),
	}
	n.rebase(s)
	for i, m := range s.rooms.all() {
		if !m.room.own {
			r.Rooms = append(r.Rooms, RoomFrom{Name: m.room.name, From: n.join(i).position()})
		}
	}
	return r
}

// ended returns the record of a session whose connection has ended.
func (s *Socket) ended(left bool) *Record {
	r, m := s.record(), s.session.more
	r.Ended, r.Left, r.At = true, left, time.UnixMilli(m.at)
	r.Given, r.Last = m.given, s.session.last.position()
	r.Orphan = m.saves > 0
	return r
}

// lost reports whether the session cannot be recovered: events for it were
// lost, or it was absent when the log was replaced. 65,536 losses during one
// session count as none.
func (n *session) lost(sh *Shard) bool {
	return n.gaps != uint16(sh.gaps) || n.absent() && n.log != uint8(sh.log)
}

// saveSession stores the session's rooms where other nodes find them.
func (s *Socket) saveSession() { s.save(nil) }

func (s *Socket) save(done func(saved bool)) {
	remote := s.shard.hub.config.Recovery.Remote
	switch {
	case s.session == nil || s.phase != phaseConnected || remote == nil:
	case s.session.lost(s.shard):
		remote.Forget(s.session.pid.String(), s.session.moves())
	default:
		remote.Save(s.session.pid.String(), AppendRecord(nil, s.record()), openRecordFor, done)
		return
	}
	if done != nil {
		done(true)
	}
}

// whenSaved stores the session's rooms where other nodes find them, and then
// calls tell, unless the client has gone. So the state that a client is sent
// survives the death of this node. If Redis does not accept the record in time,
// the client first gets another fence, with which it is not recovered from an
// older record.
func (s *Socket) whenSaved(now time.Time, tell func()) {
	if s.session == nil {
		tell()
		return
	}
	id, n := s.id, s.session
	n.beside().saves++
	consult(s.shard, now, s.save, func(saved bool, _ time.Time) {
		gone := !s.connectedAs(id)
		if !gone || saved { // if not, the node that takes the session gives it another fence
			n.more.saves--
			n.tidy()
		}
		if gone {
			return
		}
		if !saved {
			n.beside().fence = newFence()
			s.tellFence()
			s.saveSession()
		}
		tell()
	})
}

// tellFence sends the client an event with its session's fence: a client takes
// the last argument of each event for its offset if it is a string.
func (s *Socket) tellFence() {
	sh, n := s.shard, s.session
	if sh.identity == "" {
		return // without a log the session cannot be recovered
	}
	n.rebase(s)
	last := max(n.last.position(), s.Position())
	n.last.set(last)
	b := codec.AppendOffset(append(sh.buf[:0], `42["`+eventRecoveryState+`",{},"`...), sh.identity, last, n.fence())
	s.sendPacket(append(b, `"]`...))
}

// forgetSession ends a session; its client cannot come back to it.
func (s *Socket) forgetSession() {
	if s.session == nil || s.session.gone {
		return
	}
	s.session.gone = true
	s.shard.hub.sessions.close(s.session.pid, s)
	if remote := s.shard.hub.config.Recovery.Remote; remote != nil {
		remote.Forget(s.session.pid.String(), s.session.moves())
	}
}

func (h *Hub) nodeName() string {
	if h.config.Recovery.Remote == nil {
		return ""
	}
	return h.config.Recovery.Remote.Node()
}
