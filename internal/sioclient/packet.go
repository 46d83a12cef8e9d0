package sioclient

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Engine.IO v4 packet types, the first byte of a text packet.
const (
	engineOpen    = '0'
	engineClose   = '1'
	enginePing    = '2'
	enginePong    = '3'
	engineMessage = '4'
	engineUpgrade = '5'
	engineNoop    = '6'
)

// separator stands between the packets of one polling payload.
const separator = "\x1e"

// Socket.IO v5 packet types, the second byte of a message.
const (
	socketConnect      = '0'
	socketDisconnect   = '1'
	socketEvent        = '2'
	socketAck          = '3'
	socketConnectError = '4'
)

// open is the body of Engine.IO's open packet.
type open struct {
	SID          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"`
	PingInterval int      `json:"pingInterval"` // ms
	PingTimeout  int      `json:"pingTimeout"`  // ms
	MaxPayload   int      `json:"maxPayload"`   // bytes
}

func parseOpen(packet string) (open, error) {
	var o open
	if packet == "" || packet[0] != engineOpen {
		return o, fmt.Errorf("engine packet %.40q, want an open packet", packet)
	}
	err := json.Unmarshal([]byte(packet[1:]), &o)
	return o, err
}

// A socketPacket is a Socket.IO packet without attachments, in the namespace
// "/" unless it says otherwise.
type socketPacket struct {
	kind      byte
	namespace string
	id        int64 // -1: none
	data      json.RawMessage
}

// parseSocketPacket reads <type>[<namespace>,][<ack id>][<JSON>].
func parseSocketPacket(s string) (socketPacket, error) {
	if s == "" {
		return socketPacket{}, fmt.Errorf("empty Socket.IO packet")
	}
	p := socketPacket{kind: s[0], namespace: "/", id: -1}
	s = s[1:]
	if strings.HasPrefix(s, "/") {
		var ok bool
		if p.namespace, s, ok = strings.Cut(s, ","); !ok {
			return p, nil
		}
	}
	digits := 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		digits++
	}
	if digits > 0 {
		id, err := strconv.ParseInt(s[:digits], 10, 64)
		if err != nil {
			return p, err
		}
		p.id, s = id, s[digits:]
	}
	if s == "" {
		return p, nil
	}
	p.data = json.RawMessage(s)
	if !json.Valid(p.data) {
		return p, fmt.Errorf("Socket.IO packet with bad JSON %.80q", s)
	}
	return p, nil
}

// An Event is an event that the server emitted.
type Event struct {
	Name string
	Args []json.RawMessage
}

// Decode reads the event's first argument into v.
func (e Event) Decode(v any) error {
	if len(e.Args) == 0 {
		return fmt.Errorf("event %s has no argument", e.Name)
	}
	return json.Unmarshal(e.Args[0], v)
}

func parseEvent(data json.RawMessage) (Event, error) {
	var e Event
	if err := json.Unmarshal(data, &e.Args); err != nil {
		return e, err
	}
	if len(e.Args) == 0 {
		return e, fmt.Errorf("event without a name: %.80q", data)
	}
	err := json.Unmarshal(e.Args[0], &e.Name)
	e.Args = e.Args[1:]
	return e, err
}

// eventPacket builds the Engine.IO message of an event; id -1 asks for no ack.
func eventPacket(id int64, event string, args []any) (string, error) {
	array, err := json.Marshal(append([]any{event}, args...))
	if err != nil {
		return "", err
	}
	ack := ""
	if id >= 0 {
		ack = strconv.FormatInt(id, 10)
	}
	return string([]byte{engineMessage, socketEvent}) + ack + string(array), nil
}
