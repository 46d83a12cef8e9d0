package main

import (
	"bytes"
	"strconv"
)

// poll is what makes a conn a session of long-polling: it has no socket, and is
// in the rooms until a WebSocket takes over. Its out holds frames, as that of
// any other. Owned by the one thread.
type poll struct {
	sid    string
	parked *conn // whose GET waits
	probed bool  // a WebSocket is about to take over: no GET waits any longer
}

var (
	getPoll    = []byte("GET /socket.io/?EIO=4&transport=polling")
	postPoll   = []byte("POST /socket.io/?EIO=4&transport=polling")
	sidField   = []byte("&sid=")
	polledHead = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: ")
	taken      = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nok")
	space      = []byte(" ")
	noop       = []byte("6")
	separator  = byte(0x1e)
)

// polled returns the session of a request, nil if there is none, and whether
// the request names one.
func (s *server) polled(head []byte) (v *conn, named bool) {
	_, sid, named := bytes.Cut(head, sidField)
	sid, _, _ = bytes.Cut(sid, space)
	return s.sessions[string(sid)], named
}

// poll answers a GET: it begins a session, or brings what is pending.
func (s *server) poll(c *conn, head []byte) {
	v, named := s.polled(head)
	switch {
	case !named:
		s.sid++
		v = &conn{fd: -1, poll: &poll{sid: strconv.Itoa(s.sid)}}
		s.sessions[v.poll.sid] = v
		s.answer(c, s.appendOpen(nil, v.poll.sid, `"websocket"`))
	case v == nil:
		s.send(c, badRequest)
	default:
		v.poll.parked = c
		if v.poll.probed || len(v.out) > 0 {
			s.release(v)
		}
	}
}

// posted takes the packets of a POST.
func (s *server) posted(c *conn, head, body []byte) {
	v, _ := s.polled(head)
	if v == nil {
		s.send(c, badRequest)
		return
	}
	for packet := range bytes.SplitSeq(body, []byte{separator}) {
		s.packet(v, packet)
	}
	s.send(c, taken)
}

// release answers the GET that waits, if there is one.
func (s *server) release(v *conn) {
	c := v.poll.parked
	v.poll.parked = nil
	if c == nil || c.dead {
		return
	}
	payload := noop
	if len(v.out) > 0 {
		payload = appendPayload(nil, v.out)
		v.out = v.out[:0]
	}
	s.answer(c, payload)
}

func (s *server) answer(c *conn, payload []byte) {
	b := append(s.frame[:0], polledHead...)
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(append(b, headEnd...), payload...)
	s.frame = b
	s.send(c, b)
}

// appendPayload appends the packets of our own frames, as a GET brings them.
func appendPayload(dst, frames []byte) []byte {
	for len(frames) > 0 {
		n, at := int(frames[1]), 2
		if n == 126 {
			n, at = int(frames[2])<<8|int(frames[3]), 4
		}
		if len(dst) > 0 {
			dst = append(dst, separator)
		}
		dst = append(dst, frames[at:at+n]...)
		frames = frames[at+n:]
	}
	return dst
}

// probe takes a packet of a WebSocket that is to take a session over.
func (s *server) probe(c *conn, p []byte) {
	v := c.probes
	switch string(p) {
	case "2probe":
		s.frame = appendFrame(s.frame[:0], []byte("3probe"))
		s.send(c, s.frame)
		v.poll.probed = true
		s.release(v)
	case "5":
		c.probes = nil
		delete(s.sessions, v.poll.sid)
		c.user, c.seats = v.user, v.seats
		for _, st := range c.seats {
			st.room.members[st.at].c = c
		}
		if len(v.out) > 0 {
			s.send(c, v.out)
		}
	}
}
