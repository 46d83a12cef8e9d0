package loop

import (
	"bytes"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/rooms"
)

// polling is what a session has while HTTP requests can reach it: from a
// handshake by long-polling until the upgrade to WebSocket. Owned by its
// session.
type polling struct {
	sid    string
	parked *exchange // the GET that waits for messages
	post   *post     // the POST whose packets are being handled; nil if there is none
	probe  *wsConn   // the WebSocket of an upgrade under way
	probed bool      // it was answered: polls are answered at once
	since  uint32    // when the session began, Unix s; 0: not known
	input  rooms.Throttle
	place  limits.Source // whose place the session has reserved

	conns [2]*httpConn // connections of this loop that requests came on last
}

const contentText = "text/plain; charset=UTF-8"

// openPolling opens a session by HTTP long-polling. The open packet is the
// answer to the first GET.
func (h *httpConn) openPolling(x *exchange, head *codec.Head, from limits.Source, now time.Time) {
	w := h.w
	s := newSession(w, head, now)
	s.poll = &polling{sid: newSID(w.index), place: from, since: unixSeconds(now)}
	w.bySID[s.poll.sid] = s
	w.stats.HandshakesPoll.Add(1)
	x.home = w
	w.body = w.appendOpen(w.body[:0], s.poll.sid, true)
	x.reply(w, reply{status: http.StatusOK, contentType: contentText, body: w.body})
}

// came records the connection that a request came on. A client uses two.
func (p *polling) came(h *httpConn, w *worker) {
	if h.w == w && p.conns[0] != h {
		p.conns[0], p.conns[1] = h, p.conns[0]
	}
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

// hasAnswer reports whether a poll can be answered: with messages, with the
// session's end, or because it delays an upgrade.
func (s *session) hasAnswer() bool {
	return s.queue.first != 0 || s.phase != phaseOpen || s.poll.probed
}

// maxPollPackets limits the packets in the answer to a poll: python-engineio
// drops answers with more. A message and its attachments are not divided. The
// rest goes into the answer to the next poll.
const maxPollPackets = 16

// answerPoll answers the parked GET with what is pending. If nothing is and the
// session has ended, the answer is the one that a later poll would get: see
// leavePolling.
func (s *session) answerPoll() {
	w, x := s.w, s.poll.parked
	b, packets := w.body[:0], 0
	for m := w.outbox.first(&s.queue); m != nil; m = w.outbox.first(&s.queue) {
		if packets += m.Packets(); packets > maxPollPackets && len(b) > 0 {
			break
		}
		b = w.outbox.pop(&s.queue).AppendPayload(b)
	}
	s.replay = s.replay && s.queue.first != 0
	data := len(b) > 0
	switch {
	case data:
	case s.phase != phaseOpen && s.reason != rooms.ReasonClientClose:
		return
	default:
		b = codec.AppendPacket(b, noopPacket)
	}
	w.body, s.poll.parked = b, nil
	x.reply(w, reply{
		status: http.StatusOK, contentType: contentText, body: b, data: data, parting: s.phase != phaseOpen,
	})
}

// A post has the packets of one POST that have not been handled yet.
type post struct {
	exchange *exchange
	rest     []byte // a view into the request, until it is paused
	own      bool   // no longer a view
}

// handlePost handles the packets that a client sends with a POST.
func (s *session) handlePost(x *exchange, body []byte, now time.Time) {
	s.w.stats.BytesIn.Add(int64(len(body)))
	if s.poll.input.Take(s.w.server.live().Bytes, len(body), now) > 1 {
		s.Close(rooms.ReasonTooFast)
	}
	if s.poll.post != nil { // engine.io closes a session whose posts overlap
		x.reply(s.w, engineError(http.StatusBadRequest, codeBadRequest))
		s.Close(rooms.ReasonPollOverlap)
		return
	}
	if !utf8.Valid(body) { // as a WebSocket's text must be
		s.Close(rooms.ReasonParseError)
	}
	s.poll.post = &post{exchange: x, rest: body}
	s.resume(now)
}

// resume handles the packets of the session's POST, up to inputBatch of them,
// and answers it after the last one.
func (s *session) resume(now time.Time) {
	if s.poll == nil || s.poll.post == nil {
		return // ended meanwhile
	}
	p := s.poll.post
	for n := 0; p.rest != nil && s.phase == phaseOpen; n++ {
		if n == inputBatch || s.w.turns.pressed {
			if !p.own {
				p.rest, p.own = bytes.Clone(p.rest), true
			}
			s.w.pause(s)
			return
		}
		var packet []byte
		packet, p.rest = codec.NextPacket(p.rest)
		s.posted(packet, now)
	}
	s.poll.post = nil
	if s.phase == phaseClosing {
		s.flush(now) // before the client is told that it has ended
	}
	if s.phase != phaseOpen && !acceptsPost(s.reason) {
		p.exchange.reply(s.w, engineError(http.StatusBadRequest, codeBadRequest))
		return
	}
	taken := postTaken
	taken.parting = s.phase != phaseOpen
	p.exchange.reply(s.w, taken)
}

// posted handles one packet of a POST.
func (s *session) posted(packet []byte, now time.Time) {
	s.w.stats.FramesIn.Add(1)
	if !codec.IsBinaryPacket(packet) {
		s.packet(packet, now)
		return
	}
	data, err := codec.DecodeBinaryPacket(packet)
	if err != nil {
		s.Close(rooms.ReasonParseError)
		return
	}
	s.binary(data, now)
}

// postTaken is the reply to a POST after its packets were handled.
var postTaken = reply{status: http.StatusOK, contentType: "text/html", body: []byte("ok")}

// endPolling makes a session unreachable for HTTP requests. poll and post are
// the replies to the requests that are under way.
func (s *session) endPolling(poll, post reply) {
	p := s.poll
	s.poll = nil
	s.w.server.guard.Release(p.place, true)
	delete(s.w.bySID, p.sid)
	for _, h := range p.conns {
		h.part(time.Now())
	}
	if p.parked != nil {
		p.parked.reply(s.w, poll)
	}
	if p.post != nil {
		p.post.exchange.reply(s.w, post)
	}
}
