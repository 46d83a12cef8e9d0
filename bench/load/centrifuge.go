package load

import "bytes"

// centrifuge is the JSON protocol of centrifugal/centrifuge: replies separated
// by newlines, several to a frame. A join is a subscribe to the room's channel,
// a typing an rpc that publishes to it.
type centrifuge struct{}

func (centrifuge) path() string { return "/connection/websocket?format=json" }

func (centrifuge) upgraded(l *Loop, c *conn) {
	c.step = stepWelcome
	p := append(l.minter.packet[:0], `{"id":1,"connect":{"token":"`...)
	p = l.minter.appendToken(p, c.user)
	l.minter.packet = append(p, `"}}`...)
	l.emit(c, l.minter.packet)
}

func (d centrifuge) packet(l *Loop, c *conn, p []byte) {
	for len(p) > 0 && c.step != stepClosed {
		reply := p
		if end := bytes.IndexByte(p, '\n'); end >= 0 {
			reply, p = p[:end], p[end+1:]
		} else {
			p = nil
		}
		d.reply(l, c, reply)
	}
}

var pushPrefix = []byte(`{"push":`)

func (centrifuge) reply(l *Loop, c *conn, p []byte) {
	switch {
	case bytes.Equal(p, []byte("{}")):
		l.pinged(c)
		l.emit(c, []byte("{}"))
	case bytes.HasPrefix(p, pushPrefix):
		// Which event it is stands in the publication: {"event":"…",…}.
		name := namedEvent(p)
		if name == userTyping || name == userJoined {
			if user, ok := userOf(p); ok && user == c.user {
				return // its own, which Socket.IO would not have sent
			}
		}
		l.phase.event(c, name, p)
	case bytes.Contains(p, []byte(`"error"`)):
		l.problem("reply %q", p[:min(len(p), 120)])
	case c.step == stepWelcome:
		c.step = stepReady
		l.phase.connected(c)
	default:
		// The ids of the replies carry the ack's number in their last digit,
		// where a Socket.IO ack has its.
		l.phase.ack(c, []byte{'4', '3', ackDigit(p)})
	}
}

// ackDigit is the last digit of the reply's id.
func ackDigit(p []byte) byte {
	_, rest, _ := bytes.Cut(p, []byte(`"id":`))
	digit := byte('?')
	for _, ch := range rest {
		if ch < '0' || ch > '9' {
			break
		}
		digit = ch
	}
	return digit
}

var eventField = []byte(`"event":"`)

func namedEvent(p []byte) eventName {
	switch string(between(p, eventField)) {
	case "user_typing":
		return userTyping
	case "new_message":
		return newMessage
	case "new_notification":
		return newNotification
	case "user_joined":
		return userJoined
	case "user_left":
		return userLeft
	}
	return otherEvent
}

func (centrifuge) appendJoin(dst []byte, room int32) []byte {
	dst = append(dst, `{"id":20,"subscribe":{"channel":"conversation:`...)
	return append(appendRoomID(dst, room), `"}}`...)
}

// appendTyping asks for a reply always: this protocol has none without.
func (centrifuge) appendTyping(dst []byte, room int32, ack int) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendInt(dst, int64(100+max(ack, 0)))
	dst = append(dst, `,"rpc":{"method":"typing","data":{"roomType":"conversation","roomId":"`...)
	return append(appendRoomID(dst, room), `"}}}`...)
}

func (centrifuge) appendGoodbye(dst []byte) []byte { return append(dst, "{}"...) }
