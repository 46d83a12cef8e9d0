package loop

import (
	"bytes"
	"errors"
	"net/http"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/hometrip/gateway/codec"
)

// An httpConn is one TCP connection while it speaks HTTP: until it is closed,
// or becomes a WebSocket. Owned by its event loop.
type httpConn struct {
	w    *worker
	c    gnet.Conn // nil once closed
	from caller

	exchange *exchange // the request being answered; the next one waits for it
	batch    []job     // requests for the admin that came together
	timer    timer     // for the head, the body, or the next request
	timeout  uint8     // what the timer is for
	served   bool      // has carried a request before
	giveUp   time.Time // when to stop waiting for the last reply to be written
	parsing  bool      // process is on the stack
	paused   bool      // more requests may be waiting; see resume
	need     int       // bytes that must be there before parsing goes on
	gathered []byte    // a request with a chunked body, as far as it has come; see gather
}

// What an httpConn's timer waits for.
const (
	awaitNothing uint8 = iota
	awaitHead
	awaitBody
	awaitRequest // between two requests
	awaitEnd     // the last reply has been given
)

func newHTTPConn(w *worker, c gnet.Conn, from caller, now time.Time) *httpConn {
	h := &httpConn{w: w, c: c, from: from}
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

// expire implements timed. A client that sends too slowly gets 408; a
// connection without a request is closed silently.
func (h *httpConn) expire(now time.Time) {
	switch {
	case h.c == nil || h.timeout == awaitNothing:
	case h.closing() && h.c.OutboundBuffered() > 0 && now.Before(h.giveUp):
		h.await(awaitEnd, now)
	case (h.timeout == awaitHead || h.timeout == awaitBody) && h.c.InboundBuffered()+len(h.gathered) > 0:
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
		h.w.owe(h, h.holds())
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
	buffered := h.c.InboundBuffered()
	if buffered == 0 || buffered < h.need {
		return false
	}
	buf, err := h.input(min(buffered, max(h.need, h.w.server.config.MaxHead+1)))
	if err != nil {
		h.close()
		return false
	}
	if h.from.heralded {
		if n, err := h.herald(buf); n == 0 {
			if err != nil {
				h.refuseError(nil, err)
			}
			return false
		} else if n > 0 {
			_, _ = h.c.Discard(n)
			return true
		}
	}
	if version := codec.ProxyVersion(buf); version > 0 && len(h.batch) == 0 {
		h.refuseProxy(version)
		return false
	}
	if h.timeout == awaitRequest {
		h.await(awaitHead, now.Add(h.w.server.config.HeadTimeout))
	}
	var head codec.Head
	n, err := codec.ParseHead(buf, &head)
	if limit := h.w.server.config.MaxHead; err == nil && (n > limit || n == 0 && len(buf) > limit) {
		err = errHeadTooLarge
		if n == 0 {
			codec.ParseHeadStart(buf, &head)
		}
	}
	var body []byte
	size := 0
	if err == nil && n > 0 {
		body, size, err = h.body(&head, buf[n:])
	}
	complete := err == nil && n > 0 && size >= 0
	if err == nil && n > 0 && !complete && h.lookFurther(&head, n, len(buf), buffered) {
		return h.next(now)
	}
	switch {
	case len(h.batch) > 0 && !(complete && h.joinsBatch(&head)):
		return false // it is served when the batch has been answered
	case err != nil:
		h.refuseError(&head, err)
		return false
	case n == 0:
		return false
	case !complete:
		h.awaitBody(&head, buf, n, now)
		return false
	}
	h.need = 0
	h.await(awaitNothing, now)
	if h.gathered != nil {
		h.serveGathered(&head, body, buf, n+size, now)
		return false
	}
	c := h.c
	h.serve(&head, body, buf[:n+size], now)
	if conn, ok := c.Context().(*wsConn); ok {
		conn.inherit(c, n+size, now)
		return false
	}
	if h.c == nil {
		return false // closed meanwhile, or moved to another loop
	}
	_, _ = h.c.Discard(n + size) // n > 0: Discard(0) would drop everything
	return true
}

var errHeadTooLarge = errors.New("request head too large")

// body returns the request's body, which starts at b, and its size on the
// wire: -1 when it is not complete.
func (h *httpConn) body(head *codec.Head, b []byte) (body []byte, size int, err error) {
	limit := h.w.server.config.MaxPayload
	switch {
	case head.Chunked:
		body, size, err = codec.ParseChunked(nil, b, limit)
		if size == 0 {
			size = -1
		}
		return body, size, err
	case head.ContentLength > limit:
		return nil, 0, &codec.LimitError{Layer: codec.LayerHTTP, What: "body bytes", Got: head.ContentLength, Max: limit}
	}
	size = max(head.ContentLength, 0)
	if len(b) < size {
		return nil, -1, nil
	}
	return b[:size], size, nil
}

// input returns up to most bytes of the input that has not been taken, or all
// of it if it is gathered. gnet may have to copy what it is asked for, so a
// megabyte of small requests must not be asked for again for each of them.
func (h *httpConn) input(most int) ([]byte, error) {
	if h.gathered == nil {
		return h.c.Peek(most)
	}
	b, err := h.c.Peek(-1)
	if err != nil {
		return nil, err
	}
	h.gather(b)
	return h.gathered, nil
}

// lookFurther reports whether the input has more of a request, with a head of n
// bytes, than next has looked at, and sets how far to look.
func (h *httpConn) lookFurther(head *codec.Head, n, looked, buffered int) bool {
	if h.gathered != nil || looked >= buffered {
		return false
	}
	h.need = n + max(head.ContentLength, 0)
	if head.Chunked {
		h.need = min(2*looked, buffered)
	}
	return h.need <= buffered
}

// gather moves the input b into a buffer of the connection. When the end of a
// request is not known beforehand, each packet has to be looked at together
// with what came before; gnet would join the two anew each time, and a client
// that sends chunks of one byte could have megabytes copied for each.
func (h *httpConn) gather(b []byte) {
	h.gathered = append(h.gathered, b...)
	_, _ = h.c.Discard(-1)
}

// serveGathered is serve for a gathered request of size bytes at the start of
// buf. Input behind the request is dropped, so the connection is closed after
// the answer and cannot become a WebSocket. A client that sends a request
// slowly has to wait for the answer anyway.
func (h *httpConn) serveGathered(head *codec.Head, body, buf []byte, size int, now time.Time) {
	h.gathered = nil
	head.WebSocket = false
	if size < len(buf) {
		head.KeepAlive = false
	}
	h.serve(head, body, buf[:size], now)
}

// awaitBody waits for the rest of a body. buf begins with a head of n bytes.
func (h *httpConn) awaitBody(head *codec.Head, buf []byte, n int, now time.Time) {
	h.need = n + max(head.ContentLength, 0)
	if head.Chunked {
		h.need = 0
		if h.gathered == nil {
			h.gather(buf)
		}
	}
	h.w.owe(h, h.holds())
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
	if err == errHeadTooLarge {
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
		h.w.owe(h, h.holds())
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
	h.w.server.guard.leave(h.from.place, false)
	h.w.wheel.disarm(&h.timer)
	if x := h.exchange; x != nil {
		h.exchange = nil
		x.abandon(h.w, now)
	}
}
