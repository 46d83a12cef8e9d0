package rooms

import (
	"errors"
	"time"

	"github.com/hometrip/gateway/codec"
)

// noDeadline is what Deadline returns if nothing is due.
var noDeadline time.Time

// phase is where a socket is in its life.
type phase uint8

const (
	phaseOpen      phase = iota // Engine.IO is open, no CONNECT yet
	phaseVerifying              // CONNECT received, the token is being verified
	phaseTaking                 // the record of the client's former session is being taken
	phaseAsking                 // the Authorizer is asked for the rooms of that session
	phaseReplaying              // in these rooms; the history is being read
	phaseConnected              // in its user room
	phaseAbsent                 // without a connection, but in its rooms until the grace is over
	phaseClosed                 // Closed was called, or is about to be
)

// A Socket is one client's presence in the namespace "/": a Socket.IO session
// on an Engine.IO one. Owned by its shard's event loop.
type Socket struct {
	shard *Shard
	sink  Sink

	id     publicID // zero until connected
	phase  phase
	warned bool   // token_expiring_soon was sent
	lead   uint16 // how long before the token's end it is to be sent, in leadUnit
	issued uint32 // when the token was, Unix s; 0 when it does not say
	events Throttle

	// given is a position in the log of the services' events: nothing at or
	// below it is given to the socket. It is set where the shard's own position
	// does not tell: see floor. The bits above givenBits say of which log it is,
	// as Shard.log counts.
	given uint64

	user *nodeRoom // the user's room; nil: the socket has no user

	// until is the monotonic time, in ns, by which CONNECT must have come; when
	// connected the Unix time, in ms, at which the token ends. 0: never.
	until int64

	rooms  list[membership]
	claims *claims // nil unless somebody decides on rooms

	tokenID uint64 // hash of the token's id; 0 when it has none

	aside *aside // nil most of the time

	session *session // nil unless the client asked for recovery
}

// givenBits are those of a position in a log: a million a second for 2,000 years.
const givenBits = 56

// claims are the parts of a token beside the user, for the Authorizer.
type claims struct {
	email, role string
	rooms       []string // nil when it names none
}

// aside holds what a socket needs only for a while.
type aside struct {
	token    string    // from the handshake, until it has connected
	asks     bool      // the handshake asked for recovery; until it has connected
	assembly *assembly // while attachments are awaited
	comeback *comeback // while a client comes back
}

// An assembly is a packet waiting for its attachments.
type assembly struct {
	packet      []byte
	attachments [][]byte
	want        int
	size        int // bytes so far
}

// Open makes the socket of a new Engine.IO session. token is what came in the
// handshake's Authorization header, "" if nothing did.
func (sh *Shard) Open(sink Sink, token string, now time.Time) *Socket {
	s := &Socket{shard: sh, sink: sink}
	if token != "" {
		s.aside = &aside{token: token}
	}
	s.awaitConnect(now)
	return s
}

// awaitConnect starts the time a client has to send CONNECT.
func (s *Socket) awaitConnect(now time.Time) {
	s.phase, s.until = phaseOpen, 0
	if t := s.shard.hub.config.ConnectTimeout; t > 0 {
		s.until = int64(Monotonic(now) + t)
	}
}

// Text handles the content of an Engine.IO text message.
func (s *Socket) Text(b []byte, now time.Time) {
	if s.phase == phaseClosed {
		return
	}
	if s.aside != nil && s.aside.assembly != nil { // Socket.IO protocol: attachments follow their packet at once
		s.close(ReasonParseError)
		return
	}
	p, err := codec.ParseSocketPacket(b)
	if err != nil {
		s.close(reasonOf(err))
		return
	}
	if p.Attachments > 0 {
		if s.aside == nil {
			s.aside = &aside{}
		}
		s.aside.assembly = &assembly{packet: append([]byte(nil), b...), want: p.Attachments, size: len(b)}
		return
	}
	s.packet(&p, nil, now)
}

// Binary handles the content of an Engine.IO binary message, which can only be
// an attachment.
func (s *Socket) Binary(b []byte, now time.Time) {
	if s.phase == phaseClosed {
		return
	}
	if s.aside == nil || s.aside.assembly == nil {
		s.close(ReasonParseError)
		return
	}
	a := s.aside.assembly
	if a.size += len(b); a.size > s.shard.hub.config.MaxPacket {
		s.close(ReasonTooLarge)
		return
	}
	a.attachments = append(a.attachments, append([]byte(nil), b...))
	if len(a.attachments) < a.want {
		return
	}
	if s.aside.assembly = nil; *s.aside == (aside{}) {
		s.aside = nil
	}
	p, err := codec.ParseSocketPacket(a.packet)
	if err != nil {
		s.close(reasonOf(err))
		return
	}
	s.packet(&p, a.attachments, now)
}

func reasonOf(err error) Reason {
	if _, ok := errors.AsType[*codec.LimitError](err); ok {
		return ReasonTooLarge
	}
	return ReasonParseError
}

// packet handles a Socket.IO packet. One that does not fit the socket's phase
// closes the session, as in Socket.IO's own server.
func (s *Socket) packet(p *codec.SocketPacket, attachments [][]byte, now time.Time) {
	switch {
	case p.Type == codec.SocketConnect && !p.IsRoot():
		s.refuse(string(p.Namespace), errNamespace.Error())
	case p.Type == codec.SocketConnect && s.phase == phaseOpen:
		s.handleConnect(p.Data, now)
	case s.phase != phaseConnected || !p.IsRoot() || p.Type == codec.SocketConnect:
		s.close(ReasonParseError)
	case p.Type == codec.SocketDisconnect:
		s.noteEnd(endClientLeft, true, now)
		s.leaveAll(now)
		s.awaitConnect(now)
		s.sink.Wake()
	case p.Type == codec.SocketEvent || p.Type == codec.SocketBinaryEvent:
		s.handleEvent(p, attachments, now)
	default:
		s.acknowledge(p.ID, p.Data, attachments)
	}
}

// Deadline is when Expire is to be called; zero means never.
func (s *Socket) Deadline() time.Time {
	switch {
	case s.until == 0:
		return noDeadline
	case s.phase < phaseConnected:
		return afterEpoch(time.Duration(s.until))
	case s.phase == phaseConnected && s.warned:
		return time.UnixMilli(s.until)
	case s.phase == phaseConnected:
		return time.UnixMilli(s.until).Add(-time.Duration(s.lead) * leadUnit)
	}
	return noDeadline
}

// Expire does what is due at now. It may be called early.
func (s *Socket) Expire(now time.Time) {
	switch {
	case s.until == 0:
	case s.phase < phaseConnected:
		if int64(Monotonic(now)) >= s.until {
			s.close(ReasonConnectTimeout)
		}
	case s.phase == phaseConnected && now.UnixMilli() >= s.until:
		s.shard.stats.TokensExpired.Add(1)
		s.endSession(reasonTokenExpired, now)
	case s.phase == phaseConnected:
		s.warnOfExpiry(now)
	}
}

// endSession sends the client session_ended with a reason and disconnects it
// from the namespace.
func (s *Socket) endSession(reason string, now time.Time) {
	s.greet() // connected is the first event in any case
	b := append(s.shard.buf[:0], `42["session_ended",{"reason":`...)
	b = codec.AppendString(b, reason)
	s.sendPacket(append(b, "}]"...))
	s.disconnect(reason, now)
}

// disconnect disconnects the client from the namespace and sends it DISCONNECT.
func (s *Socket) disconnect(reason string, now time.Time) {
	s.noteEnd(reason, true, now)
	s.leaveAll(now)
	s.sendPacket(append(s.shard.buf[:0], "41"...))
	s.awaitConnect(now)
	s.sink.Wake()
}

// Closed ends the socket. The session calls it when the connection has ended.
func (s *Socket) Closed(now time.Time) {
	switch {
	case s.phase == phaseAbsent:
		return // its connection was ended for another one
	case s.comeback() != nil:
		s.comeback().abandon(now)
	case s.phase == phaseConnected && s.session != nil:
		s.goAway(now)
		return
	case s.phase == phaseConnected:
		s.noteEnd("", true, now)
		s.leaveAll(now)
	}
	s.phase = phaseClosed
	s.aside = nil
}

// leaveAll removes a connected socket from every room. Its client cannot come
// back to it.
func (s *Socket) leaveAll(now time.Time) {
	s.forgetSession()
	s.dropGate()
	delete(s.shard.pace, s)
	for s.rooms.len() > 0 {
		s.leave(s.rooms.len()-1, now)
	}
	if s.phase == phaseAbsent {
		s.shard.stats.Absent.Add(-1)
	} else {
		s.shard.stats.Sockets.Add(-1)
	}
	s.session = nil
	s.id, s.user = publicID{}, nil
	s.claims, s.tokenID, s.issued = nil, 0, 0
	s.until, s.warned, s.lead = 0, false, 0
}

// Holds returns how many bytes the socket keeps: attachments of an incomplete
// packet, and messages that wait for the client to be greeted.
func (s *Socket) Holds() int {
	held := 0
	if g, gated := s.sink.(*gate); gated {
		held = g.size
	}
	if s.aside == nil || s.aside.assembly == nil {
		return held
	}
	return held + s.aside.assembly.size
}

// close asks for the end of the session; Closed follows.
func (s *Socket) close(reason Reason) {
	s.sink.Close(reason)
}

// in returns the slot of the socket's membership in r, or -1. A linear search:
// a client sits in a handful of rooms.
func (s *Socket) in(r *room) int {
	for i, m := range s.rooms.all() {
		if m.room == r {
			return i
		}
	}
	return -1
}

// sendPacket sends this socket one Socket.IO packet, b being its Engine.IO
// text form. b is kept as the shard's scratch buffer.
func (s *Socket) sendPacket(b []byte) {
	s.shard.buf = b
	s.sink.Send(codec.NewText(b))
}

// ID is the socket's public id, "" unless it is connected.
func (s *Socket) ID() string { return s.id.String() }

// UserID is whose socket it is, "" when nobody's.
func (s *Socket) UserID() string {
	if s.user == nil {
		return ""
	}
	return s.user.name[len(UserPrefix):]
}

// setUser sets whose socket it is before it is in the user's room.
func (s *Socket) setUser(user string) {
	if s.user = nil; user != "" {
		s.user = &nodeRoom{name: UserRoom(user)}
	}
}

// Position returns the position in the services' log up to which the socket was
// given everything that is for it.
func (s *Socket) Position() uint64 { return max(s.floor(), s.shard.Position()) }

// floor returns the position at or below which nothing is given to the socket
// any more.
func (s *Socket) floor() uint64 {
	if uint8(s.given>>givenBits) != uint8(s.shard.log) {
		return 0 // of another log
	}
	return s.given & (1<<givenBits - 1)
}

// raise sets the floor of the socket.
func (s *Socket) raise(position uint64) {
	s.given = uint64(uint8(s.shard.log))<<givenBits | position&(1<<givenBits-1)
	s.shard.floor = max(s.shard.floor, position)
}
