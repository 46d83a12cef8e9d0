package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"
)

const isoMillis = "2006-01-02T15:04:05.000Z"

var (
	tokenField = []byte(`"token":"`)
	idField    = []byte(`"id":"`)
	roomField  = []byte(`"roomId":"`)
	typeField  = []byte(`"roomType":"`)
)

// appendFrame appends p as one unmasked text frame, RFC 6455 section 5.2.
func appendFrame(dst, p []byte) []byte {
	switch n := len(p); {
	case n < 126:
		dst = append(dst, 0x81, byte(n))
	case n < 1<<16:
		dst = append(dst, 0x81, 126, byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x81, 127), uint64(n))
	}
	return append(dst, p...)
}

// frames handles the complete masked frames in b and returns the bytes used.
func (s *server) frames(c *conn, b []byte) int {
	used := 0
	for !c.dead {
		f := b[used:]
		if len(f) < 6 {
			return used
		}
		n, at := int(f[1]&0x7f), 2
		switch {
		case f[1]&0x80 == 0 || n == 127:
			s.kill(c)
			return used
		case n == 126:
			n, at = int(f[2])<<8|int(f[3]), 4
		}
		if len(f) < at+4+n {
			return used
		}
		mask, p := f[at:at+4], f[at+4:at+4+n]
		for i := range p {
			p[i] ^= mask[i&3]
		}
		if f[0]&0x0f == 8 {
			s.kill(c)
			return used
		}
		used += at + 4 + n
		s.packet(c, p)
	}
	return used
}

func (s *server) packet(c *conn, p []byte) {
	switch {
	case c.probes != nil:
		s.probe(c, p)
	case bytes.HasPrefix(p, []byte("42")):
		s.clientEvent(c, p[2:])
	case bytes.HasPrefix(p, []byte("40")):
		s.connect(c, p[2:])
	case bytes.HasPrefix(p, []byte("41")):
		s.kill(c)
	}
}

// connect believes the token: its payload is read, its signature is not.
func (s *server) connect(c *conn, auth []byte) {
	var claims [512]byte
	parts := bytes.SplitN(field(auth, tokenField), []byte("."), 3)
	if len(parts) != 3 || base64.RawURLEncoding.DecodedLen(len(parts[1])) > len(claims) {
		s.kill(c)
		return
	}
	n, _ := base64.RawURLEncoding.Decode(claims[:], parts[1])
	c.user = string(field(claims[:n], idField))
	s.join(c, "user:"+c.user)
	p := append(make([]byte, 0, 192), `40{"sid":"`...)
	p = strconv.AppendInt(p, int64(c.fd), 10)
	p = append(p, `"}`...)
	b := appendFrame(s.frame[:0], p)
	p = append(p[:0], `42["connected",{"socketId":"`...)
	p = strconv.AppendInt(p, int64(c.fd), 10)
	p = append(p, `","userId":"`...)
	p = append(p, c.user...)
	p = append(p, `","message":"connected"}]`...)
	s.frame = appendFrame(b, p)
	s.send(c, s.frame)
}

func (s *server) clientEvent(c *conn, p []byte) {
	at := 0
	for at < len(p) && p[at] >= '0' && p[at] <= '9' {
		at++
	}
	ack, p := p[:at], p[at:]
	name := "conversation:" + string(field(p, roomField))
	if string(field(p, typeField)) == "notification" {
		name = "notification:" + string(field(p, roomField))
	}
	switch {
	case bytes.HasPrefix(p, []byte(`["join_room"`)):
		r, joined := s.join(c, name)
		s.ack(c, ack)
		if joined {
			s.passJoin(name, s.announce(c, r, "user_joined"))
		}
	case bytes.HasPrefix(p, []byte(`["leave_room"`)):
		s.leaveRoom(c, name)
		s.ack(c, ack)
	case bytes.HasPrefix(p, []byte(`["typing"`)):
		s.typing(c, ack, name, "user_typing")
	case bytes.HasPrefix(p, []byte(`["stop_typing"`)):
		s.typing(c, ack, name, "user_stop_typing")
	}
}

func (s *server) typing(c *conn, ack []byte, name, event string) {
	s.ack(c, ack)
	if r := s.rooms[name]; r != nil {
		s.pass(name, s.announce(c, r, event))
	}
}

func (s *server) leaveRoom(c *conn, name string) {
	for i := range c.seats {
		if r := c.seats[i].room; r.name == name {
			s.leave(c, i)
			s.pass(name, s.announce(c, r, "user_left"))
			return
		}
	}
}

func (s *server) ack(c *conn, id []byte) {
	if len(id) == 0 {
		return
	}
	p := append(append(make([]byte, 0, 64), "43"...), id...)
	p = append(p, `[{"success":true}]`...)
	s.frame = appendFrame(s.frame[:0], p)
	s.send(c, s.frame)
}

// announce tells the others of r here what c did, and returns the frame for
// those at other servers: nil without any.
func (s *server) announce(c *conn, r *room, event string) (frame []byte) {
	if len(r.members) == 1 && r.members[0].c == c && s.bus == nil {
		return nil
	}
	p := append(make([]byte, 0, 256), `42["`...)
	p = append(p, event...)
	p = append(p, `",{"socketId":"`...)
	p = strconv.AppendInt(p, int64(c.fd), 10)
	p = append(p, `","userId":"`...)
	p = append(p, c.user...)
	p = append(p, `","room":"`...)
	p = append(p, r.name...)
	p = append(p, `","timestamp":"`...)
	p = time.Now().UTC().AppendFormat(p, isoMillis)
	p = append(p, `"}]`...)
	s.frame = appendFrame(s.frame[:0], p)
	s.broadcast(r, c, s.frame)
	return s.frame
}
