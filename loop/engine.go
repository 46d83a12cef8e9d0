package loop

import (
	"bytes"
	"net/http"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/bearer"
	"github.com/hometrip/gateway/loop/limits"
)

const (
	transportPolling   = "polling"
	transportWebSocket = "websocket"
)

// A request is one complete HTTP request without its parsed head: views into
// the loop's read buffer. The head is not part of it, because what a body leads
// to outlives the call, and each head would then be allocated.
type request struct {
	body  []byte
	whole []byte // head and body as they came
}

// serveEngine answers a request to enginePath.
func (h *httpConn) serveEngine(x *exchange, head *codec.Head, r request, now time.Time) {
	if x.method == http.MethodOptions {
		x.reply(h.w, x.preflightReply())
		return
	}
	transport := codec.QueryValue(head.Query, "transport")
	webSocket := string(transport) == transportWebSocket
	if !webSocket && string(transport) != transportPolling {
		x.reply(h.w, engineError(http.StatusBadRequest, codeTransport))
		return
	}
	if webSocket && !h.checkWebSocket(x, head) {
		return
	}
	sid := codec.QueryValue(head.Query, "sid")
	if len(sid) == 0 { // some clients always send the parameter
		h.handshake(x, head, webSocket, now)
		return
	}
	loop, ok := loopOf(sid, len(h.w.server.workers))
	if !ok {
		x.reply(h.w, engineError(http.StatusBadRequest, codeSID))
		return
	}
	x.home = h.w.server.workers[loop]
	h.serveSession(x, head, r, string(sid), webSocket, now)
}

// checkWebSocket answers a request that cannot become a WebSocket, and reports
// whether it can.
func (h *httpConn) checkWebSocket(x *exchange, head *codec.Head) bool {
	if !h.allows(head) {
		h.refuseOrigin(x, head)
		return false
	}
	if !head.WebSocket {
		x.reply(h.w, engineError(http.StatusBadRequest, codeBadRequest))
		return false
	}
	if err := head.CheckWebSocket(); err != nil {
		r := jsonError(http.StatusBadRequest, codeBadRequest, err.Error())
		r.header = "Sec-WebSocket-Version: 13\r\n" // RFC 6455 section 4.2.2
		x.reply(h.w, r)
		return false
	}
	return true
}

// allows reports whether the request's Origin, if it has one, may use the
// gateway.
func (h *httpConn) allows(head *codec.Head) bool {
	c, origin := h.w.server.live(), head.Field("origin")
	return c.LocalPages && localPage(origin) || c.Origins.allow(origin, head.Field("host"))
}

func (h *httpConn) refuseOrigin(x *exchange, head *codec.Head) {
	h.w.stats.RefusedOrigin.Add(1)
	h.note(troubleOrigin, head, "origin", string(head.Field("origin")))
	x.reply(h.w, engineError(http.StatusForbidden, codeForbidden))
}

// handshake opens a session on this loop, if the limits allow one.
func (h *httpConn) handshake(x *exchange, head *codec.Head, webSocket bool, now time.Time) {
	switch {
	case x.method != http.MethodGet:
		x.reply(h.w, engineError(http.StatusBadRequest, codeMethod))
	case !webSocket && !h.allows(head): // a WebSocket's has been looked at
		h.refuseOrigin(x, head)
	case string(codec.QueryValue(head.Query, "EIO")) != "4":
		h.note(troubleVersion, head, "version", string(codec.QueryValue(head.Query, "EIO")))
		x.reply(h.w, engineError(http.StatusBadRequest, codeVersion))
	case h.w.server.closed():
		x.reply(h.w, unavailable)
	case h.w.server.sessions() >= int64(h.w.server.live().MaxConnections):
		h.w.stats.RefusedFull.Add(1) // polling needs no connection of its own
		x.reply(h.w, unavailable)
	case h.w.server.tight.Load():
		h.w.stats.RefusedTight.Add(1)
		x.reply(h.w, unavailable)
	default:
		h.openFor(h.w.server.guard.Source(&h.from, head), x, head, webSocket, now)
	}
}

// openFor opens a session for a client of this address, unless the address has
// reached its limit.
func (h *httpConn) openFor(from limits.Source, x *exchange, head *codec.Head, webSocket bool, now time.Time) {
	g := h.w.server.guard
	switch {
	case !g.Handshake(from, now):
		h.w.stats.RefusedRate.Add(1)
		x.reply(h.w, unavailable)
	case webSocket && h.from.Relayed && !h.takePlace(from):
		x.reply(h.w, unavailable)
	case webSocket:
		h.openWebSocket(head, now)
	case !g.Reserve(from, true):
		h.w.stats.RefusedAddress.Add(1)
		x.reply(h.w, unavailable)
	default:
		h.openPolling(x, head, from, now)
	}
}

// bearerToken returns the token of an Authorization header, "" without one.
func bearerToken(head *codec.Head) string {
	return bearer.Token(string(head.Field("authorization")))
}

// appendOpen appends the Engine.IO open packet: session id, upgrades, ping
// times.
func (w *worker) appendOpen(b []byte, sid string, upgrade bool) []byte {
	c := &w.server.config
	return codec.AppendOpen(b, codec.Open{
		SID:          sid,
		Upgrade:      upgrade,
		PingInterval: int(c.PingInterval.Milliseconds()),
		PingTimeout:  int(c.PingTimeout.Milliseconds()),
		MaxPayload:   c.MaxPayload,
	})
}

// serveSession passes a request that names a session to that session's loop.
// The connection itself moves there with its first request, and with a
// WebSocket handshake, which is its last request. Later requests on a
// connection that a proxy shares between clients are forwarded, and answered
// through this loop.
func (h *httpConn) serveSession(x *exchange, head *codec.Head, r request, sid string, webSocket bool, now time.Time) {
	binary := isBinaryBody(head)
	switch {
	case x.home == h.w && webSocket:
		h.openProbe(x, head, sid, now)
	case x.home == h.w:
		h.w.serveRequest(x, sid, r.body, binary, now)
	case (webSocket || !h.served) && h.move(x.home, r.whole):
	case webSocket:
		x.reply(h.w, unavailable)
	default:
		h.w.stats.Forwarded.Add(1)
		body := bytes.Clone(r.body)
		x.home.shard.Post(func(now time.Time) { x.home.serveRequest(x, sid, body, binary, now) })
	}
}

// isBinaryBody reports whether a body is in the binary form of Engine.IO v3,
// which v4 no longer has.
func isBinaryBody(head *codec.Head) bool {
	return string(head.Field("content-type")) == "application/octet-stream"
}

// serveRequest answers a GET or POST of one of this loop's sessions.
func (w *worker) serveRequest(x *exchange, sid string, body []byte, binary bool, now time.Time) {
	s := w.bySID[sid]
	if s != nil {
		s.poll.came(x.conn, w)
	}
	switch {
	case s == nil && w.departed[sid] != nil:
		x.reply(w, w.departed[sid].reply(x))
	case s == nil:
		x.reply(w, engineError(http.StatusBadRequest, codeSID))
	case x.method == http.MethodGet:
		s.handlePoll(x)
	case x.method == http.MethodPost && !binary:
		s.handlePost(x, body, now)
	default:
		x.reply(w, engineError(http.StatusBadRequest, codeBadRequest))
	}
}

// preflightReply returns the reply to a CORS preflight request.
func (x *exchange) preflightReply() reply {
	r := reply{status: http.StatusNoContent}
	if x.origin == "" {
		return r
	}
	r.header = "Access-Control-Allow-Methods: GET, POST\r\nAccess-Control-Max-Age: 600\r\n"
	if x.preflight != "" {
		r.header += "Access-Control-Allow-Headers: " + x.preflight + "\r\n"
	}
	return r
}
