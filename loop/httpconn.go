package loop

import (
	"bytes"
	"errors"
	"net/http"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/loop/httpread"
	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/loop/wheel"
)

// An httpConn is one TCP connection while it speaks HTTP: until it is closed,
// or becomes a WebSocket. Owned by its event loop.
type httpConn struct {
	timer wheel.Timer // for the head, the body, or the next request; first, see newWheel

	w    *worker
	c    gnet.Conn // nil once closed
	from limits.Caller

	exchange *exchange // the request being answered; the next one waits for it
	batch    []job     // requests for the admin that came together
	requests httpread.Reader
	timeout  uint8     // what the timer is for
	served   bool      // has carried a request before
	giveUp   time.Time // when to stop waiting for the last reply to be written
	parsing  bool      // process is on the stack
	paused   bool      // more requests may be waiting; see resume
}

// The reasons for which an httpConn's timer is armed.
const (
	awaitNothing uint8 = iota
	awaitHead
	awaitBody
	awaitRequest // between two requests
	awaitEnd     // the last reply has been given
)

func newHTTPConn(w *worker, c gnet.Conn, from limits.Caller, now time.Time) *httpConn {
	h := &httpConn{w: w, c: c, from: from}
	c.SetContext(h) // closed counts it, whatever happens from here on
	h.await(awaitHead, now.Add(w.server.config.HeadTimeout))
	return h
}

func (h *httpConn) await(what uint8, until time.Time) {
	h.timeout = what
	if what == awaitNothing {
		h.w.wheel.Disarm(&h.timer)
	} else {
		h.w.wheel.Arm(&h.timer, timerHTTP, until)
	}
}

// Expire implements wheel.Owner. A client that sends too slowly gets 408; a
// connection without a request is closed silently.
func (h *httpConn) Expire(now time.Time) {
	switch {
	case h.c == nil || h.timeout == awaitNothing:
	case h.closing() && h.c.OutboundBuffered() > 0 && now.Before(h.giveUp):
		h.await(awaitEnd, now)
	case (h.timeout == awaitHead || h.timeout == awaitBody) && h.c.InboundBuffered()+len(h.requests.Gathered()) > 0:
		h.refuse(nil, http.StatusRequestTimeout, "request not complete in time")
	default:
		h.close()
	}
}

// traffic is called when bytes have arrived.
func (h *httpConn) traffic(now time.Time) gnet.Action {
	switch {
	case h.closing():
		_, _ = h.c.Discard(-1)
	case h.exchange != nil || h.paused:
		// Pipelined requests wait in the input buffer. A client with more bytes
		// there than one request of the largest kind has is not well-behaved.
		if h.c.InboundBuffered() > h.w.server.config.MaxHead+h.w.server.config.MaxPayload {
			return gnet.Close
		}
		h.w.countHeld(h, h.holds())
	default:
		h.process(now)
	}
	return gnet.None
}

// process answers the complete requests in the input, one after the other, up
// to requestBatch of them.
func (h *httpConn) process(now time.Time) {
	if h.parsing || h.paused || h.w.frozen {
		return
	}
	h.parsing = true
	for n := 0; h.ready() && h.next(now); {
		if len(h.batch) > 0 {
			continue // it is answered off the loop, along with those behind it
		}
		if n++; n == requestBatch {
			h.paused = true
			h.w.pause(h)
			break
		}
	}
	h.parsing = false
	if len(h.batch) > 0 {
		batch := h.batch
		h.batch = nil
		h.w.server.admin.serve(h, batch)
	}
}

// ready reports whether another request may be taken: after the last one has
// been answered, unless they are answered together, and while the client reads
// its answers.
func (h *httpConn) ready() bool {
	if h.c == nil || h.closing() || h.exchange != nil && len(h.batch) == 0 {
		return false
	}
	if h.c.OutboundBuffered() > h.w.server.live().MaxPending {
		h.close()
		return false
	}
	return true
}

// resume continues with the rest of the input.
func (h *httpConn) resume(now time.Time) {
	h.paused = false
	if h.c != nil && h.exchange == nil {
		h.process(now)
	}
}

// next takes one request out of the input and reports whether there was one.
func (h *httpConn) next(now time.Time) bool {
	limits := httpread.Limits{Head: h.w.server.config.MaxHead, Body: h.w.server.config.MaxPayload}
	for {
		buffered := h.c.InboundBuffered()
		n, ok := h.requests.Wants(buffered, limits)
		if !ok {
			return false
		}
		buf, err := h.input(n)
		if err != nil {
			h.close()
			return false
		}
		if taken, found := h.proxyHeader(buf); found {
			return taken
		}
		if h.timeout == awaitRequest {
			h.await(awaitHead, now.Add(h.w.server.config.HeadTimeout))
		}
		var head codec.Head
		if found := h.requests.Read(buf, buffered, limits, &head); found.State != httpread.Further {
			return h.take(&head, found, buf, now)
		}
	}
}

// proxyHeader looks for a header of the PROXY protocol, or a part of one, at
// the start of buf. taken is false if the connection waits for more, or is
// refused.
func (h *httpConn) proxyHeader(buf []byte) (taken, found bool) {
	if h.from.ProxyHeader {
		n, err := h.readProxyHeader(buf)
		switch {
		case err != nil:
			h.refuseError(nil, err)
			return false, true
		case n == 0:
			return false, true
		case n > 0:
			_, _ = h.c.Discard(n)
			return true, true
		}
	}
	if version := codec.ProxyVersion(buf); version > 0 && len(h.batch) == 0 {
		h.refuseProxy(version)
		return false, true
	}
	return false, false
}

// take serves the request at the start of buf if it is complete. It reports
// whether the request was removed from the input.
func (h *httpConn) take(head *codec.Head, found httpread.Found, buf []byte, now time.Time) bool {
	if len(h.batch) > 0 && !(found.State == httpread.Whole && h.joinsBatch(head)) {
		return false // it is served when the batch has been answered
	}
	switch found.State {
	case httpread.Invalid:
		h.refuseError(head, found.Err)
		return false
	case httpread.PartOfHead:
		return false
	case httpread.PartOfBody:
		h.awaitBody(head, buf, found.Size, now)
		return false
	}
	h.await(awaitNothing, now)
	if h.requests.Done() {
		h.serveGathered(head, found, buf, now)
		return false
	}
	c := h.c
	h.serve(head, found.Body, buf[:found.Size], now)
	if conn, ok := c.Context().(*wsConn); ok {
		conn.inherit(c, found.Size, now)
		return false
	}
	if h.c == nil {
		return false // closed meanwhile, or moved to another loop
	}
	_, _ = h.c.Discard(found.Size) // above 0: Discard(0) would drop everything
	return true
}

// input returns the first n bytes of the input that has not been taken, or all
// of it if it is gathered.
func (h *httpConn) input(n int) ([]byte, error) {
	if h.requests.Gathered() == nil {
		return h.c.Peek(n)
	}
	b, err := h.c.Peek(-1)
	if err != nil {
		return nil, err
	}
	h.gather(b)
	return h.requests.Gathered(), nil
}

// gather moves the input b into a buffer of the connection.
func (h *httpConn) gather(b []byte) {
	h.requests.Gather(b)
	_, _ = h.c.Discard(-1)
}

// serveGathered is serve for a gathered request at the start of buf. Input
// behind the request is dropped, so the connection is closed after the answer
// and cannot become a WebSocket. A client that sends a request slowly has to
// wait for the answer anyway.
func (h *httpConn) serveGathered(head *codec.Head, found httpread.Found, buf []byte, now time.Time) {
	head.WebSocket = false
	if found.Size < len(buf) {
		head.KeepAlive = false
	}
	h.serve(head, found.Body, buf[:found.Size], now)
}

// awaitBody waits for the rest of a body. buf begins with a head of n bytes.
func (h *httpConn) awaitBody(head *codec.Head, buf []byte, n int, now time.Time) {
	if h.requests.Await(head, n) {
		h.gather(buf)
	}
	h.w.countHeld(h, h.holds())
	if h.timeout == awaitBody {
		return
	}
	h.await(awaitBody, now.Add(bodyTimeout))
	if head.Continue {
		h.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
}

// refuseError answers what codec could not parse.
func (h *httpConn) refuseError(head *codec.Head, err error) {
	status := http.StatusBadRequest
	if err == httpread.ErrHeadTooLarge {
		status = http.StatusRequestHeaderFieldsTooLarge
		h.note(troubleHead, nil)
	} else if _, tooLarge := errors.AsType[*codec.LimitError](err); tooLarge {
		status = http.StatusRequestEntityTooLarge
		h.note(troubleBody, head)
	}
	h.refuse(head, status, err.Error())
}

// serve handles a complete request; whole is all its bytes. Afterwards the
// connection may be closed, on another loop, or a WebSocket; h.c is nil then.
func (h *httpConn) serve(head *codec.Head, body, whole []byte, now time.Time) {
	x := newExchange(h, head)
	h.exchange = x
	if isEnginePath(head.Path) {
		h.serveEngine(x, head, request{body: body, whole: whole}, now)
	} else if authorised := h.authorised(head); !authorised && h.prepared(head) != nil {
		x.reply(h.w, *h.prepared(head))
	} else {
		h.batch = append(h.batch, job{exchange: x, request: bytes.Clone(whole), authorised: authorised})
	}
	h.served = true
}

// joinsBatch reports whether a request can be answered together with those
// before it that came in the same read. Events that a service pipelines are
// then delivered together, and their receivers written to once.
func (h *httpConn) joinsBatch(head *codec.Head) bool {
	return !isEnginePath(head.Path) && len(h.batch) < maxBatch && h.exchange.keepAlive &&
		h.authorised(head) == h.batch[0].authorised && h.prepared(head) == nil
}

// finish writes the replies of a batch, in the order of the requests.
func (h *httpConn) finish(batch []job, now time.Time) {
	h.parsing = true
	for i := range batch {
		if h.c == nil || h.closing() {
			break
		}
		h.exchange = batch[i].exchange
		h.answer(h.exchange, &batch[i].reply)
	}
	h.parsing = false
	if h.c != nil {
		h.process(now)
	}
}

func isEnginePath(path []byte) bool {
	return string(path) == enginePath || string(path) == enginePath[:len(enginePath)-1]
}

// write writes b. Afterwards the connection may be closed.
func (h *httpConn) write(b []byte) {
	if h.c == nil {
		return
	}
	_, _ = h.c.Write(b)
	// On an error gnet has called closed, and h.c is nil.
	if h.c != nil && h.c.OutboundBuffered() > 0 {
		h.w.countHeld(h, h.holds())
	}
}

// refuse answers a request that is not served, and closes the connection when
// the client has had time to read the answer: closing with unread input would
// reset the connection, and the answer would be lost. head is what is known of
// the request's head.
func (h *httpConn) refuse(head *codec.Head, status int, why string) {
	x := newExchange(h, head)
	x.keepAlive = false
	h.exchange = x
	r := jsonError(status, codeBadRequest, why)
	r.lingers = true
	x.reply(h.w, r)
}

// answered is called after the reply to h.exchange was written.
func (h *httpConn) answered(keepAlive, lingers bool, now time.Time) {
	h.exchange = nil
	switch {
	case h.c == nil:
	case keepAlive:
		h.await(awaitRequest, now.Add(h.w.server.config.KeepAlive))
		h.process(now)
	case h.c.OutboundBuffered() > 0: // closing would drop it
		h.giveUp = now.Add(writtenTimeout)
		h.await(awaitEnd, now)
	case lingers:
		h.await(awaitEnd, now.Add(refusedTimeout))
	default:
		h.close()
	}
}

// closing reports whether the last reply has been written and the connection is
// about to close.
func (h *httpConn) closing() bool { return h.timeout == awaitEnd }

// close closes the connection. Bytes that the kernel has not taken are lost.
func (h *httpConn) close() {
	if h.c != nil {
		_ = h.w.loop.Close(h.c)
	}
}

// closed is called by gnet, whoever closed the connection.
func (h *httpConn) closed(now time.Time) {
	h.c = nil
	h.w.server.guard.Release(h.from.Place, false)
	h.w.wheel.Disarm(&h.timer)
	if x := h.exchange; x != nil {
		h.exchange = nil
		x.abandon(h.w, now)
	}
}
