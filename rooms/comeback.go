package rooms

import (
	"errors"
	"time"
)

// A comeback is a client's return to its session. The socket's phase says how
// far it is:
//
//	phaseTaking     the record is taken from whoever has it
//	phaseAsking     each of its rooms is asked for again
//	phaseReplaying  the socket is in the rooms, and what comes for it is held;
//	                the history is read
//	phaseConnected  CONNECT was answered, then came what was missed, then what
//	                was held
//
// Whatever goes wrong before the answer makes the client a new one, with a
// reason. When the client comes once more meanwhile, to this node or another
// one, that return gets the session from this one, which ends: see yield. Owned
// by the socket's event loop.
type comeback struct {
	socket *Socket
	id     Identity
	auth   auth
	pid    pid

	sink   Sink // of the socket, which has another one while it is in the rooms
	record *Record
	from   *Socket     // that had the session on this node; nil: none
	heir   func(taken) // gets the record when it comes; nil: this return does
	fate   fate
	asked  int // rooms without an answer
	why    RecoveryResult

	revoked []string // rooms that it may not be in any more
	rooms   []RoomFrom
	given   uint64

	held     []Numbered
	heldSize int
	full     bool // more came than is held
}

// A fate is the outcome of a return.
type fate uint8

const (
	underWay fate = iota // or its connection has ended while the record was taken
	goesBack             // the session is on its way back to the socket that had it
	over
)

// comeback returns the return under way, nil if there is none.
func (s *Socket) comeback() *comeback {
	if s.aside == nil {
		return nil
	}
	return s.aside.comeback
}

// comeBack begins the return of a client whose token was verified.
func (s *Socket) comeBack(id Identity, a auth, now time.Time) {
	c := &comeback{socket: s, id: id, auth: a}
	if s.aside == nil {
		s.aside = &aside{}
	}
	s.aside.comeback = c
	s.phase = phaseTaking
	hub := s.shard.hub
	var ok bool
	if c.pid, ok = parsePID(a.pid); !ok || hub.config.Recovery.History == nil || id.UserID == "" {
		c.fail(RecoveryUnknown, now)
		return
	}
	hub.config.Recovery.History.Wanted() // a node that has just started keeps nothing yet
	consult(s.shard, now, func(done func(taken)) { hub.takeSession(c, now, done) }, c.take)
}

// take continues the return with the record of the session.
func (c *comeback) take(t taken, now time.Time) {
	hub := c.socket.shard.hub
	if c.heir != nil {
		c.end()
		c.heir(t)
		return
	}
	c.record, c.from = t.record, t.from
	switch {
	case c.socket.comeback() != c: // its connection has ended meanwhile
		c.putBack()
	case t.why != RecoveryDone:
		c.fail(t.why, now)
	case c.record.User != c.id.UserID:
		c.putBack()
		c.record = nil // the session is not over
		c.fail(RecoveryOtherUser, now)
	case c.record.Ended && now.Sub(c.record.At) > hub.config.Recovery.Window:
		c.fail(RecoveryWindow, now)
	default:
		c.claim()
		c.begin(now)
	}
}

// maxAhead limits by how many events a client's offset may be ahead of this
// node. Such an offset is believed if the node that issued it is dead.
const maxAhead = 1 << 20

// begin determines from which position to replay, and asks the Authorizer for
// each room.
func (c *comeback) begin(now time.Time) {
	s := c.socket
	here := c.record.Node == s.shard.hub.nodeName()
	rooms, given, why := c.record.starts(s.shard.identity, c.auth.offset, here)
	if why != RecoveryDone {
		c.fail(why, now)
		return
	}
	if given > s.shard.Position()+maxAhead {
		c.fail(RecoveryOffset, now)
		return
	}
	id, ok := parsePublicID(c.record.ID)
	if !ok {
		c.fail(RecoveryUnknown, now)
		return
	}
	c.given = given
	s.phase = phaseAsking
	s.setUser(c.id.UserID)
	s.id = id
	s.take(c.id, now)
	if s.shard.hub.config.Authorizer == nil {
		c.rooms = rooms
		c.enter(now)
		return
	}
	c.asked = 1 // not before all were asked
	for _, room := range rooms {
		if !OfClients(room.Name) {
			c.rooms = append(c.rooms, room)
			continue
		}
		c.asked++
		s.authorize(room.Name, now, func(err error, now time.Time) { c.answer(room, err, now) })
	}
	c.answered(now)
}

// answer takes the Authorizer's answer about a room.
func (c *comeback) answer(room RoomFrom, err error, now time.Time) {
	switch {
	case err == nil:
		c.rooms = append(c.rooms, room)
	case errors.Is(err, ErrNotAllowed):
		c.revoked = append(c.revoked, room.Name)
	default:
		c.why = RecoveryPolicy
	}
	c.answered(now)
}

func (c *comeback) answered(now time.Time) {
	if c.asked--; c.asked > 0 || c.socket.comeback() != c {
		return
	}
	if c.why != RecoveryDone {
		c.fail(c.why, now)
		return
	}
	c.enter(now)
}

// enter makes the socket a member of its rooms. The other members are not
// notified, and messages that arrive from here on are held. An order that
// arrived before this turn did not find the socket, so the token is checked
// again.
func (c *comeback) enter(now time.Time) {
	s := c.socket
	sh := s.shard
	if sh.hub.revoked(c.id, now) != nil {
		c.fail(RecoveryOrder, now)
		return
	}
	c.sink, s.sink = s.sink, nobody{}
	s.phase = phaseReplaying
	s.session = newSession(c.pid, sh)
	m := s.session.beside()
	m.moves = c.record.Moves
	if m.hold, m.fence = c, c.record.Fence; c.record.Orphan {
		m.fence = newFence()
	}
	log, own := sh.log, s.user.name
	sh.joinOwn(s)
	for _, room := range c.rooms {
		// If the session was on this node, its places in the rooms are still
		// counted.
		if c.from == nil && OfClients(room.Name) && s.mayJoin(len(room.Name), now) != nil {
			c.fail(RecoveryLimits, now)
			return
		}
		r, _ := sh.join(s, []byte(room.Name), OfClients(room.Name))
		if r.name == own {
			s.user = r.nodeRoom
		}
	}
	c.rejoin()
	settings := &sh.hub.config.Recovery
	q := Question{
		Log: c.record.Log, Rooms: c.rooms, Here: c.record.Node == sh.hub.nodeName(),
		Since: c.since(), Began: c.began(), User: c.record.User, Token: c.record.Token, Issued: c.record.Issued,
		MaxEvents: settings.MaxEvents, MaxBytes: settings.MaxBytes,
	}
	consult(sh, now, func(done func(Missed)) { settings.History.Missed(q, done) }, func(m Missed, now time.Time) {
		switch {
		case s.comeback() != c:
		case m.Result != RecoveryDone:
			c.fail(m.Result, now)
		case c.full || c.size(&m) > settings.MaxBytes:
			c.fail(RecoveryTooMuch, now)
		case sh.log != log:
			c.fail(RecoveryOtherLog, now)
		case s.session.lost(sh):
			c.fail(RecoveryLogShort, now)
		default:
			c.finish(&m, now)
		}
	})
}

// since returns the position up to which orders have been applied to the
// session: the position up to which it was given everything, as far as that is
// known.
func (c *comeback) since() uint64 {
	if c.record.Ended {
		return c.record.Given
	}
	return max(c.given, c.began()) // the socket was there when it joined its user's room
}

// began returns the position at which the session joined its user's room.
func (c *comeback) began() uint64 {
	for _, room := range c.record.Rooms {
		if room.Name == UserRoom(c.record.User) {
			return room.From
		}
	}
	return 0
}

// rejoin sets the positions at which the socket joined its rooms to those of
// the session. If the connection ends before the first event is sent, the next
// return then brings everything that was missed.
func (c *comeback) rejoin() {
	n := c.socket.session
	for i, m := range c.socket.rooms.all() {
		for _, room := range c.record.Rooms {
			if room.Name == m.room.name {
				n.join(i).set(room.From)
				break
			}
		}
	}
}

// keep holds an event while the client's history is being read.
func (c *comeback) keep(b *Broadcast) {
	settings := &c.socket.shard.hub.config.Recovery
	if b.Message.Volatile || c.full {
		return
	}
	if c.heldSize += b.Message.Size(); len(c.held) >= settings.MaxEvents || c.heldSize > settings.MaxBytes {
		c.full, c.held = true, nil
		return
	}
	c.held = append(c.held, Numbered{b.Position, b.Message})
}

// size returns how many bytes a return sends.
func (c *comeback) size(m *Missed) int {
	size := 0
	for i := range m.Events {
		size += m.Events[i].Message.Size()
	}
	for i := range c.held {
		if c.held[i].Position > m.Through {
			size += c.held[i].Message.Size()
		}
	}
	return size
}

// finish answers CONNECT and sends what was missed.
func (c *comeback) finish(m *Missed, now time.Time) {
	s := c.socket
	sh := s.shard
	s.phase, s.sink, s.aside, s.until = phaseConnected, c.sink, nil, 0
	n := s.session
	n.more.hold = nil
	n.tidy()
	n.last.set(min(c.record.Last, c.given)) // that the client has, unless there is more
	sh.stats.Sockets.Add(1)
	sh.stats.Connects.Add(1)
	sh.hub.sessions.open(s)
	if sink, ok := s.sink.(Replayer); ok {
		sink.Replay()
	}
	s.sendAnswer()
	for _, name := range c.revoked {
		s.sendRevoked(name, ErrNotAllowed.Error())
	}
	floor := max(m.Through, c.given)
	for i := range m.Events {
		c.send(&m.Events[i])
	}
	for i := range c.held {
		if c.held[i].Position > floor {
			c.send(&c.held[i])
		}
	}
	s.raise(max(floor, s.floor()))
	if c.record.Orphan {
		s.tellFence()
	}
	c.tellState(now)
	c.dissolveOthers() // behind the counting
	s.startExpiry(&c.id, now)
	s.saveSession()
	c.end()
	c.report(RecoveryDone, len(m.Events)+len(c.held))
	c.noteReturn(RecoveryDone, floor, len(m.Events)+len(c.held), now)
}

func (c *comeback) send(e *Numbered) {
	s := c.socket
	s.session.last.set(e.Position)
	s.sink.Send(e.Message.WithOffset(s.shard.identity, e.Position, s.session.fence()))
}

// dissolveOthers removes from their rooms the sockets that had the session
// before, here or on another node.
func (c *comeback) dissolveOthers() {
	hub := c.socket.shard.hub
	switch {
	case c.from != nil:
		from := c.from
		from.shard.Post(func(now time.Time) { from.dissolve(now) })
	case hub.config.Recovery.Remote != nil && c.record.Node != hub.nodeName():
		hub.config.Recovery.Remote.Dissolve(c.record.PID, c.record.Node)
	}
}

// tellState sends the client the state of its rooms. If the other members were
// sent user_left, they are sent user_joined.
func (c *comeback) tellState(now time.Time) {
	s := c.socket
	for _, m := range s.rooms.all() {
		if !m.room.announce {
			continue
		}
		s.sendPacket(s.appendRoomState(s.shard.buf[:0], m.room.name, c.others()))
		if c.record.Left {
			s.announce(m.room, eventUserJoined, 0, now)
		}
	}
}

// others returns how many members of each room are about to leave it silently.
// They are still counted in it.
func (c *comeback) others() int {
	if c.record.Left {
		return 0
	}
	return 1
}

// fail ends the return: the client becomes a new one, or is refused if its
// token was revoked after it was verified. Nobody can come back to the session
// any more.
func (c *comeback) fail(why RecoveryResult, now time.Time) {
	s := c.socket
	c.undo(now)
	if remote := s.shard.hub.config.Recovery.Remote; remote != nil && c.record != nil {
		remote.Forget(c.record.PID, c.record.Moves)
	}
	if c.fate == underWay {
		c.end()
	}
	c.report(why, 0)
	s.phase = phaseOpen
	if err := s.shard.hub.revoked(c.id, now); err != nil {
		s.reject(err)
		s.sink.Wake() // the deadline is back
		return
	}
	s.connect(c.id, true, now)
	c.noteReturn(why, 0, 0, now)
}

// endComeback ends a return under way, and makes the client a new one. It
// reports whether the socket is in its rooms now, connected or absent.
func (s *Socket) endComeback(why RecoveryResult, now time.Time) bool {
	if c := s.comeback(); c != nil {
		c.fail(why, now)
	}
	return s.phase == phaseConnected || s.phase == phaseAbsent
}

// undo reverts what the return has changed.
func (c *comeback) undo(now time.Time) {
	s := c.socket
	for s.rooms.len() > 0 {
		s.shard.leave(s, s.rooms.len()-1, now)
	}
	if c.sink != nil {
		s.sink = c.sink
	}
	s.aside.comeback = nil
	s.session, s.id, s.user, s.claims = nil, publicID{}, nil, nil
	s.tokenID, s.issued = 0, 0
}

// abandon ends a return whose connection has ended. The session is kept for the
// next return.
func (c *comeback) abandon(now time.Time) {
	taking := c.socket.phase == phaseTaking
	c.undo(now)
	if !taking { // else take puts it back
		c.putBack()
	}
}

func (c *comeback) report(why RecoveryResult, events int) {
	hub := c.socket.shard.hub
	hub.recoveries[why].Add(1)
	if hub.config.Recovery.Report == nil {
		return
	}
	r := Return{Result: why, User: c.id.UserID, Offset: c.auth.offset, Events: events}
	if c.record != nil {
		r.Socket = c.record.ID
	}
	hub.config.Recovery.Report(r)
}
