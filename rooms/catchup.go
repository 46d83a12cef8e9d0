package rooms

import (
	"errors"
	"math"
	"time"

	"github.com/hometrip/gateway/codec"
)

// Errors that clients get as the answer to catch_up.
var (
	errNotAsked  = errors.New("Recovery was not asked for")
	errBadOffset = errors.New("Invalid offset")
	errNoHistory = errors.New("Events are not kept that long")
	errTooMuch   = errors.New("Too many events")
	errHistory   = errors.New("Events cannot be read now, try again")
)

// handleCatchUp answers catch_up with the events of a room that were published
// after an offset. It is for clients that store events for longer than a
// session lasts. The socket must be in the room; the right to be there was
// checked when it joined. A call costs as much of the client's rate as a token.
func handleCatchUp(c *Call) {
	kind, id, err := c.room()
	if err != nil {
		c.Refuse(err)
		return
	}
	s := c.Socket
	sh := s.shard
	arg, _ := codec.NextArg(c.Args)
	offset, ok := ParseOffset(string(stringMember(arg, "offset")))
	r := sh.rooms.getBytes(sh.roomName(kind, id))
	history := sh.hub.config.Recovery.History
	switch {
	case r == nil || s.in(r) < 0:
		c.Refuse(errNotInRoom)
	case s.session == nil || history == nil:
		c.Refuse(errNotAsked)
	case !ok:
		c.Refuse(errBadOffset)
	case offset.Log != sh.identity:
		c.Refuse(errNoHistory)
	case s.takeToken(1, c.Now) > 1:
		c.Refuse(errTooFast)
	default:
		c.catchUp(history, RoomFrom{Name: r.name, From: offset.Position})
	}
}

func (c *Call) catchUp(history History, room RoomFrom) {
	s, answer := c.Socket, c.deferred()
	settings := &s.shard.hub.config.Recovery
	q := Question{
		Log: s.shard.identity, Rooms: []RoomFrom{room}, Since: math.MaxUint64, Began: math.MaxUint64, // orders have met the socket
		MaxEvents: settings.MaxEvents, MaxBytes: settings.MaxBytes,
	}
	consult(s.shard, c.Now, func(done func(Missed)) { history.Missed(q, done) }, later(s, func(m Missed, now time.Time) {
		r := s.shard.rooms.get(room.Name)
		switch {
		case r == nil || s.in(r) < 0: // taken out meanwhile
			answer.Refuse(errNotInRoom)
		case m.Result == RecoveryDone:
			answer.Ack(appendMissed(nil, q.Log, s.session.fence(), m.Events))
		case m.Result == RecoveryLogShort || m.Result == RecoveryOtherLog:
			answer.Refuse(errNoHistory)
		case m.Result == RecoveryTooMuch:
			answer.Refuse(errTooMuch)
		default:
			answer.Refuse(errHistory)
		}
	}))
}

// appendMissed appends the answer of catch_up: each event as its name, its body
// and its offset.
func appendMissed(b []byte, log string, fence uint32, events []Numbered) []byte {
	const packet = "42" // in front of the array
	var text []byte
	b = append(b, `{"success":true,"events":[`...)
	for i := range events {
		if i > 0 {
			b = append(b, ',')
		}
		text = events[i].Message.WithOffset(log, events[i].Position, fence).AppendPayload(text[:0])
		b = append(b, text[len(packet):]...)
	}
	return append(b, "]}"...)
}
