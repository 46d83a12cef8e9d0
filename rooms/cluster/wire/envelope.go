package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/hometrip/gateway/codec"
)

// An envelope is what one PUBLISH carries from a node to another:
//
//	1 byte   version
//	4 bytes  node, big-endian
//	records, each
//	  1 byte   kind: message, volatile message, count, or count that asks for one
//	  uvarint  members of the room on the node
//	  uvarint  length of the room's name, and the name
//	  uvarint  length of the frames, and the frames, ready to write; of a
//	           message only
//
// Who said it needs no field: a socket is on one node, and that node has left
// it out.
const (
	envelopeVersion = 2
	envelopeHead    = 5

	kindMessage  = 0
	kindVolatile = 1
	kindCount    = 2
	kindAsk      = 3

	maxMembers = math.MaxInt32 // of a room on a node
)

// RecordHead is how many bytes a record has at most in addition to the room's
// name and the frames.
const RecordHead = 1 + 3*binary.MaxVarintLen32

var errCutShort = errors.New("envelope: cut short")

// A Record is one entry of an envelope, about one room.
type Record interface {
	// Of returns the room, and its number of members on the sending node.
	Of() (room string, members int)
}

// A Message is a client's message to a room.
type Message struct {
	Room    string
	Members int
	Frames  *codec.Message
}

// A Count is the number of members that a room has on a node, without a
// message.
type Count struct {
	Room    string
	Members int
	Ask     bool // the receiver is asked for its count
}

// Of implements Record.
func (m Message) Of() (string, int) { return m.Room, m.Members }

// Of implements Record.
func (c Count) Of() (string, int) { return c.Room, c.Members }

// AppendHead appends the start of an envelope.
func AppendHead(b []byte, node uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, envelopeVersion), node)
}

// AppendMessage appends a message.
func AppendMessage(b []byte, room string, members int, m *codec.Message) []byte {
	kind := byte(kindMessage)
	if m.Volatile {
		kind = kindVolatile
	}
	frames := m.Frames()
	b = binary.AppendUvarint(appendRoom(b, kind, room, members), uint64(len(frames)))
	return append(b, frames...)
}

// AppendCount appends a count.
func AppendCount(b []byte, c Count) []byte {
	kind := byte(kindCount)
	if c.Ask {
		kind = kindAsk
	}
	return appendRoom(b, kind, c.Room, c.Members)
}

func appendRoom(b []byte, kind byte, room string, members int) []byte {
	b = binary.AppendUvarint(append(b, kind), uint64(members))
	return append(binary.AppendUvarint(b, uint64(len(room))), room...)
}

// Parse parses an envelope. On an error it returns the records before it.
// Messages keep a view of b.
func Parse(b []byte) (node uint32, records []Record, err error) {
	if len(b) < envelopeHead {
		return 0, nil, errCutShort
	}
	if b[0] != envelopeVersion {
		return 0, nil, fmt.Errorf("envelope: version %d, want %d", b[0], envelopeVersion)
	}
	node = binary.BigEndian.Uint32(b[1:])
	b = b[envelopeHead:]
	for len(b) > 0 {
		var r Record
		if r, b, err = next(b); err != nil {
			return node, records, err
		}
		records = append(records, r)
	}
	return node, records, nil
}

func next(b []byte) (r Record, rest []byte, err error) {
	kind := b[0]
	members, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return nil, nil, errCutShort
	}
	if members > maxMembers {
		return nil, nil, fmt.Errorf("envelope: %d members of a room, at most %d are possible", members, maxMembers)
	}
	name, b, ok := cutBytes(b[1+n:])
	if !ok {
		return nil, nil, errCutShort
	}
	room := string(name)
	switch kind {
	case kindCount, kindAsk:
		return Count{room, int(members), kind == kindAsk}, b, nil
	case kindMessage, kindVolatile:
	default:
		return nil, nil, fmt.Errorf("envelope: room %.80q: kind %d is none", room, kind)
	}
	frames, rest, ok := cutBytes(b)
	if !ok {
		return nil, nil, errCutShort
	}
	m, err := codec.FromFrames(frames)
	if err != nil {
		return nil, nil, fmt.Errorf("envelope: room %.80q: %w", room, err)
	}
	m.Volatile = kind == kindVolatile
	return Message{room, int(members), m}, rest, nil
}

// cutBytes reads a length and that many bytes.
func cutBytes(b []byte) (value, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(length)
	return b[n:end:end], b[end:], true
}
