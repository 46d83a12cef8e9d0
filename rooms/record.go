package rooms

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// A Record is what is stored of a session so that its client can come back.
type Record struct {
	PID    string
	ID     string // the socket's public one
	User   string
	Token  uint64 // TokenMark of the token's id; 0 when it has none
	Issued uint32 // when the token was, Unix s; 0 when it does not say
	Node   string // that has the session
	Moves  uint32 // how often another node has taken it
	Fence  uint32 // that the client's offset must have: see session.fence
	Log    string // identity of the log that the positions belong to

	// Rooms are the rooms the socket is in, its user's first, each with the
	// position in the log at which it joined. The socket is given the events
	// after that position.
	Rooms []RoomFrom

	Ended bool      // the following are known: the connection has ended
	At    time.Time // when
	Given uint64    // everything up to this position that is for the session was given to it
	Last  uint64    // position of the last event that was; 0: none was
	Left  bool      // the others have been told user_left

	// Orphan: Redis may have an older state with the same fence. The node that
	// had the session did not give it away, because it is dead or cut off from
	// Redis, or gave it away before Redis had its rooms.
	Orphan bool
}

// RecordVersion is the first byte of a record.
const RecordVersion = 4

// Bounds of a record.
const (
	maxRecordRooms = 20_000
	maxRecordText  = 4096 // bytes of a name
)

const (
	recordEnded  = 1
	recordLeft   = 2
	recordOrphan = 4
)

// AppendRecord appends the binary form:
//
//	1 byte   version
//	1 byte   flags
//	4 bytes  moves, the highest byte first
//	4 bytes  NodeMark of the node, the same way
//	texts    pid, id, user, node, log: each a uvarint length and the bytes
//	uvarints token, issued, fence
//	uvarint  number of rooms, and for each its name and its position
//	uvarints end in Unix ms, given, last: of an ended session only
func AppendRecord(b []byte, r *Record) []byte {
	var flags byte
	if r.Ended {
		flags |= recordEnded
	}
	if r.Left {
		flags |= recordLeft
	}
	if r.Orphan {
		flags |= recordOrphan
	}
	b = append(b, RecordVersion, flags)
	b = binary.BigEndian.AppendUint32(b, r.Moves)
	b = binary.BigEndian.AppendUint32(b, NodeMark(r.Node))
	for _, text := range []string{r.PID, r.ID, r.User, r.Node, r.Log} {
		b = appendText(b, text)
	}
	b = binary.AppendUvarint(b, r.Token)
	b = binary.AppendUvarint(b, uint64(r.Issued))
	b = binary.AppendUvarint(b, uint64(r.Fence))
	b = binary.AppendUvarint(b, uint64(len(r.Rooms)))
	for _, room := range r.Rooms {
		b = appendText(b, room.Name)
		b = binary.AppendUvarint(b, room.From)
	}
	if !r.Ended {
		return b
	}
	b = binary.AppendUvarint(b, uint64(r.At.UnixMilli()))
	b = binary.AppendUvarint(b, r.Given)
	return binary.AppendUvarint(b, r.Last)
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

var errRecord = errors.New("session record: cut short or malformed")

// ParseRecord parses what AppendRecord has written. The result does not refer
// to b.
func ParseRecord(b []byte) (*Record, error) {
	p := recordReader{rest: b}
	if version := p.byte(); version != RecordVersion && !p.bad {
		return nil, fmt.Errorf("session record of version %d, want %d", version, RecordVersion)
	}
	flags := p.byte()
	moves, mark := p.word(), p.word()
	r := &Record{Moves: moves, Ended: flags&recordEnded != 0, Left: flags&recordLeft != 0, Orphan: flags&recordOrphan != 0}
	for _, text := range []*string{&r.PID, &r.ID, &r.User, &r.Node, &r.Log} {
		*text = p.text()
	}
	r.Token = p.number()
	issued, fence := p.number(), p.number()
	r.Issued, r.Fence = uint32(issued), uint32(fence)
	n := p.number()
	p.bad = p.bad || uint64(r.Issued) != issued || uint64(r.Fence) != fence || n > maxRecordRooms || n > uint64(len(p.rest))
	for range n {
		if p.bad {
			return nil, errRecord
		}
		r.Rooms = append(r.Rooms, RoomFrom{Name: p.text(), From: p.number()})
	}
	if r.Ended {
		ms := p.number()
		p.bad = p.bad || ms > 1<<50
		r.At = time.UnixMilli(int64(ms))
		r.Given, r.Last = p.number(), p.number()
	}
	if p.bad || len(p.rest) > 0 || mark != NodeMark(r.Node) || flags > recordEnded|recordLeft|recordOrphan {
		return nil, errRecord
	}
	return r, nil
}

// NodeMark is a hash of a node's name, which scripts in Redis compare.
func NodeMark(node string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(node))
	return h.Sum32()
}

// RecordMoves returns Moves of a record in its binary form.
func RecordMoves(form []byte) uint32 {
	const at = 2 // behind the version and the flags
	if len(form) < at+4 {
		return 0
	}
	return binary.BigEndian.Uint32(form[at:])
}

// A recordReader takes values from the front of a record.
type recordReader struct {
	rest []byte
	bad  bool
}

func (p *recordReader) word() uint32 {
	if len(p.rest) < 4 {
		p.bad, p.rest = true, nil
		return 0
	}
	n := binary.BigEndian.Uint32(p.rest)
	p.rest = p.rest[4:]
	return n
}

func (p *recordReader) byte() byte {
	if len(p.rest) == 0 {
		p.bad = true
		return 0
	}
	c := p.rest[0]
	p.rest = p.rest[1:]
	return c
}

func (p *recordReader) number() uint64 {
	n, size := binary.Uvarint(p.rest)
	if size <= 0 {
		p.bad = true
		return 0
	}
	p.rest = p.rest[size:]
	return n
}

func (p *recordReader) text() string {
	n := p.number()
	if p.bad || n > maxRecordText || n > uint64(len(p.rest)) {
		p.bad = true
		return ""
	}
	text := string(p.rest[:n])
	p.rest = p.rest[n:]
	return text
}

// TokenMark is a hash of a token's id, used by sockets, records and orders. It
// is the same on every node; 0 for "".
func TokenMark(id string) uint64 {
	if id == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(id))
	return max(binary.LittleEndian.Uint64(sum[:]), 1)
}

// placed reports whether the position at which each room was joined is known.
func (r *Record) placed() bool {
	return !slices.ContainsFunc(r.Rooms, func(room RoomFrom) bool { return room.From == 0 })
}

// starts returns from which positions the rooms of a session are replayed to a
// client that comes back with an offset ("" for none), and up to which position
// everything was given to it. here: the record is this node's own.
func (r *Record) starts(log, offset string, here bool) (rooms []RoomFrom, given uint64, why RecoveryResult) {
	from, why := r.start(log, offset)
	if why != RecoveryDone {
		return nil, 0, why
	}
	for _, room := range r.Rooms {
		if room.From == 0 && !here {
			return nil, 0, RecoveryPosition
		}
		rooms = append(rooms, RoomFrom{Name: room.Name, From: max(room.From, from)})
	}
	return rooms, from, RecoveryDone
}

// start returns the position up to which the client has everything; 0: it has
// got nothing since it joined its rooms.
func (r *Record) start(log, offset string) (uint64, RecoveryResult) {
	if log == "" || r.Log != log {
		return 0, RecoveryOtherLog
	}
	o, ok := ParseOffset(offset)
	if o.Log != log {
		o.Position = 0 // the fence is of the session, whatever the log
	}
	switch position := o.Position; {
	case ok && o.Log != log && o.Fence == 0:
		return 0, RecoveryOtherLog
	case o.Fence != r.Fence:
		return 0, RecoveryStale
	case r.Ended && position > max(r.Given, r.Last):
		return 0, RecoveryOffset
	case r.Ended && r.Last == 0: // nothing was sent that could have been lost
		return r.Given, RecoveryDone
	case offset == "":
		return 0, RecoveryDone
	case !ok:
		return 0, RecoveryOffset
	case o.Log != log:
		return 0, RecoveryOtherLog
	case r.Ended && position == r.Last: // the client has what was sent last
		return max(r.Given, r.Last), RecoveryDone
	default:
		return position, RecoveryDone
	}
}

// maxOffsetDigits is the length of the largest number in an offset.
const maxOffsetDigits = 13

// An Offset is how far a client has read the log. The client sends it when it
// comes back.
type Offset struct {
	Log      string // identity
	Position uint64
	Fence    uint32 // see session.fence; 0: none
}

// ParseOffset parses an offset. It accepts only the form of codec.AppendOffset,
// and position 0 only with a fence.
func ParseOffset(text string) (o Offset, ok bool) {
	log, numbers, found := strings.Cut(text, ".")
	if !found || log == "" {
		return Offset{}, false
	}
	digits, mark, fenced := strings.Cut(numbers, ".")
	position, ok := base36(digits)
	if !ok || position == 0 && !fenced {
		return Offset{}, false
	}
	o = Offset{Log: log, Position: position}
	if fenced {
		fence, ok := base36(mark)
		if o.Fence = uint32(fence); !ok || fence == 0 || uint64(o.Fence) != fence {
			return Offset{}, false
		}
	}
	return o, true
}

// base36 parses a number in its shortest form.
func base36(digits string) (number uint64, ok bool) {
	if digits == "" || len(digits) > maxOffsetDigits || digits[0] == '0' && digits != "0" {
		return 0, false
	}
	for _, c := range []byte(digits) {
		var digit uint64
		switch {
		case c >= '0' && c <= '9':
			digit = uint64(c - '0')
		case c >= 'a' && c <= 'z':
			digit = uint64(c-'a') + 10
		default:
			return 0, false
		}
		next := number*36 + digit
		if next/36 != number { // overflow
			return 0, false
		}
		number = next
	}
	return number, true
}
