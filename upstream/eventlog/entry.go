package eventlog

import (
	"strconv"
	"strings"
	"time"
)

// A Position is the place of an entry in its log. The first entry of a log has
// position 1 or higher, and a later entry has a higher position. 0 means no
// position.
type Position uint64

// String returns the position in base 36, which is its form on the wire.
func (p Position) String() string { return strconv.FormatUint(uint64(p), 36) }

// ParsePosition parses what String returns. It accepts no other form of the
// same number.
func ParsePosition(text string) (Position, bool) {
	n, err := strconv.ParseUint(text, 36, 64)
	if err != nil || n == 0 || Position(n).String() != text {
		return 0, false
	}
	return Position(n), true
}

// An Offset is a position together with the log that it belongs to. A log that
// was deleted and created again has another identity, so that offsets of the
// deleted log are not mistaken for offsets of the new one.
type Offset struct {
	Log      string // identity of the log; has no '.'
	Position Position
}

// String returns the offset's form on the wire, such as "k3f9a.1z".
func (o Offset) String() string { return o.Log + "." + o.Position.String() }

// ParseOffset parses what String returns.
func ParseOffset(text string) (Offset, bool) {
	log, position, found := strings.Cut(text, ".")
	p, ok := ParsePosition(position)
	if !found || !ok || log == "" {
		return Offset{}, false
	}
	return Offset{Log: log, Position: p}, true
}

// An Entry is one event in the log. It is read-only.
type Entry struct {
	Position Position

	Exchange  string // exchange to which a service published it; "" when it came over HTTP
	Key       string // of the event, such as "message.sent"; "" for an entry that is no event
	MessageID string // of the publisher; "" when it set none
	AppID     string // of the publisher; "" when it set none
	Trace     string // W3C traceparent; "" when there is none
	Published time.Time
	Body      []byte

	Headers map[string]any // all other headers of the publisher; nil for none
}

// A Letter is a dead letter: an entry that can never be delivered, and the
// reason.
type Letter struct {
	Log    string // identity of the log; with the position it identifies the letter
	Entry  Entry
	Reason string
	Detail string
}

// entryOverhead is about how much memory an entry takes in addition to its texts.
const entryOverhead = 200 // bytes

// Size returns about how many bytes the entry takes in memory.
func (e *Entry) Size() int {
	return entryOverhead + len(e.Exchange) + len(e.Key) + len(e.MessageID) + len(e.AppID) + len(e.Trace) + len(e.Body)
}

// same reports whether two entries are the same event.
func (e *Entry) same(other *Entry) bool {
	return e.Key == other.Key && e.MessageID == other.MessageID && e.Exchange == other.Exchange &&
		e.AppID == other.AppID && string(e.Body) == string(other.Body)
}
