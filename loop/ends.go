package loop

import (
	"net/http"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/codec"
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
//   - A POST that comes when the session has just ended is answered with "ok":
//     python-engineio 4.3 that gets an error there never connects again. Its
//     poll tells the client.
//
// A client that has broken the protocol is told so, in a close frame or with
// 400 for its POST.

// closeCode is the code of the close frame a WebSocket client gets (RFC 6455
// section 7.4), 0 when it gets none.
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
// session ends for that reason.
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
	c.s = nil
	c.w.stats.WebSockets.Add(-1)
	if c.ending || c.c == nil {
		return // the one who set ending closes
	}
	if c.c.OutboundBuffered() > c.w.server.live().MaxPending {
		c.close()
		return
	}
	c.ending = true
	if code := closeCode(reason); code != 0 {
		c.write(codec.AppendClose(c.w.out[:0], code, ""))
	}
	if c.c != nil {
		c.await(now.Add(lingerTimeout))
		c.shutDown(now)
	}
}

// shutDown shuts the sending side of the connection down as soon as the kernel
// has taken all that was written.
func (c *wsConn) shutDown(now time.Time) {
	if c.c.OutboundBuffered() > 0 {
		c.w.wheel.arm(&c.wait.timer, c.wait, now.Add(wheelTick))
		return
	}
	_ = unix.Shutdown(c.c.Fd(), unix.SHUT_WR) // an error: the peer has closed
	c.w.wheel.arm(&c.wait.timer, c.wait, c.wait.until)
}

// departed is a session by long-polling that ended a moment ago. Owned by its
// event loop.
type departed struct {
	timer timer
	w     *worker
	sid   string
}

func (d *departed) expire(time.Time) { delete(d.w.departed, d.sid) }

// leavePolling takes a session that has ended out of the reach of HTTP.
func (s *session) leavePolling(reason rooms.Reason, now time.Time) {
	w, sid := s.w, s.poll.sid
	post := engineError(http.StatusBadRequest, codeBadRequest)
	if acceptsPost(reason) {
		post = postTaken
	}
	if post.status == http.StatusOK && reason != rooms.ReasonClientClose {
		d := &departed{w: w, sid: sid}
		w.departed[sid] = d
		w.wheel.arm(&d.timer, d, now.Add(lingerTimeout))
	}
	s.endPolling(engineError(http.StatusBadRequest, codeSID), post)
}
