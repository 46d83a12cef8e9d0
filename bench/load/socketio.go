package load

import "bytes"

// dialect is the protocol spoken inside WebSocket frames.
type dialect interface {
	path() string // of the WebSocket
	upgraded(l *Loop, c *conn)
	packet(l *Loop, c *conn, p []byte)
	appendJoin(dst []byte, room int32) []byte
	appendTyping(dst []byte, room int32, ack int) []byte // ack < 0: none
	appendGoodbye(dst []byte) []byte
}

// socketIO is Engine.IO v4 with Socket.IO v5.
type socketIO struct{}

func (socketIO) path() string { return "/socket.io/?EIO=4&transport=websocket" }

func (socketIO) upgraded(l *Loop, c *conn) {
	if l.polls.has(l.indexOf(c)) {
		c.step = stepProbe
		l.emit(c, []byte("2probe"))
	}
}

func (d socketIO) packet(l *Loop, c *conn, p []byte) {
	if len(p) == 0 {
		l.problem("empty packet")
		return
	}
	switch p[0] {
	case '4':
		d.message(l, c, p)
	case '2': // ping
		l.pinged(c)
		l.emit(c, []byte("3"))
	case '0':
		if c.step == stepOpen {
			c.step = stepAuth
			l.authenticate(c)
		}
	case '3': // the probe's answer
		if c.step == stepProbe {
			l.polls.probed(l, l.indexOf(c))
		}
	case '6': // noop
	default:
		l.problem("Engine.IO packet %q", p[:min(len(p), 60)])
	}
}

func (socketIO) message(l *Loop, c *conn, p []byte) {
	if len(p) < 2 {
		l.problem("packet %q", p)
		return
	}
	switch p[1] {
	case '2':
		name := eventOf(p)
		if name == connectedEvent && c.step == stepWelcome {
			c.step = stepReady
			l.phase.connected(c)
			return
		}
		l.sessions.note(l.indexOf(c), p)
		l.phase.event(c, name, p)
	case '3':
		if !bytes.Contains(p, []byte(`"success":true`)) {
			l.problem("ack %q", p[:min(len(p), 80)])
		}
		l.phase.ack(c, p)
	case '0':
		if c.step != stepAuth {
			return
		}
		if c.step = stepWelcome; l.sessions.answered(l.indexOf(c), p) {
			c.step = stepReady // a client that was recovered gets no connected
			l.phase.connected(c)
		}
	default: // DISCONNECT, CONNECT_ERROR
		l.problem("Socket.IO packet %q", p[:min(len(p), 80)])
	}
}

// authenticate sends CONNECT with the token of c's user.
func (l *Loop) authenticate(c *conn) {
	p := append(l.minter.packet[:0], `40{"token":"`...)
	p = l.minter.appendToken(p, c.user)
	l.minter.packet = append(l.sessions.appendAuth(append(p, '"'), l.indexOf(c)), '}')
	l.emit(c, l.minter.packet)
}

func (socketIO) appendJoin(dst []byte, room int32) []byte {
	return appendRoomEvent(dst, "join_room", room, 0)
}

func (socketIO) appendTyping(dst []byte, room int32, ack int) []byte {
	return appendRoomEvent(dst, "typing", room, ack)
}

func (socketIO) appendGoodbye(dst []byte) []byte { return append(dst, "41"...) }

func appendRoomEvent(dst []byte, name string, room int32, ack int) []byte {
	dst = append(dst, "42"...)
	if ack >= 0 {
		dst = appendInt(dst, int64(ack))
	}
	dst = append(dst, `["`...)
	dst = append(dst, name...)
	dst = append(dst, `",{"roomType":"conversation","roomId":"`...)
	dst = appendRoomID(dst, room)
	return append(dst, `"}]`...)
}
