package loop

import (
	"net/http"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

// How clients learn that their session has ended. Those that are to connect
// again must notice at once, whichever client they are:
//
//   - A WebSocket is closed without a close frame. The client for Java and
//     Android (socket.io-client-java, on okhttp) does not react to that frame,
//     and okhttp reads no further once it has come, so that even the end of the
//     connection is not noticed until the ping timeout. Every client notices the
//     end of a connection that has sent no close frame.
//   - A poll gets the answer of a session that is not known, 400. The close
//     packet, which Engine.IO's own server sends, ends a client in Python for
//     good.
//   - A POST under way when the session ends is answered with "ok": python-engineio
//     4.3 that gets an error status there never connects again. Its poll tells the
//     client. One that comes just afterwards has its connection ended without an
//     answer, from which every client comes back: after "ok" python-engineio may
//     go on posting until it gets an error. A proxy would make an error of that
//     end, so through a proxy it is "ok" there too.
//   - The WebSocket of an upgrade that was answered with "3probe" stays open until
//     the client has upgraded, at most upgradeTimeout. The client for JavaScript
//     stops polling once its poll is answered; if the WebSocket ends before it
//     has sent "5" it neither polls again nor notices anything until the ping
//     timeout.
//   - On a node that drains, the connections of a client outlast its session by
//     partingTime. If they ended with it, the last POST would come by a new one to
//     the successor, which does not know the session; if they stayed, the client's
//     next session, which is the successor's, would be asked for here.
//
// A client that has broken the protocol is told so, in a close frame or with
// 400 for its POST.

// closeCode returns the code of the close frame that a WebSocket client gets
// (RFC 6455 section 7.4), 0 if it gets none.
func closeCode(reason rooms.Reason) ws.StatusCode {
	switch reason {
	case rooms.ReasonClientClose:
		return ws.StatusNormalClosure
	case rooms.ReasonParseError:
		return ws.StatusProtocolError
	case rooms.ReasonTooLarge:
		return ws.StatusMessageTooBig
	}
	return 0
}

// acceptsPost reports whether a POST under way is answered with "ok" when the
// session ends for this reason.
func acceptsPost(reason rooms.Reason) bool {
	switch reason {
	case rooms.ReasonParseError, rooms.ReasonTooLarge, rooms.ReasonPollOverlap:
		return false
	}
	return true
}

// end closes the WebSocket of a session that has ended. The peer has
// lingerTimeout to close its side: an abrupt close could overtake what the peer
// has not read yet.
func (c *wsConn) end(reason rooms.Reason, now time.Time) {
	c.beside()
	c.s = nil
	c.worker().stats.WebSockets.Add(-1)
	if c.ending || c.c == nil {
		return // whoever set ending closes the connection
	}
	if reason == rooms.ReasonSlowConsumer && !c.writable() {
		c.close()
		return
	}
	if code := closeCode(reason); code != 0 {
		c.write(codec.AppendClose(c.worker().out[:0], code, ""))
	}
	c.hangUp(now)
}

// hangUp ends our side of the connection, and all of it lingerTimeout later.
func (c *wsConn) hangUp(now time.Time) {
	c.ending = true
	if c.c != nil {
		c.await(now.Add(lingerTimeout))
		c.shutDown(now)
	}
}

// shutDown shuts the sending side of the connection down as soon as the kernel
// has taken all that was written.
func (c *wsConn) shutDown(now time.Time) {
	wait := c.more.wait
	if c.c.OutboundBuffered() > 0 {
		c.worker().wheel.Arm(&wait.timer, timerDeadline, now.Add(wheel.Tick))
		return
	}
	_ = unix.Shutdown(c.c.Fd(), unix.SHUT_WR) // an error: the peer has closed
	c.worker().wheel.Arm(&wait.timer, timerDeadline, wait.until)
}

// departed is a polling session that ended a moment ago. Owned by its event
// loop.
type departed struct {
	timer wheel.Timer // first, see newWheel
	w     *worker
	sid   string
}

func (d *departed) Expire(time.Time) { delete(d.w.departed, d.sid) }

// reply returns the reply for a request of the ended session.
func (d *departed) reply(x *exchange) reply {
	r := postTaken
	switch {
	case x.method != http.MethodPost:
		r = engineError(http.StatusBadRequest, codeSID)
	case !x.relayed:
		return reply{unanswered: true}
	}
	r.parting = true
	return r
}

// partingTime is how long the connections of a client stay open after its
// session on a draining node. Requests that cross the end of the session arrive
// within less, and clients reconnect after half a second at the earliest unless
// configured otherwise.
const partingTime = 250 * time.Millisecond

// part closes a connection that waits for its next request after partingTime,
// if the node drains. h may be nil.
func (h *httpConn) part(now time.Time) {
	if h != nil && h.c != nil && h.timeout == awaitRequest && h.w.server.draining.Load() {
		h.await(awaitRequest, now.Add(partingTime))
	}
}

// leavePolling makes an ended session unreachable for HTTP requests.
func (s *session) leavePolling(reason rooms.Reason, now time.Time) {
	w, sid := s.w, s.poll.sid
	post := engineError(http.StatusBadRequest, codeBadRequest)
	if acceptsPost(reason) {
		post = postTaken
	}
	if post.status == http.StatusOK && reason != rooms.ReasonClientClose {
		d := &departed{w: w, sid: sid}
		w.departed[sid] = d
		w.wheel.Arm(&d.timer, timerDeparted, now.Add(lingerTimeout))
	}
	s.leaveProbe(reason)
	poll := engineError(http.StatusBadRequest, codeSID)
	poll.parting, post.parting = true, true
	s.endPolling(poll, post)
}

// leaveProbe leaves the WebSocket of an upgrade open for its client, if the
// client may wait for nothing else.
func (s *session) leaveProbe(reason rooms.Reason) {
	c := s.poll.probe
	if c == nil {
		return
	}
	if c.s = nil; !s.poll.probed || reason == rooms.ReasonClientClose {
		c.close()
	}
}
