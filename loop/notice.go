package loop

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/loglimit"
	"github.com/hometrip/gateway/rooms"
)

// noticeInterval is the least time between two lines about the same kind of
// trouble.
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

// A trouble is what an operator looks for when clients are refused or closed.
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

// advice is what a line about each says: what happened, and what to do.
var advice = [troubleCount]struct{ what, todo string }{
	troubleOrigin:  {"refused: web origin not allowed", "if the page is yours, add its origin to CORS_ORIGIN"},
	troubleHead:    {"refused: request head too large", "send fewer cookies, or raise MAX_HEAD_SIZE"},
	troubleBody:    {"refused: message or request body too large", "send less at once, or raise MAX_HTTP_BUFFER_SIZE"},
	troubleVersion: {"refused: Engine.IO version not supported", "the client must speak Engine.IO 4: socket.io-client 3 or later"},
	troubleParser:  {"closed: the client uses another parser", "create the client without socket.io-msgpack-parser"},
	troubleParse:   {"closed: the client broke the protocol", "update the client; what it sent is no Socket.IO 5 packet"},
	troubleTooFast: {"closed: the client sent too fast", "if it is meant to, raise MAX_EVENTS_PER_SECOND, MAX_EVENTS_BURST or MAX_BYTES_PER_SECOND"},
	troubleSlow:    {"closed: the client reads too slowly", "its network is slow or it is sent too much; MAX_PENDING_BYTES is what may wait"},
	troubleProxy:   {"refused: PROXY protocol header not expected", "no client gets through this proxy until its settings are those of the gateway"},
	troubleShed:    {"closed: too much waits for slow clients", "give the node more memory, or raise MAX_TOTAL_PENDING_BYTES"},
	troubleBusy:    {"closed: the token could not be verified now", "the client comes back; tokens_verified_total says why: busy, too many at once; no_keys, JWT_JWKS_URL does not answer"},
}

// notices limits the lines about each kind of trouble. Safe for concurrent use.
type notices [troubleCount]loglimit.Limiter

// note writes a line at info, unless there was one just now. from and more are
// only looked at then.
func (s *Server) note(what trouble, now time.Time, from fmt.Stringer, more ...any) {
	unsaid, ok := s.notices[what].Allow(now, what.interval())
	if !ok {
		return
	}
	attrs := append([]any{"address", from.String()}, more...)
	if unsaid > 0 {
		attrs = append(attrs, "unsaid", unsaid)
	}
	s.config.Log.Info(advice[what].what, append(attrs, "todo", advice[what].todo)...)
}

// String is the IPv4 address, or the /64 of an IPv6 address.
func (o source) String() string {
	if o == 0 {
		return "unknown"
	}
	if o>>32 == 1 {
		return netip.AddrFrom4([4]byte{byte(o >> 24), byte(o >> 16), byte(o >> 8), byte(o)}).String()
	}
	var b [16]byte
	for i := range 8 {
		b[i] = byte(o >> (56 - 8*i))
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), 64).String()
}

// A sender is whom a request is from, found out when somebody asks.
type sender struct {
	conn *httpConn
	head *codec.Head // nil: not known
}

func (s sender) String() string {
	c := s.conn
	if c.from.relayed && s.head != nil {
		if o := c.w.server.guard.source(&c.from, s.head); o != 0 {
			return o.String()
		}
	}
	if c.from.addr.IsValid() {
		return c.from.addr.String()
	}
	if c.c != nil && c.c.RemoteAddr() != nil {
		return c.c.RemoteAddr().String()
	}
	return "unknown"
}

// note is Server.note for a request.
func (h *httpConn) note(what trouble, head *codec.Head, more ...any) {
	h.w.server.note(what, time.Now(), sender{h, head}, more...)
}

// String is where the session's client is, for the log.
func (s *session) String() string {
	switch {
	case s.ws != nil && s.ws.place != 0:
		return s.ws.place.String()
	case s.ws != nil && s.ws.c != nil && s.ws.c.RemoteAddr() != nil:
		return s.ws.c.RemoteAddr().String()
	case s.poll != nil:
		return s.poll.place.String()
	}
	return "unknown"
}

// noteEnd writes a line about the end of a session that an operator may look
// for.
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
