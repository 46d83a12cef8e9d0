package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// An envelope is what one lane of a node sends to another node at once:
//
//	1 byte   version
//	1 byte   lane
//	4 bytes  node, big-endian
//	records, each
//	  uvarint  number, which counts the lane's messages
//	  1 byte   flags
//	  uvarint  members of the room on the node
//	  uvarint  length of the room's name, and the name
//	  uvarint  length of the frames, and the frames, ready to write, or of an
//	           order, and the order; not in a question, whether a room's new
//	           holder has been noticed, and not in an answer, whose number is
//	           the question's
//
// The sender's exclusion needs no field: a socket is on one node, and that
// node has left it out.
const (
	envelopeVersion = 1
	envelopeHead    = 6

	flagVolatile = 1
	flagQuestion = 2
	flagAnswer   = 4
	flagOrder    = 8

	maxMembers = math.MaxInt32 // of a room on a node

	recordHead = 3*binary.MaxVarintLen32 + binary.MaxVarintLen64 + 1 // bytes at most
)

var errCutShort = errors.New("envelope: cut short")

func appendEnvelopeHead(b []byte, node uint32, lane int) []byte {
	return binary.BigEndian.AppendUint32(append(b, envelopeVersion, byte(lane)), node)
}

func appendRecord(b []byte, number uint64, members int, broadcast *rooms.Broadcast) []byte {
	if broadcast.Order != nil {
		return appendBody(appendSignal(b, number, flagOrder, 0, broadcast.Room), formOf(broadcast.Order))
	}
	var flags byte
	if broadcast.Message.Volatile {
		flags = flagVolatile
	}
	b = appendSignal(b, number, flags, members, broadcast.Room)
	return appendBody(b, broadcast.Message.Frames())
}

func appendBody(b, body []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(body))), body...)
}

// appendSignal appends a question or an answer, or what others begin with.
func appendSignal(b []byte, number uint64, flags byte, members int, room string) []byte {
	b = append(binary.AppendUvarint(b, number), flags)
	b = binary.AppendUvarint(b, uint64(members))
	return append(binary.AppendUvarint(b, uint64(len(room))), room...)
}

// A source is what numbers its messages: one lane of a node.
type source struct {
	node uint32
	lane byte
}

// parseEnvelope reads the head and returns the records behind it.
func parseEnvelope(b []byte) (from source, records []byte, err error) {
	if len(b) < envelopeHead {
		return from, nil, errCutShort
	}
	if b[0] != envelopeVersion {
		return from, nil, fmt.Errorf("envelope: version %d, want %d", b[0], envelopeVersion)
	}
	return source{binary.BigEndian.Uint32(b[2:]), b[1]}, b[envelopeHead:], nil
}

// A record is a message, an order, a question or an answer.
type record struct {
	rooms.Broadcast
	number  uint64
	flags   byte
	members int
	form    []byte // of an order, which may be none
}

// nextRecord reads a record and returns what is behind it. The message keeps a
// view of b.
func nextRecord(b []byte) (r record, rest []byte, err error) {
	number, n := binary.Uvarint(b)
	if n <= 0 || n == len(b) {
		return r, nil, errCutShort
	}
	r.number, r.flags = number, b[n]
	b = b[n+1:]
	members, n := binary.Uvarint(b)
	if n <= 0 {
		return r, nil, errCutShort
	}
	if members > maxMembers {
		return r, nil, fmt.Errorf("envelope: %d members of a room, at most %d are possible", members, maxMembers)
	}
	r.members = int(members)
	room, b, ok := cutBytes(b[n:])
	if !ok {
		return r, nil, errCutShort
	}
	r.Room = string(room)
	if r.flags&(flagQuestion|flagAnswer) != 0 {
		return r, b, nil
	}
	body, rest, ok := cutBytes(b)
	if !ok {
		return r, nil, errCutShort
	}
	if r.flags&flagOrder != 0 {
		r.form = body
		return r, rest, nil
	}
	if r.Message, err = codec.FromFrames(body); err != nil {
		return r, nil, fmt.Errorf("envelope: room %.80q: %w", room, err)
	}
	r.Message.Volatile = r.flags&flagVolatile != 0
	return r, rest, nil
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
