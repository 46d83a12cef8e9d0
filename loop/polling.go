package loop

import (
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// polling is what a session has while HTTP requests can reach it: from a
// handshake by long-polling until the upgrade to WebSocket. Owned by its
// session.
type polling struct {
	sid    string
	parked *exchange // the GET that waits for messages
	probe  *wsConn   // the WebSocket that wants to take over
	probed bool      // and has been answered: polls are released at once
}

const contentText = "text/plain; charset=UTF-8"

// openPolling opens a session by HTTP long-polling. The open packet is the
// answer to the first GET.
func (h *httpConn) openPolling(x *exchange, head *codec.Head, now time.Time) {
	w := h.w
	s := newSession(w, bearer(head), now)
	s.poll = &polling{sid: newSID(w.index)}
	w.bySID[s.poll.sid] = s
	w.stats.HandshakesPoll.Add(1)
	w.body = w.appendOpen(w.body[:0], s.poll.sid, true)
	x.reply(w, reply{status: http.StatusOK, contentType: contentText, body: w.body})
}

// handlePoll answers a GET with what is pending, or parks it.
func (s *session) handlePoll(x *exchange) {
	if s.poll.parked != nil { // engine.io closes a session whose polls overlap
		x.reply(s.w, engineError(http.StatusBadRequest, codeBadRequest))
		s.Close(rooms.ReasonPollOverlap)
		return
	}
	x.session, s.poll.parked = s, x
	if s.hasAnswer() {
		s.answerPoll()
	}
}

// hasAnswer reports whether a poll has something to bring home: messages, the
// session's end, or word that it is in the way of an upgrade.
func (s *session) hasAnswer() bool {
	return s.queue.first != 0 || s.closing || s.poll.probed
}

// answerPoll answers the parked GET with everything that is pending.
func (s *session) answerPoll() {
	w, x := s.w, s.poll.parked
	s.poll.parked = nil
	b := w.body[:0]
	for m := w.outbox.pop(&s.queue); m != nil; m = w.outbox.pop(&s.queue) {
		b = m.AppendPayload(b)
	}
	data := len(b) > 0
	switch {
	case s.closing && s.reason != rooms.ReasonClientClose:
		b = codec.AppendPacket(b, closePacket)
	case !data:
		b = codec.AppendPacket(b, noopPacket)
	}
	w.body = b
	x.reply(w, reply{status: http.StatusOK, contentType: contentText, body: b, data: data})
}

// handlePost takes the packets a client sends.
func (s *session) handlePost(x *exchange, body []byte, now time.Time) {
	w := s.w
	w.stats.BytesIn.Add(int64(len(body)))
	if !utf8.Valid(body) { // as a WebSocket's text must be
		s.Close(rooms.ReasonParseError)
	}
	for rest := body; rest != nil && !s.closing; {
		var packet []byte
		packet, rest = codec.NextPacket(rest)
		w.stats.FramesIn.Add(1)
		if !codec.IsBinaryPacket(packet) {
			s.packet(packet, now)
			continue
		}
		data, err := codec.DecodeBinaryPacket(packet)
		if err != nil {
			s.Close(rooms.ReasonParseError)
			break
		}
		s.binary(data, now)
	}
	if s.closing && s.reason != rooms.ReasonClientClose {
		x.reply(w, engineError(http.StatusBadRequest, codeBadRequest))
		return
	}
	x.reply(w, reply{status: http.StatusOK, contentType: "text/html", body: []byte("ok")})
}

// endPolling takes a session out of the reach of HTTP.
func (s *session) endPolling() {
	p := s.poll
	s.poll = nil
	delete(s.w.bySID, p.sid)
	if p.parked != nil {
		p.parked.reply(s.w, reply{status: http.StatusOK, contentType: contentText, body: closePacket})
	}
	if p.probe != nil {
		p.probe.s = nil
		p.probe.close()
	}
}
