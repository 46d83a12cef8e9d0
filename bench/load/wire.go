package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// maxFrame bounds what a server may send in one frame.
const maxFrame = 128 << 10 // bytes

// mask is what every client frame is masked with. RFC 6455 section 5.3 wants
// it unpredictable, to protect proxies; here there are none.
var mask = [4]byte{0x5a, 0x1f, 0xc3, 0x77}

const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
)

// appendFrame appends p as one masked frame, RFC 6455 section 5.2.
func appendFrame(dst []byte, op byte, p []byte) []byte {
	switch n := len(p); {
	case n < 126:
		dst = append(dst, 0x80|op, 0x80|byte(n))
	case n < 1<<16:
		dst = append(dst, 0x80|op, 0x80|126, byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|op, 0x80|127), uint64(n))
	}
	dst = append(dst, mask[:]...)
	at := len(dst)
	dst = append(dst, p...)
	for i := range p {
		dst[at+i] ^= mask[i&3]
	}
	return dst
}

// nextFrame returns the payload of the first frame in b and its length on the
// wire; 0 means more bytes are needed.
func nextFrame(b []byte) (op byte, p []byte, n int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	length, at := int(b[1]), 2
	switch {
	case length > 127:
		return 0, nil, 0, errors.New("masked frame from the server")
	case length == 126:
		if len(b) < 4 {
			return 0, nil, 0, nil
		}
		length, at = int(binary.BigEndian.Uint16(b[2:])), 4
	case length == 127:
		if len(b) < 10 {
			return 0, nil, 0, nil
		}
		long := binary.BigEndian.Uint64(b[2:])
		if long > maxFrame {
			return 0, nil, 0, fmt.Errorf("frame of %d bytes, max %d", long, maxFrame)
		}
		length, at = int(long), 10
	}
	if b[0]&0xf0 != 0x80 {
		return 0, nil, 0, fmt.Errorf("frame begins 0x%02X: want FIN and no reserved bits", b[0])
	}
	if len(b) < at+length {
		return 0, nil, 0, nil
	}
	return b[0] & 0x0f, b[at : at+length], at + length, nil
}

// eventName is an event of the gateway's contract.
type eventName uint8

const (
	otherEvent eventName = iota
	connectedEvent
	userJoined
	userLeft
	userTyping
	userStopTyping
	newMessage
	newNotification
	roomState
	recoveryState
)

var eventPrefixes = [...]struct {
	prefix string
	name   eventName
}{
	{`42["user_typing",`, userTyping},
	{`42["new_message",`, newMessage},
	{`42["new_notification",`, newNotification},
	{`42["user_joined",`, userJoined},
	{`42["user_stop_typing",`, userStopTyping},
	{`42["user_left",`, userLeft},
	{`42["connected",`, connectedEvent},
	{`42["room_state",`, roomState},
	{`42["recovery_state",`, recoveryState},
}

// eventOf tells which event a Socket.IO EVENT packet carries.
func eventOf(p []byte) eventName {
	for i := range eventPrefixes {
		e := &eventPrefixes[i]
		if len(p) >= len(e.prefix) && string(p[:len(e.prefix)]) == e.prefix {
			return e.name
		}
	}
	return otherEvent
}

// Events published by the suite carry "#seq@sent#" in a text field: the number
// of the event in its phase, and CLOCK_MONOTONIC in ns when it was due.

func appendMark(dst []byte, seq uint32, sent int64) []byte {
	return fmt.Appendf(dst, "#%d@%d#", seq, sent)
}

func parseMark(p []byte) (seq uint32, sent int64, ok bool) {
	at := bytes.IndexByte(p, '#')
	if at < 0 {
		return 0, 0, false
	}
	n, rest := digits(p[at+1:])
	if len(rest) == 0 || rest[0] != '@' {
		return 0, 0, false
	}
	sent, rest = digits(rest[1:])
	return uint32(n), sent, len(rest) > 0 && rest[0] == '#'
}

func digits(p []byte) (n int64, rest []byte) {
	for i, c := range p {
		if c < '0' || c > '9' {
			return n, p[i:]
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

var timestampField = []byte(`"timestamp":"`)

// stampOf reads the event's timestamp as milliseconds of its day, or -1.
func stampOf(p []byte) int32 {
	at := bytes.Index(p, timestampField)
	if at < 0 {
		return -1
	}
	t := p[at+len(timestampField):] // 2026-01-02T03:04:05.678Z
	if len(t) < 24 || t[10] != 'T' || t[19] != '.' {
		return -1
	}
	two := func(i int) int32 { return int32(t[i]-'0')*10 + int32(t[i+1]-'0') }
	ms := int32(t[20]-'0')*100 + two(21)
	return ((two(11)*60+two(14))*60+two(17))*1000 + ms
}

var userField = []byte(`"userId":"u`)

// userOf reads the number of the user an event speaks of; see appendUserID.
func userOf(p []byte) (int32, bool) {
	at := bytes.Index(p, userField)
	if at < 0 {
		return 0, false
	}
	n, rest := digits(p[at+len(userField):])
	return int32(n), len(rest) > 0 && rest[0] == '"'
}
