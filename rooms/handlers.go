package rooms

import (
	"errors"
	"time"

	"github.com/hometrip/gateway/codec"
)

// A Call is one event from a client. Owned by the socket's event loop and valid
// until its handler returns.
type Call struct {
	Socket      *Socket
	Args        []byte   // the arguments' JSON text, for codec.NextArg
	Attachments [][]byte // binary arguments, in the order of their placeholders
	Now         time.Time

	ack int64 // codec.NoAck: the client does not ask for one
}

// A Handler serves one event. It runs on the socket's event loop and must not
// block.
type Handler func(*Call)

// ClientEvents returns the handlers of the gateway's contract.
func ClientEvents() map[string]Handler {
	return map[string]Handler{
		"join_room":     handleJoin,
		"leave_room":    handleLeave,
		"typing":        func(c *Call) { c.typing(eventUserTyping) },
		"stop_typing":   func(c *Call) { c.typing(eventUserStopTyping) },
		"refresh_token": handleRefresh,
		"catch_up":      handleCatchUp,
	}
}

// Errors that a client gets in the acknowledgement of a refused event.
var (
	errMissingRoom  = errors.New("Missing roomType or roomId")
	errRoomType     = errors.New("Invalid roomType")
	errRoomID       = errors.New("Invalid roomId")
	errNotInRoom    = errors.New("Not in room")
	errUnknownEvent = errors.New("Unknown event")
	errTooFast      = errors.New("Too many events")
	errOtherUser    = errors.New("token is for another user")
	errMissingToken = errors.New("Missing token")
)

func (s *Socket) handleEvent(p *codec.SocketPacket, attachments [][]byte, now time.Time) {
	name, args, err := codec.ParseEvent(p.Data)
	if err != nil {
		s.close(ReasonParseError)
		return
	}
	sh := s.shard
	sh.stats.EventsIn.Add(1)
	sh.call = Call{Socket: s, Args: args, Attachments: attachments, Now: now, ack: p.ID}
	if ahead := s.events.Take(sh.hub.limits().Events, 1, now); ahead > 1 {
		sh.call.tooFast(ahead)
	} else if handle := sh.hub.config.Handlers[string(name)]; handle != nil {
		handle(&sh.call)
	} else if e := sh.declaredEvent(name); e != nil {
		sh.call.serve(e)
	} else {
		sh.stats.EventsUnknown.Add(1)
		sh.call.Refuse(errUnknownEvent)
	}
	sh.call = Call{}
}

// tooFast refuses an event that exceeds the rate. It closes the session of a
// client that is a whole burst beyond it.
func (c *Call) tooFast(ahead float64) {
	s := c.Socket
	s.shard.stats.EventsTooFast.Add(1)
	c.Refuse(errTooFast)
	if ahead > 2 {
		s.close(ReasonTooFast)
	}
}

func handleLeave(c *Call) {
	kind, id, err := c.room()
	if err != nil {
		c.Refuse(err)
		return
	}
	s := c.Socket
	name := s.shard.roomName(kind, id)
	r := s.shard.rooms.getBytes(name)
	if r == nil || s.in(r) < 0 {
		room, answer := string(name), c.deferred()
		s.whenSaved(c.Now, func() { answer.succeed("Left room: ", room) })
		return
	}
	if s.session == nil {
		c.succeed("Left room: ", r.name)
		s.leaveRoom(s.in(r), "the client left it", c.Now)
		return
	}
	s.leaveRoom(s.in(r), "the client left it", c.Now)
	answer := c.deferred()
	s.whenSaved(c.Now, func() { answer.succeed("Left room: ", r.name) })
}

// typing sends an event about typing to the other members of a room. It is
// volatile: receivers with a backlog do not get it.
func (c *Call) typing(event string) {
	kind, id, err := c.room()
	if err != nil {
		c.Refuse(err)
		return
	}
	s := c.Socket
	r := s.shard.rooms.getBytes(s.shard.roomName(kind, id))
	if r == nil || s.in(r) < 0 {
		c.Refuse(errNotInRoom)
		return
	}
	c.Ack([]byte(`{"success":true}`))
	there := s.shard.hub.occupancy.of(r.name)
	if !s.shard.mayTell(s.shard.hub.occupancy.members(r.name, there), c.Now) {
		s.shard.stats.TypingsMuted.Add(1)
		return
	}
	s.shard.broadcast(r, there, s, func() *codec.Message {
		m := s.presence(event, r.name, c.Now)
		m.Volatile = true
		return m
	})
}

// handleRefresh replaces the token of a connected socket by a newer one of the
// same user.
func handleRefresh(c *Call) {
	s := c.Socket
	arg, _ := codec.NextArg(c.Args)
	token := stringMember(arg, "token")
	if len(token) == 0 {
		c.Refuse(errMissingToken)
		return
	}
	if ahead := s.takeToken(1, c.Now); ahead > 1 { // 1: the event
		c.tooFast(ahead)
		return
	}
	answer, socketID := c.deferred(), s.id
	s.verify(token, c.Now, func(id Identity, err error, now time.Time) {
		if !s.connectedAs(socketID) {
			return
		}
		if err == nil && id.UserID != s.UserID() {
			err = errOtherUser
		}
		if err != nil {
			answer.Refuse(err)
			return
		}
		s.shard.stats.TokensRenewed.Add(1)
		named := s.identity().Rooms != nil || id.Rooms != nil
		s.take(id, now)
		answer.Ack([]byte(`{"success":true}`))
		if named {
			s.recheckRooms(now)
		}
		// The life is counted from now: a warning at once would make the client
		// refresh at once, endlessly if its tokens come from a cache.
		s.setExpiry(now, id.Expires, now)
	})
}

// stringMember returns the text of a string member of a JSON object, nil when
// there is none.
func stringMember(object []byte, name string) []byte {
	var found []byte
	for key, value := range codec.Members(object) {
		if string(key) == name {
			found, _ = codec.Text(value)
		}
	}
	return found
}

// room reads {roomType, roomId} from the first argument. Like the Node gateway
// it takes the last of two members of one name.
func (c *Call) room() (kind string, id []byte, err error) {
	limits := c.Socket.shard.hub.limits()
	arg, _ := codec.NextArg(c.Args)
	var roomType []byte
	for key, value := range codec.Members(arg) {
		switch string(key) {
		case "roomType":
			roomType, _ = codec.Text(value)
		case "roomId":
			id = roomID(value)
		}
	}
	switch {
	case len(roomType) == 0 || len(id) == 0:
		return "", nil, errMissingRoom
	case len(id) > limits.RoomID || !limits.RoomIDs.allows(id):
		return "", nil, errRoomID
	case string(roomType) == kindConversation:
		return kindConversation, id, nil
	case string(roomType) == kindNotification:
		return kindNotification, id, nil
	}
	return "", nil, errRoomType
}

// roomID returns the id that a JSON value stands for, nil for none. Like the
// Node gateway it takes the number 0, which is falsy in JavaScript, for none.
func roomID(value []byte) []byte {
	id, _ := codec.ID(value) // its length is checked with the limits
	if string(id) == "0" && value[0] != '"' {
		return nil
	}
	return id
}

// deferred returns a copy of the call for an answer that is given later. It has
// no Args, which are not valid then.
func (c *Call) deferred() Call { return Call{Socket: c.Socket, ack: c.ack} }

// Ack answers the client with one JSON value, if it asked for an answer.
func (c *Call) Ack(body []byte) {
	if c.ack == codec.NoAck {
		return
	}
	s := c.Socket
	b := s.appendAck(c.ack)
	s.sendPacket(append(append(b, body...), ']'))
}

// Refuse answers the client with an error.
func (c *Call) Refuse(err error) {
	c.Socket.shard.stats.EventsRefused.Add(1)
	if c.ack == codec.NoAck {
		return
	}
	b := append(c.Socket.appendAck(c.ack), `{"error":`...)
	b = codec.AppendString(b, err.Error())
	c.Socket.sendPacket(append(b, "}]"...))
}

func (c *Call) succeed(what, room string) {
	if c.ack == codec.NoAck {
		return
	}
	b := append(c.Socket.appendAck(c.ack), `{"success":true,"message":`...)
	b = codec.AppendString(b, what+room)
	c.Socket.sendPacket(append(b, "}]"...))
}
