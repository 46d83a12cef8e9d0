package loop

import (
	"fmt"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/loglimit"
	"github.com/hometrip/gateway/rooms"
)

// noticeInterval is the shortest time between two lines of the same kind.
const noticeInterval = 10 * time.Second

// proxyNoticeInterval is the same for PROXY protocol headers, which come with
// each connection and health check of a proxy.
const proxyNoticeInterval = time.Minute

func (t trouble) interval() time.Duration {
	if t == troubleProxy {
		return proxyNoticeInterval
	}
	return noticeInterval
}

// A trouble is a reason for which clients are refused or closed, as operators
// look for it in the log.
type trouble uint8

const (
	troubleOrigin trouble = iota
	troubleHead
	troubleBody
	troubleVersion
	troubleParser
	troubleParse
	troubleTooFast
	troubleSlow
	troubleShed
	troubleBusy
	troubleProxy
	troubleCount
)

// advice has the text of each line: what happened, and what to do.
var advice = [troubleCount]struct{ what, todo string }{
	troubleOrigin:  {"refused: web origin not allowed", "if the page is yours, add its origin to CORS_ORIGIN"},
	troubleHead:    {"refused: request head too large", "send fewer cookies, or raise MAX_HEAD_SIZE"},
	troubleBody:    {"refused: message or request body too large", "send less at once, or raise MAX_HTTP_BUFFER_SIZE"},
	troubleVersion: {"refused: Engine.IO version not supported", "the client must speak Engine.IO 4: socket.io-client 3 or later"},
	troubleParser:  {"closed: the client uses another parser", "create the client without socket.io-msgpack-parser"},
	troubleParse:   {"closed: protocol error", "update the client; it sent something that is not a Socket.IO 5 packet"},
	troubleTooFast: {"closed: the client sent too much", "if that is intended, raise MAX_EVENTS_PER_SECOND, MAX_EVENTS_BURST or MAX_BYTES_PER_SECOND"},
	troubleSlow:    {"closed: the client reads too slowly", "its network is slow or it is sent too much; MAX_PENDING_BYTES limits what may wait for it"},
	troubleProxy:   {"refused: PROXY protocol header not expected", "no client can connect through this proxy until its settings match the gateway's"},
	troubleShed:    {"closed: too many bytes wait for slow clients", "give the node more memory, or raise MAX_TOTAL_PENDING_BYTES"},
	troubleBusy:    {"closed: the token could not be verified now", "the client reconnects; gateway_tokens_verified_total has the reason: busy (too many at once) or no_keys (JWT_JWKS_URL does not answer)"},
}

// notices limits the rate of lines of each kind. Safe for concurrent use.
type notices [troubleCount]loglimit.Limiter

// note writes a line at level info, unless the last one was just written. from
// is evaluated only if it is.
func (s *Server) note(what trouble, now time.Time, from fmt.Stringer, more ...any) {
	if skipped, ok := s.notices[what].Allow(now, what.interval()); ok {
		s.write(what, skipped, from.String(), more)
	}
}

// write writes a line about a client at an address. skipped is how many lines
// were not written before it.
func (s *Server) write(what trouble, skipped int64, from string, more []any) {
	attrs := append([]any{"address", from}, more...)
	if skipped > 0 {
		attrs = append(attrs, "notLogged", skipped)
	}
	s.config.Log.Info(advice[what].what, append(attrs, "todo", advice[what].todo)...)
}

// note is Server.note for a request. head is nil if it is not known. It is not
// kept, so that heads stay on the stack.
func (h *httpConn) note(what trouble, head *codec.Head, more ...any) {
	s := h.w.server
	if skipped, ok := s.notices[what].Allow(time.Now(), what.interval()); ok {
		s.write(what, skipped, h.sender(head), more)
	}
}

// sender returns the address of a request's client.
func (h *httpConn) sender(head *codec.Head) string {
	if h.from.Relayed && head != nil {
		if o := h.w.server.guard.Source(&h.from, head); o != 0 {
			return o.String()
		}
	}
	if h.from.Addr.IsValid() {
		return h.from.Addr.String()
	}
	if h.c != nil && h.c.RemoteAddr() != nil {
		return h.c.RemoteAddr().String()
	}
	return "unknown"
}

// String returns the address of the session's client.
func (s *session) String() string {
	switch {
	case s.ws != nil && s.ws.place != 0:
		return s.ws.place.String()
	case s.ws != nil && s.ws.c != nil:
		return peerOf(s.ws.c.Fd()).String()
	case s.poll != nil:
		return s.poll.place.String()
	}
	return "unknown"
}

// noteEnd logs the end of a session if its reason is a trouble.
func (s *session) noteEnd(reason rooms.Reason, now time.Time) {
	what := troubleParse
	switch reason {
	case rooms.ReasonParseError:
		if s.msgpack {
			what = troubleParser
		}
	case rooms.ReasonTooLarge:
		what = troubleBody
	case rooms.ReasonTooFast:
		what = troubleTooFast
	case rooms.ReasonSlowConsumer:
		what = troubleSlow
	case rooms.ReasonShed:
		what = troubleShed
	case rooms.ReasonBusy:
		what = troubleBusy
	default:
		return
	}
	var user string
	if p, ok := s.peer.(*rooms.Socket); ok {
		user = p.UserID()
	}
	s.w.server.note(what, now, s, "user", user)
}

// isMsgpack reports whether a binary packet looks like one of
// socket.io-msgpack-parser: a map of a few fields, the first of them "type".
func isMsgpack(b []byte) bool {
	return len(b) > 6 && b[0]&0xf0 == 0x80 && string(b[1:6]) == "\xa4type"
}
