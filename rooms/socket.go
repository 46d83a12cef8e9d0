package rooms

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/codec"
)

// Errors a client is told in CONNECT_ERROR. The prefix is what front ends
// match on.
var (
	errNamespace = errors.New("Invalid namespace")
	errNoToken   = errors.New("No token provided")
	errTokenType = errors.New("jwt must be a string")
	errPerUser   = errors.New("Too many connections of this user")
)

const authErrorPrefix = "Authentication error: "

// expiryWarning is how long before the token's end a client is told of it.
const expiryWarning = 5 * time.Minute

// connectsPerBurst is how many CONNECTs are worth a burst of events: a token
// costs more to verify than an event to serve, and nobody should guess.
const connectsPerBurst = 20

// noDeadline is what Deadline returns when nothing is awaited.
var noDeadline time.Time

// phase is where a socket is in its life.
type phase uint8

const (
	phaseOpen      phase = iota // Engine.IO is open, no CONNECT yet
	phaseVerifying              // CONNECT received, the token is being verified
	phaseConnected              // in its user room
	phaseClosed                 // Closed was called, or is about to be
)

// A Socket is one client's presence in the namespace "/": a Socket.IO session
// on an Engine.IO one. Owned by its shard's event loop.
type Socket struct {
	shard *Shard
	sink  Sink

	phase  phase
	warned bool // token_expiring_soon was sent
	events Throttle

	id     string // public: others see it; "" until connected
	userID string // "" for nobody

	until int64 // Unix ms: CONNECT must have come, or the token ends; 0: never

	rooms  []membership
	claims *claims // nil unless somebody decides on rooms

	tokenID uint64 // hash of the token's id; 0 when it has none
	issued  uint32 // when the token was, Unix s; 0 when it does not say

	aside *aside // nil most of the time
}

// claims are what a token says beside the user, for the Authorizer.
type claims struct {
	email, role string
	rooms       []string // nil when it names none
}

// aside holds what a socket needs only for a while.
type aside struct {
	token    string    // from the handshake, until it has connected
	assembly *assembly // while attachments are awaited
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
		s.until = now.Add(t).UnixMilli()
	}
}

// Text takes the content of an Engine.IO text message.
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

// Binary takes the content of an Engine.IO binary message, which can only be
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
	if s.aside.assembly = nil; s.aside.token == "" {
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

// packet is the dispatcher. What does not fit the socket's phase closes the
// session, as Socket.IO's own server does.
func (s *Socket) packet(p *codec.SocketPacket, attachments [][]byte, now time.Time) {
	switch {
	case p.Type == codec.SocketConnect && !p.IsRoot():
		s.refuse(string(p.Namespace), errNamespace.Error())
	case p.Type == codec.SocketConnect && s.phase == phaseOpen:
		s.handleConnect(p.Data, now)
	case s.phase != phaseConnected || !p.IsRoot() || p.Type == codec.SocketConnect:
		s.close(ReasonParseError)
	case p.Type == codec.SocketDisconnect:
		s.leaveAll(now)
		s.awaitConnect(now)
		s.sink.Wake()
	case p.Type == codec.SocketEvent || p.Type == codec.SocketBinaryEvent:
		s.handleEvent(p, attachments, now)
	}
	// What is left is an acknowledgement, and nobody here asks for one.
}

func (s *Socket) handleConnect(data []byte, now time.Time) {
	rate := s.shard.hub.config.Limits.Events
	if s.events.Take(rate, max(rate.Burst/connectsPerBurst, 1), now) > 1 {
		s.close(ReasonTooFast)
		return
	}
	token, err := s.token(data)
	if err == errNoToken && s.shard.hub.config.AllowAnonymous {
		s.connect(Identity{}, now)
		return
	}
	if err != nil {
		s.reject(err)
		return
	}
	s.phase = phaseVerifying
	s.verify(token, now, func(id Identity, err error, now time.Time) {
		if s.phase != phaseVerifying {
			return // closed meanwhile
		}
		s.phase = phaseOpen
		if err != nil {
			s.reject(err)
			s.sink.Wake() // the deadline is back
			return
		}
		s.connect(id, now)
	})
}

// token finds the token in the CONNECT packet's data, else in the handshake.
func (s *Socket) token(data []byte) (string, error) {
	var token []byte
	err := errNoToken
	for key, value, rest, ok := codec.Member(data); ok; key, value, rest, ok = codec.Member(rest) {
		if string(key) != "token" || string(value) == "null" {
			continue
		}
		if token, ok = codec.Text(value); !ok {
			return "", errTokenType
		}
	}
	if len(token) > 0 {
		return string(token), nil
	}
	if s.aside != nil && s.aside.token != "" {
		return s.aside.token, nil
	}
	return "", err
}

// verify has the token verified and calls then on the shard's event loop, at
// once when the verifier has answered before it returns.
func (s *Socket) verify(token string, now time.Time, then func(Identity, error, time.Time)) {
	auth := s.shard.hub.config.Auth
	if auth == nil {
		then(Identity{}, errors.New("invalid signature"), now)
		return
	}
	type verdict struct {
		id  Identity
		err error
	}
	consult(s.shard, now, func(done func(verdict)) {
		auth.Authenticate(token, now, func(id Identity, err error) { done(verdict{id, err}) })
	}, func(v verdict, now time.Time) { then(v.id, v.err, now) })
}

// consult puts a question to somebody who answers by calling done once, before
// ask returns or later from another goroutine, and calls then on the shard's
// event loop: at once in the first case.
func consult[T any](sh *Shard, now time.Time, ask func(done func(T)), then func(T, time.Time)) {
	c := &consultation[T]{}
	ask(func(answer T) {
		c.answer = answer
		if !c.settled.CompareAndSwap(false, true) { // ask has returned
			sh.Post(func(now time.Time) { then(c.answer, now) })
		}
	})
	if !c.settled.CompareAndSwap(false, true) { // done was called before it returned
		then(c.answer, now)
	}
}

// A consultation is a question under way. Whoever comes second, the answer or
// the return of ask, carries on.
type consultation[T any] struct {
	settled atomic.Bool
	answer  T
}

func (s *Socket) reject(err error) { s.refuse("", authErrorPrefix+err.Error()) }

// refuse sends CONNECT_ERROR. The session stays: the client may try again
// until its time to connect is up.
func (s *Socket) refuse(namespace, why string) {
	s.shard.stats.ConnectErrors.Add(1)
	b := append(s.shard.buf[:0], "44"...)
	if namespace != "" {
		b = append(append(b, namespace...), ',')
	}
	b = append(b, `{"message":`...)
	b = append(codec.AppendString(b, why), '}')
	s.sendPacket(b)
}

// connect puts the socket into the namespace and its user room.
func (s *Socket) connect(id Identity, now time.Time) {
	sh := s.shard
	if most := sh.hub.config.Limits.PerUser; most > 0 && id.UserID != "" {
		if sh.hub.occupancy.members(kindUser+":"+id.UserID) >= most {
			s.refuse("", errPerUser.Error())
			return
		}
	}
	s.phase, s.aside, s.until = phaseConnected, nil, 0
	s.id = newSocketID()
	sh.stats.Sockets.Add(1)
	sh.stats.Connects.Add(1)

	b := append(sh.buf[:0], `40{"sid":"`...)
	s.sendPacket(append(append(b, s.id...), `"}`...))
	if id.UserID == "" {
		return
	}
	r, _ := sh.join(s, sh.roomName(kindUser, []byte(id.UserID)), false)
	s.userID = r.name[len(kindUser)+1:] // shares the room's memory
	s.take(id)
	if r.known {
		s.greet()
	} else {
		sh.await(r, s, s.greet)
	}
	s.setExpiry(id.Expires, now)
}

// take keeps what a token says, but for the user.
func (s *Socket) take(id Identity) {
	s.tokenID, s.issued = s.shard.hub.tokenHash(id.TokenID), unixSeconds(id.Issued)
	if s.shard.hub.config.Authorizer != nil {
		s.claims = &claims{id.Email, id.Role, id.Rooms}
	}
}

// identity is who the socket speaks for.
func (s *Socket) identity() Identity {
	id := Identity{UserID: s.userID}
	if c := s.claims; c != nil {
		id.Email, id.Role, id.Rooms = c.email, c.role, c.rooms
	}
	return id
}

// greet tells the client that what is sent to its user reaches it.
func (s *Socket) greet() { s.sendPacket(s.appendConnected(s.shard.buf[:0])) }

// setExpiry arms the token's two deadlines, and warns at once when the end is
// near.
func (s *Socket) setExpiry(expires, now time.Time) {
	s.until, s.warned = 0, false
	if !expires.IsZero() {
		s.until = expires.UnixMilli()
		s.warnOfExpiry(now)
	}
	s.sink.Wake()
}

func (s *Socket) warnOfExpiry(now time.Time) {
	left := time.UnixMilli(s.until).Sub(now)
	if s.warned || left > expiryWarning || left <= 0 {
		return
	}
	s.warned = true
	s.sendPacket(appendExpiring(s.shard.buf[:0], left))
}

// Deadline is when Expire wants to be called; zero means never.
func (s *Socket) Deadline() time.Time {
	switch {
	case s.until == 0:
		return noDeadline
	case s.phase == phaseOpen || s.phase == phaseVerifying || s.phase == phaseConnected && s.warned:
		return time.UnixMilli(s.until)
	case s.phase == phaseConnected:
		return time.UnixMilli(s.until).Add(-expiryWarning)
	}
	return noDeadline
}

// Expire does what is due at now. It may be called early.
func (s *Socket) Expire(now time.Time) {
	over := s.until != 0 && now.UnixMilli() >= s.until
	switch {
	case (s.phase == phaseOpen || s.phase == phaseVerifying) && over:
		s.close(ReasonConnectTimeout)
	case s.phase == phaseConnected && over:
		s.shard.stats.TokensExpired.Add(1)
		s.disconnect(now)
	case s.phase == phaseConnected && s.until != 0:
		s.warnOfExpiry(now)
	}
}

// disconnect takes the client out of the namespace and tells it so.
func (s *Socket) disconnect(now time.Time) {
	s.leaveAll(now)
	s.sendPacket(append(s.shard.buf[:0], "41"...))
	s.awaitConnect(now)
	s.sink.Wake()
}

// Closed ends the socket: its session is gone.
func (s *Socket) Closed(now time.Time) {
	if s.phase == phaseConnected {
		s.leaveAll(now)
	}
	s.phase = phaseClosed
	s.aside = nil
}

// leaveAll takes a connected socket out of every room.
func (s *Socket) leaveAll(now time.Time) {
	for len(s.rooms) > 0 {
		s.leave(len(s.rooms)-1, now)
	}
	s.shard.stats.Sockets.Add(-1)
	s.id, s.userID = "", ""
	s.claims, s.tokenID, s.issued = nil, 0, 0
	s.until, s.warned = 0, false
}

// Holds is how many bytes wait here for the attachments they belong to.
func (s *Socket) Holds() int {
	if s.aside == nil || s.aside.assembly == nil {
		return 0
	}
	return s.aside.assembly.size
}

// close asks for the end of the session; Closed follows.
func (s *Socket) close(reason Reason) {
	s.sink.Close(reason)
}

// in returns the slot of the socket's membership in r, or -1. A linear search:
// a client sits in a handful of rooms.
func (s *Socket) in(r *room) int {
	for i := range s.rooms {
		if s.rooms[i].room == r {
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
func (s *Socket) ID() string { return s.id }

// UserID is whose socket it is, "" when nobody's.
func (s *Socket) UserID() string { return s.userID }

// newSocketID returns a new public id: 15 random bytes, as Socket.IO's have.
func newSocketID() string {
	var raw [15]byte
	rand.Read(raw[:]) // never fails (crypto/rand, Go 1.24)
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
