package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
)

const wsGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 section 1.3

var (
	headEnd      = []byte("\r\n\r\n")
	keyHeader    = []byte("Sec-WebSocket-Key: ")
	lengthHeader = []byte("Content-Length: ")
	postEvents   = []byte("POST /events/")
	accepted     = []byte("HTTP/1.1 202 Accepted\r\nContent-Length: 11\r\n\r\n{\"rooms\":1}")
	badRequest   = []byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
	healthy      = []byte("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"status\":\"healthy\"}")
)

// requests answers the complete requests in b and returns the bytes used.
func (s *server) requests(c *conn, b []byte) int {
	used := 0
	for !c.open && !c.dead {
		end := bytes.Index(b[used:], headEnd)
		if end < 0 {
			return used
		}
		head := b[used : used+end+2]
		body := b[used+end+len(headEnd):]
		n, _ := strconv.Atoi(string(header(head, lengthHeader)))
		if len(body) < n {
			return used
		}
		switch {
		case bytes.HasPrefix(head, postEvents):
			s.event(c, head[len(postEvents):], body[:n])
		case bytes.HasPrefix(head, postPoll):
			s.posted(c, head, body[:n])
		case bytes.HasPrefix(head, getPoll):
			s.poll(c, head)
		case header(head, keyHeader) != nil:
			s.upgrade(c, head)
		case bytes.HasPrefix(head, []byte("GET /health")):
			s.send(c, healthy)
		default:
			s.send(c, badRequest)
		}
		used += end + len(headEnd) + n
	}
	return used
}

func header(head, name []byte) []byte {
	i := bytes.Index(head, name)
	if i < 0 {
		return nil
	}
	value := head[i+len(name):]
	return value[:bytes.IndexByte(value, '\r')]
}

func (s *server) upgrade(c *conn, head []byte) {
	sum := sha1.Sum(append(append(make([]byte, 0, 64), header(head, keyHeader)...), wsGUID...))
	b := append(s.frame[:0], "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	b = append(b, headEnd...)
	if c.probes, _ = s.polled(head); c.probes == nil {
		b = appendFrame(b, s.appendOpen(make([]byte, 0, 128), strconv.Itoa(int(c.fd)), ""))
	}
	c.open = true
	s.frame = b
	s.send(c, b)
}

// appendOpen appends the packet that begins a session.
func (s *server) appendOpen(b []byte, sid, upgrades string) []byte {
	b = append(append(b, `0{"sid":"`...), sid...)
	b = append(append(b, `","upgrades":[`...), upgrades...)
	b = append(b, `],"pingInterval":`...)
	b = strconv.AppendInt(b, s.pingInterval.Milliseconds(), 10)
	return append(b, `,"pingTimeout":60000,"maxPayload":1000000}`...)
}

// event is a service's event: its body goes out as it came.
func (s *server) event(c *conn, key, body []byte) {
	name, roomOf := "new_message", []byte(`"conversationId":"`)
	prefix := "conversation:"
	if bytes.HasPrefix(key, []byte("notification.created")) {
		name, roomOf, prefix = "new_notification", []byte(`"userId":"`), "user:"
	}
	if r := s.rooms[prefix+string(field(body, roomOf))]; r != nil {
		p := append(make([]byte, 0, len(body)+32), `42["`...)
		p = append(p, name...)
		p = append(p, `",`...)
		p = append(p, body...)
		p = append(p, ']')
		s.frame = appendFrame(s.frame[:0], p)
		s.broadcast(r, nil, s.frame)
	}
	s.send(c, accepted)
}

// field returns what stands between name (which ends in a quote) and the next
// quote.
func field(b, name []byte) []byte {
	i := bytes.Index(b, name)
	if i < 0 {
		return nil
	}
	b = b[i+len(name):]
	if end := bytes.IndexByte(b, '"'); end >= 0 {
		return b[:end]
	}
	return nil
}
