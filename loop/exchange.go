package loop

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// An exchange is one HTTP request and its pending reply. It may be answered on
// another loop than its connection's, or by a goroutine; the reply is then
// posted to the connection's loop. Its fields are read-only once it is under
// way, except session.
type exchange struct {
	conn      *httpConn // touched on its own loop only
	method    string    // "GET", "POST", "OPTIONS" or another
	origin    string    // to be echoed in CORS headers; "" if there is none to echo
	preflight string    // headers an OPTIONS request asks to be allowed
	keepAlive bool
	http10    bool // the client keeps the connection only if it is told to
	relayed   bool // by a proxy, which turns an end without an answer into an error

	home    *worker  // whose session it is for; nil if it names none
	session *session // that this poll waits in, or was answered by; owned by home
}

// newExchange returns the exchange of a request on h. A nil or empty head
// belongs to a request that could not be parsed.
func newExchange(h *httpConn, head *codec.Head) *exchange {
	x := &exchange{conn: h}
	if head == nil || head.Method == nil {
		return x
	}
	x.method = methodName(head.Method)
	x.keepAlive, x.http10 = head.KeepAlive, head.HTTP10
	x.relayed = h.from.Relayed || len(head.Field("x-forwarded-for")) > 0
	if origin := head.Field("origin"); len(origin) > 0 && h.allows(head) {
		x.origin = string(origin)
		if x.method == http.MethodOptions {
			x.preflight = string(head.Field("access-control-request-headers"))
		}
	}
	return x
}

// methodName returns b as a string, without an allocation for the usual
// methods.
func methodName(b []byte) string {
	switch string(b) {
	case http.MethodGet:
		return http.MethodGet
	case http.MethodPost:
		return http.MethodPost
	case http.MethodOptions:
		return http.MethodOptions
	}
	return string(b)
}

// A reply is the answer to an exchange.
type reply struct {
	status      int
	contentType string
	caching     string // Cache-Control; "": no-store
	header      string // further lines, each with its CRLF
	body        []byte // valid until the reply has been passed on
	last        bool   // close the connection
	lingers     bool   // but not before it can have been read, because there is more input
	data        bool   // carries a session's messages: must arrive, or the session ends
	parting     bool   // the client's session has just ended; see partingTime
	unanswered  bool   // end the connection instead
}

// reply answers from the loop of worker w. For a connection of another loop the
// reply is copied and posted there.
func (x *exchange) reply(w *worker, r reply) {
	if x.conn.w == w {
		x.conn.answer(x, &r)
	} else {
		x.post(w, r)
	}
}

// post posts the reply to the loop of the connection.
func (x *exchange) post(w *worker, r reply) {
	h := x.conn
	r.body = append([]byte(nil), r.body...)
	h.w.shard.Post(func(now time.Time) {
		if h.answer(x, &r) || !r.data {
			return
		}
		w.shard.Post(x.lost)
	})
}

// answer writes the reply and reports whether the connection was still there.
func (h *httpConn) answer(x *exchange, r *reply) bool {
	if h.c == nil || h.exchange != x {
		return false
	}
	if r.unanswered {
		h.exchange = nil
		h.close()
		return true
	}
	if r.status >= 400 && r.status < 500 {
		h.w.stats.BadRequests.Add(1)
	}
	keepAlive := x.keepAlive && !r.last
	if !r.parting && (x.home == nil || r.status >= http.StatusBadRequest) {
		// Polls stay with their session for as long as it lasts.
		keepAlive = keepAlive && !h.w.server.draining.Load()
	}
	h.w.out = x.appendReply(h.w.out[:0], r, keepAlive)
	h.write(h.w.out)
	now := time.Now()
	h.answered(keepAlive, r.lingers, now)
	if r.parting {
		h.part(now)
	}
	return true
}

func (x *exchange) appendReply(b []byte, r *reply, keepAlive bool) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(r.status)...)
	if r.contentType != "" {
		b = append(append(b, "\r\nContent-Type: "...), r.contentType...)
	}
	if r.status != http.StatusNotModified { // there it would be the length of what is not sent
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(r.body)), 10)
	}
	b = append(append(b, "\r\nCache-Control: "...), cmp.Or(r.caching, "no-store")...)
	b = append(b, "\r\nX-Content-Type-Options: nosniff\r\n"...)
	b = append(b, r.header...)
	if x.origin != "" {
		b = append(append(b, "Access-Control-Allow-Origin: "...), x.origin...)
		b = append(b, "\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n"...)
	}
	switch {
	case !keepAlive:
		b = append(b, "Connection: close\r\n"...)
	case x.http10:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	b = append(b, "\r\n"...)
	if x.method == http.MethodHead {
		return b
	}
	return append(b, r.body...)
}

// abandon is called on the connection's loop when the connection closed before
// the reply. If a poll waits in a session, the session ends too, as in
// Engine.IO's own server: the client has given it up.
func (x *exchange) abandon(w *worker, now time.Time) {
	switch {
	case x.home == nil:
	case x.home == w:
		x.lost(now)
	default:
		x.home.shard.Post(x.lost)
	}
}

// lost ends the session whose poll can no longer be answered. It runs on the
// session's loop.
func (x *exchange) lost(now time.Time) {
	s := x.session
	if s == nil || s.phase == phaseEnded {
		return
	}
	if s.poll != nil && s.poll.parked == x {
		s.poll.parked = nil
	}
	s.end(rooms.ReasonTransportClosed, now)
}

// Codes of the errors Engine.IO's server answers with (engine.io, Server.errors).
const (
	codeTransport  = 0
	codeSID        = 1
	codeMethod     = 2
	codeBadRequest = 3
	codeForbidden  = 4
	codeVersion    = 5
)

var codeMessages = [...]string{
	"Transport unknown", "Session ID unknown", "Bad handshake method",
	"Bad request", "Forbidden", "Unsupported protocol version",
}

// unavailable is the reply of a node that accepts no more clients.
var unavailable = reply{status: http.StatusServiceUnavailable, header: "Retry-After: 1\r\n", last: true}

// engineError returns the reply that Engine.IO's server gives.
func engineError(status, code int) reply {
	return jsonError(status, code, codeMessages[code])
}

func jsonError(status, code int, message string) reply {
	b := append(make([]byte, 0, 64), `{"code":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, `,"message":`...)
	b = append(codec.AppendString(b, message), '}')
	return reply{status: status, contentType: "application/json", body: b}
}
