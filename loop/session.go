package loop

import (
	"math"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

// A peer is what runs above Engine.IO on a session: a rooms.Socket. Its
// methods are called on the session's event loop.
type peer interface {
	Text(content []byte, now time.Time)
	Binary(content []byte, now time.Time)
	Deadline() time.Time
	Expire(now time.Time)
	Closed(now time.Time)
	Holds() int // bytes of an incomplete message
}

// volatileBacklog is how many pending bytes keep a session from getting
// volatile messages.
const volatileBacklog = 64 << 10

// A session is one Engine.IO session, and the rooms.Sink of its socket. It
// lives on one event loop, whichever connections its transports use, and is
// owned by that loop. An idle client costs a session, a wsConn, a rooms.Socket
// and gnet's conn; the fields are ordered so that there is no padding (96
// bytes).
type session struct {
	timer       wheel.Timer // first, see newWheel
	peer        peer
	heartbeatAt int64 // ms on the wheel: the next ping is due, or the pong overdue

	// The fields that a delivery needs, 48 bytes.

	w    *worker
	ws   *wsConn  // nil while polling
	poll *polling // nil once on WebSocket

	queue queue
	index int32 // in w.sessions

	dirty   bool // in the list of sessions to be written to
	pinged  bool // a pong is awaited
	blocked bool // the socket did not take all of the last write: one of worker.blocked
	phase   phase
	reason  rooms.Reason // why it is closing or has ended
	msgpack bool         // has sent a packet of socket.io-msgpack-parser
	replay  bool         // is sent what it missed: see mostPending
}

// A phase is how far a session is on its way to its end. It only goes up.
type phase uint8

const (
	phaseOpen    phase = iota
	phaseClosing       // takes and gets nothing more; ends once what is pending is written
	phaseEnded         // has left its rooms, its loop and its transports
)

// newSession opens a session on w, with the options in the head of its first
// request. It has no transport yet.
func newSession(w *worker, head *codec.Head, now time.Time) *session {
	token := ""
	if head != nil {
		token = bearerToken(head)
	}
	s := &session{w: w, heartbeatAt: w.wheel.MS(now.Add(w.server.config.PingInterval))}
	w.addSession(s)
	if made := w.server.config.peer; made != nil {
		s.peer = made(w, s, token, now)
	} else {
		socket := w.shard.Open(s, token, now)
		if head != nil && string(codec.QueryValue(head.Query, "recovery")) == "true" {
			socket.AskRecovery()
		}
		s.peer = socket
	}
	s.rearm(now)
	return s
}

// Send implements rooms.Sink.
func (s *session) Send(m *codec.Message) {
	if s.phase != phaseOpen {
		return
	}
	if m.Volatile && s.backlogged() {
		s.w.stats.VolatileDropped.Add(1)
		return
	}
	i := s.w.outbox.push(&s.queue, m)
	if s.blocked {
		s.w.hold(s, i)
	}
	switch limit := s.mostPending(); {
	case int(s.queue.bytes) <= limit/2:
	case s.writable():
		// The loop is behind, not the client.
		s.w.turns.pressed = true
	case int(s.queue.bytes) > limit:
		s.dropQueue()
		s.Close(rooms.ReasonSlowConsumer)
		return
	}
	s.touch()
}

// dropQueue gives up what is pending.
func (s *session) dropQueue() {
	s.w.unblock(s)
	s.w.outbox.drop(&s.queue)
}

// Replay implements rooms.Replayer.
func (s *session) Replay() { s.replay = true }

// mostPending is how many bytes may wait for the session: more for a client that
// is sent what it missed, until it has taken that.
func (s *session) mostPending() int {
	most := s.w.server.live().MaxPending
	if s.replay {
		most += s.w.server.config.MaxReplay
	}
	return most
}

// writable reports whether the next flush writes from the session's queue.
func (s *session) writable() bool {
	return s.ws != nil && (!s.blocked || s.ws.writable()) || s.poll != nil && s.poll.parked != nil
}

// backlogged reports whether the client has not yet taken what it was sent.
func (s *session) backlogged() bool {
	return s.blocked && !s.writable() || s.queue.bytes > volatileBacklog
}

// touch adds the session to the list of those to be written to. It is called
// within a callback or a turn, which looks at the list at its end.
func (s *session) touch() {
	if !s.dirty {
		s.dirty = true
		s.w.turns.touched.add(s)
	}
}

// Close implements rooms.Sink: the session ends at the end of this turn.
func (s *session) Close(reason rooms.Reason) {
	if s.phase == phaseOpen {
		s.phase, s.reason = phaseClosing, reason
		s.touch()
	}
}

// Wake implements rooms.Sink.
func (s *session) Wake() { s.rearm(time.Now()) }

// Source implements rooms.Sink.
func (s *session) Source() uint64 {
	switch {
	case s.ws != nil:
		return uint64(s.ws.place)
	case s.poll != nil:
		return uint64(s.poll.place)
	}
	return 0
}

// unixSeconds is how sessions keep when they began: with four bytes.
func unixSeconds(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0), math.MaxUint32)) }

// Describe implements rooms.Describer.
func (s *session) Describe() rooms.Connection {
	c := rooms.Connection{Transport: transportPolling, Address: limits.Source(s.Source()).String(), Reason: s.reason}
	var since uint32
	if s.ws != nil {
		c.Transport, since = transportWebSocket, s.ws.since
	} else if s.poll != nil {
		since = s.poll.since
	}
	if since != 0 {
		c.Since = time.Unix(int64(since), 0)
	}
	return c
}

// packet handles one text packet from the client, from either transport.
func (s *session) packet(b []byte, now time.Time) {
	defer s.survive()
	t, content, err := codec.ParseEnginePacket(b)
	if err != nil {
		s.Close(rooms.ReasonParseError)
		return
	}
	switch t {
	case codec.EngineMessage:
		s.peer.Text(content, now)
	case codec.EnginePong:
		s.pong(now)
	case codec.EngineClose:
		s.Close(rooms.ReasonClientClose)
	case codec.EngineOpen, codec.EngineUpgrade, codec.EngineNoop:
		// Packets of servers, or of a probe. Socket.IO's own server ignores
		// them too, and Swift's client sends a NOOP when it upgrades while a
		// POST is under way.
	default: // a ping: in version 4 only the server pings
		s.Close(rooms.ReasonParseError)
	}
}

// binary handles one binary packet from the client.
func (s *session) binary(b []byte, now time.Time) {
	defer s.survive()
	if s.peer.Holds() == 0 && isMsgpack(b) { // no attachment is awaited
		s.msgpack = true
	}
	s.peer.Binary(b, now)
}

// survive recovers a panic of a handler and ends its session only.
func (s *session) survive() {
	if r := recover(); r != nil {
		s.w.reportPanic("session", r)
		s.Close(rooms.ReasonPanic)
	}
}

func (s *session) pong(now time.Time) {
	if s.pinged {
		s.pinged = false
		s.heartbeatAt = s.w.wheel.MS(now.Add(s.w.server.config.PingInterval))
		s.rearm(now)
	}
}

// Expire implements wheel.Owner: the heartbeat, or one of the socket's deadlines.
func (s *session) Expire(now time.Time) {
	defer s.survive()
	if s.heartbeatAt <= s.w.wheel.MS(now) {
		s.heartbeat(now)
	}
	if d := s.peer.Deadline(); !d.IsZero() && !now.Before(d) {
		s.peer.Expire(now)
	}
	if s.phase == phaseOpen {
		s.rearm(now)
	}
}

func (s *session) heartbeat(now time.Time) {
	if s.pinged {
		s.Close(rooms.ReasonPingTimeout)
		return
	}
	s.pinged = true
	s.heartbeatAt = s.w.wheel.MS(now.Add(s.w.server.config.PingTimeout))
	s.Send(pingMessage)
}

// rearm sets the session's timer to its next deadline. The socket's deadlines
// are times of day, because a token's end is; the wheel's are monotonic, so
// that setting the clock does not end every session.
func (s *session) rearm(now time.Time) {
	if s.phase == phaseEnded {
		return
	}
	next := s.w.wheel.FromMS(s.heartbeatAt)
	if s.peer != nil { // nil while the peer is being made
		if d := s.peer.Deadline(); !d.IsZero() {
			if at := now.Add(d.Sub(now)); at.Before(next) {
				next = at
			}
		}
	}
	s.w.wheel.Arm(&s.timer, timerSession, next)
}

// flush writes what is pending, and ends a session that is closing.
func (s *session) flush(now time.Time) {
	defer s.survive()
	switch {
	case s.phase == phaseEnded:
		return
	case s.ws != nil:
		s.ws.flush()
		s.replay = s.replay && s.blocked
	case s.poll.parked != nil && s.hasAnswer():
		s.answerPoll()
	}
	if s.phase == phaseClosing {
		s.end(s.reason, now)
	}
}

// end ends the session: it leaves its rooms, its loop and its transports. What
// is still pending is lost.
func (s *session) end(reason rooms.Reason, now time.Time) {
	if s.phase == phaseEnded {
		return
	}
	s.phase, s.reason = phaseEnded, reason
	if s.w.server.debug() {
		s.logEnd(reason)
	}
	s.noteEnd(reason, now)
	defer s.leaveTransports(reason, now)
	defer s.w.removeSession(s)
	s.w.stats.closed(reason)
	s.w.wheel.Disarm(&s.timer)
	s.dropQueue()
	s.peer.Closed(now)
}

func (s *session) leaveTransports(reason rooms.Reason, now time.Time) {
	if s.poll != nil {
		s.leavePolling(reason, now)
	}
	if s.ws != nil {
		s.ws.end(reason, now)
	}
}

// logEnd logs the end of the session, at level debug.
func (s *session) logEnd(reason rooms.Reason) {
	transport := transportPolling
	if s.ws != nil {
		transport = transportWebSocket
	}
	var user, socket string
	if p, ok := s.peer.(*rooms.Socket); ok {
		user, socket = p.UserID(), p.ID()
	}
	s.w.server.config.Log.Debug("session ended", "reason", reason.String(), "transport", transport,
		"socket", socket, "user", user, "loop", s.w.index)
}
