package loop

import (
	"errors"
	"net/http"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/hometrip/gateway/codec"
)

// An httpConn is one TCP connection while it speaks HTTP: until it is closed,
// or becomes a WebSocket. Owned by its event loop.
type httpConn struct {
	w *worker
	c gnet.Conn // nil once closed

	exchange *exchange // the request being answered; the next one waits for it
	timer    timer     // for the head, the body, or the next request
	timeout  uint8     // what the timer is for
	served   bool      // has carried a request before
	parsing  bool      // process is on the stack
	need     int       // bytes that must be there before parsing goes on
}

// What an httpConn's timer waits for.
const (
	awaitNothing uint8 = iota
	awaitHead
	awaitBody
	awaitRequest // between two requests
)

func newHTTPConn(w *worker, c gnet.Conn, now time.Time) *httpConn {
	h := &httpConn{w: w, c: c}
	h.await(awaitHead, now.Add(w.server.config.HeadTimeout))
	return h
}

func (h *httpConn) await(what uint8, until time.Time) {
	h.timeout = what
	if what == awaitNothing {
		h.w.wheel.disarm(&h.timer)
	} else {
		h.w.wheel.arm(&h.timer, h, until)
	}
}

// expire implements timed. A client that is too slow is told so, one that
// has said nothing is just closed.
func (h *httpConn) expire(now time.Time) {
	if h.c == nil || h.timeout == awaitNothing {
		return
	}
	if h.timeout != awaitRequest && h.c.InboundBuffered() > 0 {
		h.refuse(http.StatusRequestTimeout, "request not complete in time")
		return
	}
	h.close()
}

// traffic is called when bytes have arrived.
func (h *httpConn) traffic(now time.Time) gnet.Action {
	if h.exchange != nil {
		// A request ahead of its time waits in the input buffer; more than one
		// of the largest kind is not a client.
		if h.c.InboundBuffered() > h.w.server.config.MaxHead+h.w.server.config.MaxPayload {
			return gnet.Close
		}
		return gnet.None
	}
	h.process(now)
	return gnet.None
}

// process answers the requests that are complete, one after the other.
func (h *httpConn) process(now time.Time) {
	if h.parsing {
		return
	}
	h.parsing = true
	for h.c != nil && h.exchange == nil && h.next(now) {
	}
	h.parsing = false
}

// next takes one request out of the input and reports whether it did.
func (h *httpConn) next(now time.Time) bool {
	buffered := h.c.InboundBuffered()
	if buffered == 0 || buffered < h.need {
		return false
	}
	buf, err := h.c.Peek(-1)
	if err != nil {
		h.close()
		return false
	}
	if h.timeout == awaitRequest {
		h.await(awaitHead, now.Add(h.w.server.config.HeadTimeout))
	}
	var head codec.Head
	n, err := codec.ParseHead(buf, &head)
	switch limit := h.w.server.config.MaxHead; {
	case err != nil:
		h.refuseError(err)
		return false
	case n > limit || n == 0 && buffered > limit:
		h.refuse(http.StatusRequestHeaderFieldsTooLarge, "request head too large")
		return false
	case n == 0:
		return false
	}
	body, size, ok := h.body(&head, buf, n, now)
	if !ok {
		return false
	}
	h.need = 0
	h.await(awaitNothing, now)
	c := h.c
	h.serve(&head, body, buf[:n+size], now)
	if conn, ok := c.Context().(*wsConn); ok {
		conn.inherit(c, n+size, now)
		return false
	}
	if h.c == nil {
		return false // closed meanwhile, or gone to another loop
	}
	_, _ = h.c.Discard(n + size) // n > 0: Discard(0) would drop everything
	return true
}

// body returns the request's body and its size on the wire. ok is false when
// it is not complete, or will never be taken.
func (h *httpConn) body(head *codec.Head, buf []byte, n int, now time.Time) (body []byte, size int, ok bool) {
	limit := h.w.server.config.MaxPayload
	switch {
	case head.Chunked:
		var err error
		if body, size, err = codec.ParseChunked(nil, buf[n:], limit); err != nil {
			h.refuseError(err)
			return nil, 0, false
		}
		ok = size > 0
		h.need = len(buf) + 1
	case head.ContentLength > limit:
		h.refuse(http.StatusRequestEntityTooLarge, "request body too large")
		return nil, 0, false
	default:
		size = max(head.ContentLength, 0)
		if ok = len(buf)-n >= size; ok {
			body = buf[n : n+size]
		}
		h.need = n + size
	}
	if !ok && h.timeout != awaitBody {
		h.await(awaitBody, now.Add(bodyTimeout))
		if head.Continue {
			h.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
		}
	}
	return body, size, ok && h.c != nil
}

// refuseError answers what codec could not take.
func (h *httpConn) refuseError(err error) {
	status := http.StatusBadRequest
	if _, tooLarge := errors.AsType[*codec.LimitError](err); tooLarge {
		status = http.StatusRequestEntityTooLarge
	}
	h.refuse(status, err.Error())
}

// serve hands a complete request on. whole is all its bytes. Afterwards the
// connection may be closed, at home on another loop, or a WebSocket; h.c is nil
// then.
func (h *httpConn) serve(head *codec.Head, body, whole []byte, now time.Time) {
	x := newExchange(h, head)
	h.exchange = x
	if isEnginePath(head.Path) {
		h.serveEngine(x, &request{head: head, body: body, whole: whole}, now)
	} else {
		h.w.server.admin.serve(x, whole)
	}
	h.served = true
}

func isEnginePath(path []byte) bool {
	return string(path) == enginePath || string(path) == enginePath[:len(enginePath)-1]
}

// write sends b. After it the connection may be closed.
func (h *httpConn) write(b []byte) {
	if h.c != nil {
		_, _ = h.c.Write(b) // an error has closed the connection, by way of closed
	}
}

// refuse answers a request that could not be understood, and closes.
func (h *httpConn) refuse(status int, why string) {
	x := newExchange(h, nil)
	h.exchange = x
	x.reply(h.w, jsonError(status, codeBadRequest, why))
}

// answered is called when the reply to h.exchange has been written.
func (h *httpConn) answered(keepAlive bool, now time.Time) {
	h.exchange = nil
	switch {
	case h.c == nil:
	case !keepAlive:
		h.close()
	default:
		h.await(awaitRequest, now.Add(h.w.server.config.KeepAlive))
		h.process(now)
	}
}

// close ends the connection. What the kernel has not taken by now is given up:
// it is at most one reply.
func (h *httpConn) close() {
	if h.c != nil {
		_ = h.w.loop.Close(h.c)
	}
}

// closed is called by gnet, whoever closed the connection.
func (h *httpConn) closed(now time.Time) {
	h.c = nil
	h.w.wheel.disarm(&h.timer)
	if x := h.exchange; x != nil {
		h.exchange = nil
		x.abandon(h.w, now)
	}
}
