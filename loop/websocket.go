package loop

import (
	"bytes"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

// A wsConn is one TCP connection that has become a WebSocket: 64 bytes while it
// is idle. Owned by its event loop.
type wsConn struct {
	c    gnet.Conn // nil once closed
	s    *session  // nil once it has ended
	more *wsMore   // what few connections need; there is one if s is nil

	fd     int32  // for rawWrite; 0: write by way of gnet only
	need   int32  // bytes that must be there before parsing goes on
	ending bool   // our close frame is out
	paused bool   // more frames may be waiting; see resume
	since  uint32 // when the session began, Unix s; 0: not known
	input  rooms.Throttle
	place  limits.Source // whose place the connection has reserved
}

// wsMore is what a WebSocket needs now and then.
type wsMore struct {
	w       *worker   // the connection's
	ping    *[]byte   // payload of a ping to be answered; nil if there is none
	partial *partial  // a message whose last fragment has not come
	wait    *deadline // for the upgrade, or for the peer to close
}

// worker returns the worker of the connection's event loop.
func (c *wsConn) worker() *worker {
	if c.s != nil {
		return c.s.w
	}
	return c.more.w
}

// beside returns c.more, for changes.
func (c *wsConn) beside() *wsMore {
	if c.more == nil {
		c.more = &wsMore{w: c.s.w}
	}
	return c.more
}

// tidy releases c.more when nothing is in it any more.
func (c *wsConn) tidy() {
	if c.s != nil && *c.more == (wsMore{w: c.more.w}) {
		c.more = nil
	}
}

// partial returns the part of a message that has arrived; nil: there is none.
func (c *wsConn) partial() *partial {
	if c.more == nil {
		return nil
	}
	return c.more.partial
}

// pinged reports whether a ping is to be answered.
func (c *wsConn) pinged() bool { return c.more != nil && c.more.ping != nil }

// partial is the part of a fragmented message that has arrived.
type partial struct {
	op   ws.OpCode
	data []byte
}

// A deadline closes a WebSocket whose client does not do something in time.
// Idle WebSockets have none: their session's heartbeat checks them.
type deadline struct {
	timer wheel.Timer // first, see newWheel
	ws    *wsConn
	until time.Time
}

func (d *deadline) Expire(now time.Time) {
	if d.ws.ending && now.Before(d.until) {
		d.ws.shutDown(now)
		return
	}
	d.ws.close()
}

// probing reports whether the WebSocket is not its session's transport yet: the
// upgrade is under way.
func (c *wsConn) probing() bool { return c.s != nil && c.s.poll != nil && c.s.poll.probe == c }

// becomeWebSocket answers the handshake with 101 and extra frames, and takes
// over the connection.
func (h *httpConn) becomeWebSocket(head *codec.Head, s *session, extra func(b []byte) []byte) *wsConn {
	c := h.c
	conn := &wsConn{c: c, s: s, fd: int32(c.Fd()), place: h.from.Place}
	if s == nil {
		conn.more = &wsMore{w: h.w}
	}
	h.exchange, h.c, h.from.Place = nil, nil, 0
	h.w.wheel.Disarm(&h.timer)
	c.SetContext(conn)
	slim(c)
	b := codec.AppendSwitching(h.w.out[:0], head)
	if extra != nil {
		b = extra(b)
	}
	h.w.out = b
	conn.write(b)
	return conn
}

// inherit handles what the handshake left in the input: frames of a client that
// did not wait for the answer.
func (c *wsConn) inherit(conn gnet.Conn, handshake int, now time.Time) {
	if c.c == nil {
		return
	}
	_, _ = conn.Discard(handshake)
	if conn.InboundBuffered() > 0 && c.traffic(now) == gnet.Close {
		c.close()
	}
}

// openWebSocket opens a session whose only transport is this WebSocket.
func (h *httpConn) openWebSocket(head *codec.Head, now time.Time) {
	w := h.w
	s := newSession(w, head, now)
	w.stats.HandshakesWS.Add(1)
	w.body = w.appendOpen(w.body[:0], newSID(w.index), false)
	conn := h.becomeWebSocket(head, s, func(b []byte) []byte {
		b = codec.AppendFrameHeader(b, ws.OpText, len(w.body))
		return append(b, w.body...)
	})
	if conn.c == nil {
		return // reset while it was being answered; the session has ended
	}
	conn.since = unixSeconds(now)
	s.ws = conn
	w.stats.WebSockets.Add(1)
}

// openProbe begins the upgrade of a polling session to a WebSocket.
func (h *httpConn) openProbe(x *exchange, head *codec.Head, sid string, now time.Time) {
	s := h.w.bySID[sid]
	switch {
	case s == nil:
		x.reply(h.w, engineError(http.StatusBadRequest, codeSID))
		return
	case s.poll.probe != nil:
		x.reply(h.w, engineError(http.StatusBadRequest, codeBadRequest))
		return
	case h.from.Relayed && !h.takePlace(h.w.server.guard.Source(&h.from, head)):
		x.reply(h.w, unavailable)
		return
	}
	conn := h.becomeWebSocket(head, nil, nil)
	if conn.c == nil {
		return
	}
	conn.s, s.poll.probe = s, conn
	conn.await(now.Add(upgradeTimeout))
}

// await sets the time at which the WebSocket is closed.
func (c *wsConn) await(until time.Time) {
	m := c.beside()
	if m.wait == nil {
		m.wait = &deadline{ws: c}
	}
	m.wait.until = until
	m.w.wheel.Arm(&m.wait.timer, timerDeadline, until)
}

// traffic is called when bytes have arrived. It handles the complete frames, up
// to inputBatch of them.
func (c *wsConn) traffic(now time.Time) gnet.Action {
	waiting := c.c.InboundBuffered()
	if c.paused {
		if waiting > 2*c.worker().server.config.MaxPayload+readBuffer {
			c.fail(&codec.LimitError{Layer: codec.LayerWebSocket, What: "bytes ahead of their time", Got: waiting, Max: 2 * c.worker().server.config.MaxPayload}, now)
		}
		c.worker().countHeld(c, c.holds())
		return gnet.None
	}
	if waiting < int(c.need) {
		c.worker().countHeld(c, c.holds())
		return gnet.None // the rest of a large frame; looking would copy it
	}
	buf, err := c.c.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	c.need = 0
	done := 0
	for frames := 0; c.c != nil; frames++ {
		if (frames == inputBatch || c.worker().turns.pressed) && done < len(buf) {
			c.paused = true
			c.worker().pause(c)
			break
		}
		n, err := c.next(buf[done:], now)
		if err != nil {
			c.fail(err, now)
			break
		}
		if n == 0 {
			break
		}
		done += n
	}
	if c.c != nil && done > 0 { // Discard(0) would drop everything
		_, _ = c.c.Discard(done)
	}
	if c.c != nil && c.unfinished() {
		c.worker().countHeld(c, c.holds())
	}
	return gnet.None
}

// unfinished reports whether an incomplete message has arrived.
func (c *wsConn) unfinished() bool {
	return c.need > 0 || c.partial() != nil || c.s != nil && c.s.peer.Holds() > 0
}

// resume continues with the rest of the input.
func (c *wsConn) resume(now time.Time) {
	c.paused = false
	if c.c != nil && c.traffic(now) == gnet.Close {
		c.close()
	}
}

// next takes the frame at the start of b; n is 0 when it is not complete.
func (c *wsConn) next(b []byte, now time.Time) (n int, err error) {
	h, n, err := codec.ParseFrameHeader(b)
	if err != nil || n == 0 {
		return 0, err
	}
	state := ws.StateServerSide
	size := 0
	if p := c.partial(); p != nil {
		state |= ws.StateFragmented
		size = len(p.data)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return 0, err
	}
	if limit := c.worker().server.config.MaxPayload; h.Length > int64(limit-size) {
		return 0, &codec.LimitError{Layer: codec.LayerWebSocket, What: "message bytes", Got: size + int(min(h.Length, 1<<40)), Max: limit}
	}
	length := int(h.Length)
	if len(b) < n+length {
		c.need = int32(n + length)
		return 0, nil
	}
	payload := b[n : n+length]
	ws.Cipher(payload, h.Mask, 0)
	c.worker().stats.FramesIn.Add(1)
	c.worker().stats.BytesIn.Add(int64(n + length))
	if c.input.Take(c.worker().server.live().Bytes, n+length, now) > 1 {
		return 0, errTooFast
	}
	return n + length, c.frame(h, payload, now)
}

var (
	errUTF8    = errors.New("websocket: text is not UTF-8")
	errTooFast = errors.New("websocket: too many bytes a second")
)

// frame handles one frame by its opcode.
func (c *wsConn) frame(h ws.Header, payload []byte, now time.Time) error {
	switch {
	case h.OpCode == ws.OpClose:
		c.handleClose(payload, now)
	case c.s == nil && !c.ending: // "5" for a session that has ended meanwhile
		c.hangUp(now)
	case c.s == nil || c.s.phase != phaseOpen && !c.probing():
		// The session is ending. Only a close frame still matters, or "5":
		// what is pending is then written here.
	case h.OpCode == ws.OpPing:
		// RFC 6455 section 5.5.3: answering the last of several pings is
		// enough, so a flood of them costs no more than one.
		ping := bytes.Clone(payload)
		c.beside().ping = &ping
		c.s.touch()
	case h.OpCode == ws.OpPong:
	case !h.Fin || h.OpCode == ws.OpContinuation:
		return c.fragment(h, payload, now)
	default:
		return c.message(h.OpCode, payload, now)
	}
	return nil
}

func (c *wsConn) fragment(h ws.Header, payload []byte, now time.Time) error {
	m := c.beside()
	if m.partial == nil {
		m.partial = &partial{op: h.OpCode}
	}
	p := m.partial
	p.data = append(p.data, payload...)
	if !h.Fin {
		return nil
	}
	m.partial = nil
	c.tidy()
	return c.message(p.op, p.data, now)
}

func (c *wsConn) message(op ws.OpCode, content []byte, now time.Time) error {
	switch {
	case op == ws.OpText && !utf8.Valid(content):
		return errUTF8
	case c.probing():
		c.probe(op, content)
	case op == ws.OpText:
		c.s.packet(content, now)
	default:
		c.s.binary(content, now)
	}
	return nil
}

// probe handles the two packets of an upgrade: "2probe", which is answered with
// "3probe" as soon as no poll delays the upgrade, and "5", after which the
// session uses the WebSocket.
func (c *wsConn) probe(op ws.OpCode, content []byte) {
	s := c.s
	switch {
	case op == ws.OpText && string(content) == "2probe" && !s.poll.probed:
		c.writeFrame("3probe")
		if c.c == nil {
			return
		}
		s.poll.probed = true
		if s.poll.parked != nil {
			s.answerPoll()
		}
	case op == ws.OpText && string(content) == "5" && s.poll.probed:
		c.upgrade()
	default:
		c.close()
	}
}

// upgrade makes the probing WebSocket the session's transport. All packets
// posted before have been handled, and what is pending goes over the WebSocket;
// both happen on this loop, in order.
func (c *wsConn) upgrade() {
	s := c.s
	s.w.wheel.Disarm(&c.more.wait.timer)
	c.more.wait, c.since = nil, s.poll.since
	c.tidy()
	s.poll.probe = nil
	s.endPolling(reply{status: http.StatusOK, contentType: contentText, body: noopPacket}, postTaken)
	s.ws = c
	if !c.writable() {
		c.worker().block(s)
	}
	c.worker().stats.Upgrades.Add(1)
	c.worker().stats.WebSockets.Add(1)
	s.touch()
}

// handleClose answers a close frame and closes (RFC 6455 section 5.5.1).
func (c *wsConn) handleClose(payload []byte, now time.Time) {
	if !c.ending {
		c.ending = true
		c.write(codec.AppendClose(c.worker().out[:0], codec.ParseClose(payload), ""))
	}
	if s := c.s; s != nil && !c.probing() {
		s.end(rooms.ReasonClientClose, now)
	}
	c.close()
}

// fail ends a WebSocket because of a protocol error of the client.
func (c *wsConn) fail(err error, now time.Time) {
	code, reason := ws.StatusProtocolError, rooms.ReasonParseError
	if _, tooLarge := errors.AsType[*codec.LimitError](err); tooLarge {
		code, reason = ws.StatusMessageTooBig, rooms.ReasonTooLarge
	} else if err == errTooFast {
		code, reason = 0, rooms.ReasonTooFast // see closeCode
	} else if err == errUTF8 {
		code = ws.StatusInvalidFramePayloadData
	}
	if !c.ending {
		c.ending = true
		if code != 0 {
			c.write(codec.AppendClose(c.worker().out[:0], code, err.Error()))
		}
	}
	if s := c.s; s != nil && !c.probing() {
		s.end(reason, now)
	}
	c.close()
}

// close closes the connection.
func (c *wsConn) close() {
	if c.c != nil {
		_ = c.worker().loop.Close(c.c)
	}
}

// closed is called by gnet, whoever closed the connection.
func (c *wsConn) closed(reason rooms.Reason, now time.Time) {
	c.c = nil
	c.worker().server.guard.Release(c.place, false)
	c.worker().countHeld(c, 0)
	if c.more != nil && c.more.wait != nil {
		c.more.w.wheel.Disarm(&c.more.wait.timer)
	}
	s := c.s
	switch {
	case s == nil:
	case c.probing():
		c.beside()
		c.s = nil
		s.poll.probe, s.poll.probed = nil, false // the session goes on polling
	default:
		s.end(reason, now)
	}
}
