package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"

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
//	  uvarint  length of the room's name, and the name
//	  uvarint  length of the frames, and the frames, ready to write
//
// The sender's exclusion needs no field: a socket is on one node, and that
// node has left it out.
const (
	envelopeVersion = 1
	envelopeHead    = 6

	flagVolatile = 1
)

var errCutShort = errors.New("envelope: cut short")

func appendEnvelopeHead(b []byte, node uint32, lane int) []byte {
	return binary.BigEndian.AppendUint32(append(b, envelopeVersion, byte(lane)), node)
}

func appendRecord(b []byte, number uint64, broadcast *rooms.Broadcast) []byte {
	b = binary.AppendUvarint(b, number)
	var flags byte
	if broadcast.Message.Volatile {
		flags |= flagVolatile
	}
	b = append(b, flags)
	b = append(binary.AppendUvarint(b, uint64(len(broadcast.Room))), broadcast.Room...)
	frames := broadcast.Message.Frames()
	return append(binary.AppendUvarint(b, uint64(len(frames))), frames...)
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

// nextRecord reads a record and returns what is behind it. The message keeps a
// view of b.
func nextRecord(b []byte) (number uint64, broadcast rooms.Broadcast, rest []byte, err error) {
	number, n := binary.Uvarint(b)
	if n <= 0 || n == len(b) {
		return 0, broadcast, nil, errCutShort
	}
	flags := b[n]
	room, b, ok := cutBytes(b[n+1:])
	if !ok {
		return 0, broadcast, nil, errCutShort
	}
	frames, rest, ok := cutBytes(b)
	if !ok {
		return 0, broadcast, nil, errCutShort
	}
	message, err := codec.FromFrames(frames)
	if err != nil {
		return 0, broadcast, nil, fmt.Errorf("envelope: room %.80q: %w", room, err)
	}
	message.Volatile = flags&flagVolatile != 0
	return number, rooms.Broadcast{Room: string(room), Message: message}, rest, nil
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
