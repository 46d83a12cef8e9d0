package rooms

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/codec"
)

// Events the gateway emits of its own accord.
const (
	eventUserJoined     = "user_joined"
	eventUserLeft       = "user_left"
	eventUserTyping     = "user_typing"
	eventUserStopTyping = "user_stop_typing"
)

// timeLayout is ISO 8601 in UTC with milliseconds, as JavaScript's
// toISOString writes it.
const timeLayout = "2006-01-02T15:04:05.000Z"

// appendConnected appends the packet that greets a client with a user.
func (s *Socket) appendConnected(b []byte) []byte {
	b = append(b, `42["connected",{"socketId":"`...)
	b = append(b, s.id...)
	b = append(b, `","userId":`...)
	b = codec.AppendString(b, s.userID)
	return append(b, `,"message":"Connected to the WebSocket gateway"}]`...)
}

// appendExpiring appends the packet that warns of a token's end.
func appendExpiring(b []byte, left time.Duration) []byte {
	b = append(b, `42["token_expiring_soon",{"expiresIn":`...)
	b = strconv.AppendInt(b, int64(left/time.Second), 10)
	return append(b, `}]`...)
}

// presence builds what others in a room are told about s.
func (s *Socket) presence(event, room string, now time.Time) *codec.Message {
	b := append(s.shard.buf[:0], `42["`...)
	b = append(b, event...)
	b = append(b, `",{"socketId":"`...)
	b = append(b, s.id...)
	b = append(b, `","userId":`...)
	if s.userID != "" {
		b = codec.AppendString(b, s.userID)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"room":`...)
	b = codec.AppendString(b, room)
	b = append(b, `,"timestamp":"`...)
	b = now.UTC().AppendFormat(b, timeLayout)
	b = append(b, `"}]`...)
	s.shard.buf = b
	return codec.NewText(b)
}

// announce tells the others in r something about s.
func (s *Socket) announce(r *room, event string, now time.Time) {
	s.shard.broadcast(r, s, func() *codec.Message { return s.presence(event, r.name, now) })
}

// leave takes s out of the room of its slot and tells the others.
func (s *Socket) leave(slot int, now time.Time) {
	r := s.shard.leave(s, slot)
	if r.announce && !s.shard.crowded(r, 1, now) {
		s.announce(r, eventUserLeft, now)
	}
}

// appendAck starts an ACK packet in the shard's scratch buffer.
func (s *Socket) appendAck(id int64) []byte {
	b := append(s.shard.buf[:0], "43"...)
	return append(strconv.AppendInt(b, id, 10), '[')
}
