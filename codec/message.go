package codec

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// A Message is one outgoing packet, encoded once for any number of receivers
// on either transport. It is read-only after it was made, and so may be shared
// between event loops. It has 80 bytes: objects that live for a moment should
// not be of a size (class) that those of a connection have, whose memory they
// would leave with holes.
type Message struct {
	frames []byte   // complete WebSocket frames, ready to write
	binary [][]byte // binary packets that follow: views into frames

	// Where the Engine.IO text packet is in frames. textEnd is 0 if there is none.
	textFrom, textEnd int32

	// Volatile marks a message that is worthless when it is late: a socket with
	// a backlog does not get it.
	Volatile bool

	// Latest names the state that the message describes, "" for none. A socket
	// with a backlog gets only the last of the messages about one state.
	Latest string
}

// WithOffset returns the message, an event of one text packet, with an offset
// as its last argument: see AppendOffset.
func (m *Message) WithOffset(log string, position uint64, fence uint32) *Message {
	text := m.Text()
	b := make([]byte, 0, len(text)+len(log)+len(`,".0123456789abc.0123456"]`))
	b = append(b, text[:len(text)-1]...) // without the closing bracket
	b = AppendOffset(append(b, `,"`...), log, position, fence)
	numbered := NewText(append(b, `"]`...))
	numbered.Latest = m.Latest
	return numbered
}

// AppendOffset appends an offset as clients get it: the identity of a log, a
// position in it and, unless that is 0, a fence, such as "k3f9a.1z" and
// "k3f9a.1z.b05".
func AppendOffset(b []byte, log string, position uint64, fence uint32) []byte {
	b = strconv.AppendUint(append(append(b, log...), '.'), position, 36)
	if fence == 0 {
		return b
	}
	return strconv.AppendUint(append(b, '.'), uint64(fence), 36)
}

// NewText makes a message of one Engine.IO text packet, its type digit
// included, for example `42["connected",{}]`.
func NewText(packet []byte) *Message {
	m := &Message{frames: make([]byte, 0, frameSize(len(packet)))}
	m.appendText(packet)
	return m
}

// NewAttached makes a message of a text packet and the binary attachments it
// announces. They are sent in one piece, so that nothing comes between them.
func NewAttached(packet []byte, attachments [][]byte) *Message {
	size := frameSize(len(packet))
	for _, a := range attachments {
		size += frameSize(len(a))
	}
	m := &Message{frames: make([]byte, 0, size), binary: make([][]byte, 0, len(attachments))}
	m.appendText(packet)
	for _, a := range attachments {
		m.binary = append(m.binary, m.append(ws.OpBinary, a))
	}
	return m
}

// FromFrames makes a message of the Frames of another one, of this node or
// another. It keeps a view of b. It refuses what no constructor makes: anything
// but final, unmasked frames, of which the first is UTF-8 text and the others
// are binary.
func FromFrames(b []byte) (*Message, error) {
	m := &Message{frames: b}
	for len(b) > 0 {
		h, n, err := ParseFrameHeader(b)
		if err != nil {
			return nil, err
		}
		if n == 0 || h.Length > int64(len(b)-n) {
			return nil, syntax(LayerWebSocket, "a frame is cut short")
		}
		if !h.Fin || h.Masked || h.Rsv != 0 {
			return nil, syntax(LayerWebSocket, "header % x: want a final, unmasked frame", b[:n])
		}
		payload := b[n : n+int(h.Length)]
		if err := m.adopt(h.OpCode, n, payload); err != nil {
			return nil, err
		}
		b = b[n+int(h.Length):]
	}
	if m.textEnd == 0 && m.binary == nil {
		return nil, syntax(LayerWebSocket, "a message without frames")
	}
	return m, nil
}

// adopt takes the payload of the next frame, with a header of so many bytes.
func (m *Message) adopt(op ws.OpCode, header int, payload []byte) error {
	switch {
	case op == ws.OpBinary:
		m.binary = append(m.binary, payload)
	case op != ws.OpText || m.textEnd != 0 || m.binary != nil:
		return syntax(LayerWebSocket, "frame of type %d after %d others", op, len(m.binary))
	case len(payload) == 0:
		return syntax(LayerEngine, "an empty packet")
	case !utf8.Valid(payload):
		return syntax(LayerWebSocket, "text that is not UTF-8")
	default:
		m.textFrom, m.textEnd = int32(header), int32(header+len(payload)) // it is the first frame
	}
	return nil
}

// appendText adds the text packet, before all others.
func (m *Message) appendText(packet []byte) {
	m.append(ws.OpText, packet)
	m.textEnd = int32(len(m.frames))
	m.textFrom = m.textEnd - int32(len(packet))
}

// append adds a frame and returns the view of its payload. The views stay valid
// because the constructors allocate enough for all frames.
func (m *Message) append(op ws.OpCode, payload []byte) []byte {
	m.frames = append(AppendFrameHeader(m.frames, op, len(payload)), payload...)
	return m.frames[len(m.frames)-len(payload):]
}

// Frames returns the message as WebSocket frames. They must not be changed.
func (m *Message) Frames() []byte { return m.frames }

// Text returns the Engine.IO text packet, nil when there is none. It must not be
// changed.
func (m *Message) Text() []byte {
	if m.textEnd == 0 {
		return nil
	}
	return m.frames[m.textFrom:m.textEnd]
}

// Size is the number of bytes Frames has.
func (m *Message) Size() int { return len(m.frames) }

// Packets is the number of Engine.IO packets in the message.
func (m *Message) Packets() int {
	if m.textEnd == 0 {
		return len(m.binary)
	}
	return 1 + len(m.binary)
}

// AppendPayload appends the message in long-polling form, behind a separator
// when dst already holds packets.
func (m *Message) AppendPayload(dst []byte) []byte {
	if m.textEnd != 0 {
		dst = AppendPacket(dst, m.Text())
	}
	for _, b := range m.binary {
		dst = append(appendSeparator(dst), 'b')
		dst = base64.StdEncoding.AppendEncode(dst, b)
	}
	return dst
}

func appendSeparator(dst []byte) []byte {
	if len(dst) > 0 {
		return append(dst, payloadSeparator)
	}
	return dst
}
