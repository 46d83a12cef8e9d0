package rooms

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hometrip/gateway/codec"
)

// A ClientEvent is an event of clients that is declared in the routes file
// instead of in code. It must not be modified after it was given to a Hub.
type ClientEvent struct {
	Name string

	Room   []RoomPart // the room it is for; nil: none
	Anyone bool       // the sender need not be in the room

	Emit     string   // the event that the other members of the room get; "": none
	Fields   []string // members of the argument that they get; nil: all
	Volatile bool     // not sent to a receiver with a backlog

	Key     string // routing key under which services get it; "": they do not
	Confirm bool   // it is acknowledged when RabbitMQ has confirmed it

	MaxBytes int  // of the arguments
	Rate     Rate // of a socket
}

// A RoomPart is a part of a room's name: fixed text, or an id from the
// argument. The id is that of the first member of From that the argument has.
type RoomPart struct {
	Text string
	From []string // nil: Text
}

// An Outgoing is an event for services.
type Outgoing struct {
	Key   string
	Event string // its name among clients
	Body  []byte // JSON
}

// A Bus brings events to services. Publish never blocks. It returns false when
// too much waits already. Otherwise it calls done once, if it is not nil, from
// any goroutine: with nil when RabbitMQ has the event.
type Bus interface {
	Publish(e Outgoing, done func(error)) bool
}

// Members that the gateway itself adds to an event, for clients and for
// services. Members of the argument with these names are dropped.
const (
	memberSocket = "socketId"
	memberUser   = "userId"
	memberRoom   = "room"
	memberTime   = "timestamp"
)

var ownMembers = []string{memberSocket, memberUser, memberRoom, memberTime}

// source is the value of the member source in events for services.
const source = "websocket-gateway"

var (
	errBinary       = errors.New("Binary data is not allowed")
	errEventTooLong = errors.New("Event too large")
	errNotObject    = errors.New("Want an object")
	errServicesAway = errors.New("Services are busy, try again")
)

// RoomText returns the template of the room in the form that the routes file
// has.
func (e *ClientEvent) RoomText() string {
	var b strings.Builder
	for _, p := range e.Room {
		if p.From == nil {
			b.WriteString(p.Text)
		} else {
			b.WriteString("{" + strings.Join(p.From, "|") + "}")
		}
	}
	return b.String()
}

// Check reports what is wrong with the declaration.
func (e *ClientEvent) Check() error {
	builtIn := ClientEvents()
	switch {
	case e.Name == "":
		return errors.New("the event has no name")
	case codec.ReservedEvent(e.Name):
		return fmt.Errorf("event %q: Socket.IO reserves the name", e.Name)
	case builtIn[e.Name] != nil:
		return fmt.Errorf("event %q is built in", e.Name)
	case codec.ReservedEvent(e.Emit):
		return fmt.Errorf("emit %q: Socket.IO reserves the name", e.Emit)
	case isServerEvent(e.Emit):
		return fmt.Errorf("emit %q: the gateway itself emits it, and clients could forge it", e.Emit)
	case e.Emit == "" && e.Key == "":
		return fmt.Errorf("event %s: want emit, publish or both: nobody would get it", e.Name)
	case e.Emit != "" && e.Room == nil:
		return fmt.Errorf("event %s: emit wants a room", e.Name)
	case e.Anyone && e.Room == nil:
		return fmt.Errorf("event %s: senders: anyone wants a room", e.Name)
	case e.Confirm && e.Key == "":
		return fmt.Errorf("event %s: ack: confirmed wants publish", e.Name)
	case e.MaxBytes < 1 || e.Rate.PerSecond < 1 || !e.Rate.ok():
		return fmt.Errorf("event %s: want max_bytes and rate of 1 or more, and a burst of at most an hour's worth", e.Name)
	}
	for _, name := range e.Fields {
		if slices.Contains(ownMembers, name) {
			return fmt.Errorf("event %s: field %s is the gateway's own", e.Name, name)
		}
	}
	return nil
}

// declarations is the set of declared events in effect, by name.
type declarations map[string]*ClientEvent

// SetClientEvents replaces the declared events. An error changes nothing.
func (h *Hub) SetClientEvents(list []ClientEvent) error {
	events := make(declarations, len(list))
	for i := range list {
		e := list[i]
		if err := e.Check(); err != nil {
			return err
		}
		events[e.Name] = &e
	}
	h.declared.Store(&events)
	return nil
}

// declaredEvent returns the declaration of an event, nil when there is none.
func (sh *Shard) declaredEvent(name []byte) *ClientEvent {
	if events := sh.hub.declared.Load(); events != nil {
		return (*events)[string(name)]
	}
	return nil
}

// serve handles a declared event: it checks the argument, publishes the event
// and sends it to the room.
func (c *Call) serve(e *ClientEvent) {
	s := c.Socket
	if !s.mayEmit(e, c.Now) {
		s.shard.stats.EventsTooFast.Add(1)
		c.Refuse(errTooFast)
		return
	}
	object, name, err := c.read(e)
	if err != nil {
		c.Refuse(err)
		return
	}
	var r *room
	if e.Room != nil {
		r = s.shard.rooms.get(name)
	}
	inside := r != nil && s.in(r) >= 0
	if e.Room != nil && !inside && !e.Anyone {
		c.Refuse(errNotInRoom)
		return
	}
	there := s.shard.hub.occupancy.of(name)
	told := e.Emit != "" && s.shard.mayTell(s.shard.hub.occupancy.members(name, there), c.Now)
	if e.Emit != "" && !told && !e.Volatile {
		s.shard.stats.EventsTooFast.Add(1)
		c.Refuse(errTooFast)
		return
	}
	if !c.publish(e, object, name) {
		return
	}
	if told {
		c.tell(e, r, there, name, object)
	} else if e.Emit != "" {
		s.shard.stats.TypingsMuted.Add(1)
	}
	if !e.Confirm {
		c.Ack([]byte(`{"success":true}`))
	}
}

// read checks the argument and returns it with the name of its room.
func (c *Call) read(e *ClientEvent) (object []byte, room string, err error) {
	switch {
	case len(c.Attachments) > 0:
		return nil, "", errBinary
	case len(c.Args) > e.MaxBytes:
		return nil, "", errEventTooLong
	}
	object, _ = codec.NextArg(c.Args)
	if len(object) == 0 || object[0] != '{' {
		return nil, "", errNotObject
	}
	room, err = e.roomOf(object, c.Socket.shard.hub.limits())
	return object, room, err
}

// roomOf returns the name of the room that an argument is for.
func (e *ClientEvent) roomOf(object []byte, limits *Limits) (string, error) {
	var name []byte
	for i := range e.Room {
		p := &e.Room[i]
		if p.From == nil {
			name = append(name, p.Text...)
			continue
		}
		id, _ := codec.ID(firstMember(object, p.From))
		if len(id) == 0 {
			return "", fmt.Errorf("Missing %s", p.From[0])
		}
		if len(id) > limits.RoomID || !limits.RoomIDs.allows(id) {
			return "", fmt.Errorf("Invalid %s", p.From[0])
		}
		name = append(name, id...)
	}
	return string(name), nil
}

// firstMember returns the value of the first of names that is a member of
// object and not null. Of two members of one name the last counts.
func firstMember(object []byte, names []string) (found []byte) {
	at := len(names)
	for key, value := range codec.Members(object) {
		if i := slices.Index(names, string(key)); i >= 0 && i <= at && string(value) != "null" {
			found, at = value, i
		}
	}
	return found
}

// publish publishes the event to services, if they get it. It reports whether
// the caller goes on; if not, the client has been answered.
func (c *Call) publish(e *ClientEvent, object []byte, room string) (taken bool) {
	if e.Key == "" {
		return true
	}
	s, bus := c.Socket, c.Socket.shard.hub.config.Bus
	if bus == nil {
		c.Refuse(errServicesAway)
		return false
	}
	out := Outgoing{Key: e.Key, Event: e.Name, Body: s.appendOutgoing(nil, e, object, room, c.Now)}
	if !e.Confirm {
		if taken = bus.Publish(out, nil); !taken {
			c.Refuse(errServicesAway)
		}
		return taken
	}
	answer := c.deferred()
	taken = true
	consult(s.shard, c.Now, func(done func(error)) {
		if taken = bus.Publish(out, done); !taken {
			done(errServicesAway)
		}
	}, later(s, func(err error, _ time.Time) {
		if err != nil {
			answer.Refuse(errServicesAway)
			return
		}
		answer.Ack([]byte(`{"success":true}`))
	}))
	return taken
}

// tell sends the event to the other members of the room. r is nil if no socket
// of the shard is in it.
func (c *Call) tell(e *ClientEvent, r *room, there occupied, name string, object []byte) {
	if r == nil {
		r = &room{nodeRoom: &nodeRoom{name: name}}
	}
	s := c.Socket
	s.shard.broadcast(r, there, s, func() *codec.Message { return s.declaredMessage(e, name, object, c.Now) })
}

// declaredMessage builds the message for the other members of the room.
func (s *Socket) declaredMessage(e *ClientEvent, room string, object []byte, now time.Time) *codec.Message {
	b := append(codec.AppendString(append(s.shard.buf[:0], "42["...), e.Emit), `,{`...)
	for key, value := range codec.Members(object) {
		if slices.Contains(ownMembers, string(key)) || e.Fields != nil && !slices.Contains(e.Fields, string(key)) {
			continue
		}
		b = append(append(append(codec.AppendString(b, string(key)), ':'), value...), ',')
	}
	s.shard.buf = append(s.appendSender(b, room, now), "}]"...)
	m := codec.NewText(s.shard.buf)
	m.Volatile = e.Volatile
	return m
}

// appendOutgoing appends the body for services. The client's argument is in the
// member data, so that it cannot be confused with what the gateway adds.
func (s *Socket) appendOutgoing(b []byte, e *ClientEvent, object []byte, room string, now time.Time) []byte {
	b = codec.AppendString(append(b, `{"eventName":`...), e.Key)
	b = append(b, `,"source":"`+source+`",`...)
	b = append(s.appendSender(b, room, now), `,"data":`...)
	return append(append(b, object...), '}')
}

// pace has the rate of declared events of each socket of a shard: a Throttle
// for each event that the socket has emitted.
type pace map[*Socket]map[*ClientEvent]*Throttle

// mayEmit takes one event of the socket's rate.
func (s *Socket) mayEmit(e *ClientEvent, now time.Time) bool {
	sh := s.shard
	if sh.pace == nil {
		sh.pace = make(pace)
	}
	of := sh.pace[s]
	if of == nil {
		of = make(map[*ClientEvent]*Throttle)
		sh.pace[s] = of
	}
	t := of[e]
	if t == nil {
		for other := range of { // of declarations that are not in effect any more
			if sh.declaredEvent([]byte(other.Name)) != other {
				delete(of, other)
			}
		}
		t = new(Throttle)
		of[e] = t
	}
	return t.Allow(e.Rate, 1, now)
}

// A Trial is the result of a declared event, for `gateway routes try`.
type Trial struct {
	Room   string         // "" for none
	Others *codec.Message // what the other members of the room get; nil: nothing
	Body   []byte         // what services get; nil: nothing
}

// Try returns the result of the event when a user emits it with an argument,
// which must be valid JSON.
func (e *ClientEvent) Try(argument []byte, user string, now time.Time) (t Trial, err error) {
	h, err := New(Config{Shards: 1, MaxPacket: 1, MaxMailbox: 1})
	if err != nil {
		return t, err
	}
	s := &Socket{shard: h.shards[0], id: newPublicID()}
	s.setUser(user)
	c := Call{Socket: s, Args: append([]byte{','}, argument...), Now: now}
	object, room, err := c.read(e)
	if err != nil {
		return t, err
	}
	t.Room = room
	if e.Emit != "" {
		t.Others = s.declaredMessage(e, room, object, now)
	}
	if e.Key != "" {
		t.Body = s.appendOutgoing(nil, e, object, room, now)
	}
	return t, nil
}
