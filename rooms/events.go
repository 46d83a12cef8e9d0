package rooms

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/codec"
)

// Names of the events that the gateway itself sends.
const (
	eventUserJoined     = "user_joined"
	eventUserLeft       = "user_left"
	eventUserTyping     = "user_typing"
	eventUserStopTyping = "user_stop_typing"
	eventRoomState      = "room_state"
	eventRecoveryState  = "recovery_state"
)

// secondLayout is the first part of a time in ISO 8601, in UTC and with
// milliseconds, as JavaScript's toISOString writes it.
const secondLayout = "2006-01-02T15:04:05."

// appendConnected appends the packet of connected, for a client with a user.
func (s *Socket) appendConnected(b []byte) []byte {
	b = append(b, `42["connected",{"socketId":"`...)
	b = s.id.append(b)
	b = append(b, `","userId":`...)
	b = codec.AppendString(b, s.UserID())
	return append(b, `,"message":"Connected to the WebSocket gateway"}]`...)
}

// appendExpiring appends the packet of token_expiring_soon.
func appendExpiring(b []byte, left time.Duration) []byte {
	b = append(b, `42["token_expiring_soon",{"expiresIn":`...)
	b = strconv.AppendInt(b, int64(left/time.Second), 10)
	return append(b, `}]`...)
}

// appendRoomState appends the packet of room_state, which tells a client that
// has come back how many members a room has. leaving members are about to leave
// it and are not counted.
func (s *Socket) appendRoomState(b []byte, room string, leaving int) []byte {
	b = append(b, `42["`+eventRoomState+`",{"room":`...)
	b = codec.AppendString(b, room)
	b = append(b, `,"members":`...)
	b = strconv.AppendInt(b, int64(s.shard.hub.Members(room)-leaving), 10)
	return append(b, "}]"...)
}

// presence builds the event about s that the other members of a room get.
func (s *Socket) presence(event, room string, now time.Time) *codec.Message {
	b := append(s.shard.buf[:0], `42["`...)
	b = append(append(b, event...), `",{`...)
	s.shard.buf = append(s.appendSender(b, room, now), "}]"...)
	return codec.NewText(s.shard.buf)
}

// appendSender appends the members of an event's body that describe s, its
// sender. room "" is none.
func (s *Socket) appendSender(b []byte, room string, now time.Time) []byte {
	b = s.id.append(append(b, `"socketId":"`...))
	b = append(b, `","userId":`...)
	b = appendTextOrNull(b, s.UserID())
	b = append(b, `,"room":`...)
	b = appendTextOrNull(b, room)
	b = append(b, `,"timestamp":"`...)
	return append(s.shard.appendTime(b, now), '"')
}

// appendTextOrNull appends a text as JSON, null for "".
func appendTextOrNull(b []byte, text string) []byte {
	if text == "" {
		return append(b, "null"...)
	}
	return codec.AppendString(b, text)
}

// appendTime appends now as secondLayout and milliseconds. The first part is
// the same for a second, and formatting costs as much as all the rest of a typing's packet.
func (sh *Shard) appendTime(b []byte, now time.Time) []byte {
	if s := now.Unix(); s != sh.second || len(sh.secondText) == 0 {
		sh.second, sh.secondText = s, now.UTC().AppendFormat(sh.secondText[:0], secondLayout)
	}
	b = append(b, sh.secondText...)
	ms := now.Nanosecond() / int(time.Millisecond)
	return append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// announce sends user_joined or user_left about s to the other members of r,
// unless r has too many members. gone is 1 if s has left already, 0 otherwise.
func (s *Socket) announce(r *room, event string, gone int, now time.Time) {
	there := s.shard.hub.occupancy.of(r.name)
	if s.shard.crowded(r, there, gone, now) {
		return
	}
	s.shard.broadcast(r, there, s, func() *codec.Message { return s.presence(event, r.name, now) })
}

// leave removes s from the room of its slot and notifies the other members.
func (s *Socket) leave(slot int, now time.Time) {
	r := s.shard.leave(s, slot, now)
	if r.announce {
		s.announce(r, eventUserLeft, 1, now)
	}
}

// appendAck starts an ACK packet in the shard's scratch buffer.
func (s *Socket) appendAck(id int64) []byte {
	b := append(s.shard.buf[:0], "43"...)
	return append(strconv.AppendInt(b, id, 10), '[')
}
