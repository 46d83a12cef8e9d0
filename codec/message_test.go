package codec

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

var messageSamples = []struct {
	name    string
	make    func() *Message
	frames  string
	payload string
}{
	{"text", func() *Message { return NewText([]byte(`42["a"]`)) }, "\x81\x0742[\"a\"]", `42["a"]`},
	{"one digit", func() *Message { return NewText([]byte("2")) }, "\x81\x012", "2"},
	{"binary", func() *Message { return newBinary([]byte{1, 2, 3}) }, "\x82\x03\x01\x02\x03", "bAQID"},
	{"empty binary", func() *Message { return newBinary(nil) }, "\x82\x00", "b"},
	{"attachments", func() *Message {
		return NewAttached([]byte(`452-["a"]`), [][]byte{{1, 2, 3}, {}, {4}})
	}, "\x81\x09452-[\"a\"]\x82\x03\x01\x02\x03\x82\x00\x82\x01\x04", "452-[\"a\"]\x1ebAQID\x1eb\x1ebBA=="},
	{"no attachments", func() *Message { return NewAttached([]byte("450-[]"), nil) }, "\x81\x06450-[]", "450-[]"},
}

func TestMessage(t *testing.T) {
	for _, sample := range messageSamples {
		m := sample.make()
		if got := string(m.Frames()); got != sample.frames || m.Size() != len(sample.frames) {
			t.Errorf("%s: frames %q of size %d, want %q", sample.name, got, m.Size(), sample.frames)
		}
		if got := string(m.AppendPayload(nil)); got != sample.payload {
			t.Errorf("%s: payload %q, want %q", sample.name, got, sample.payload)
		}
		if got := string(m.AppendPayload([]byte("2"))); got != "2\x1e"+sample.payload {
			t.Errorf("%s: appended to another packet: %q", sample.name, got)
		}
	}
}

// Both forms of a message share one array of the exact size, for any length of its
// frame headers, and a message does not change with the bytes it was made from.
func TestMessageHoldsItsBytesOnce(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 65535, 65536, 70000}
	for _, size := range sizes {
		packet := []byte("4" + strings.Repeat("t", size))
		attachments := [][]byte{bytes.Repeat([]byte("a"), size), []byte("b"), bytes.Repeat([]byte("c"), size/2)}
		for _, m := range []*Message{NewText(packet), newBinary(attachments[0]), NewAttached(packet, attachments)} {
			if len(m.frames) != cap(m.frames) {
				t.Errorf("size %d: %d bytes in an array of %d", size, len(m.frames), cap(m.frames))
			}
			wantViews(t, m)
		}
		m := NewAttached(packet, attachments)
		want := string(m.AppendPayload(nil))
		clear(packet)
		clear(attachments[0])
		if got := string(m.AppendPayload(nil)); got != want {
			t.Errorf("size %d: the message changed with its source", size)
		}
	}
}

// wantViews parses the frames as a client does and checks that each payload is the
// same memory as the view kept for long-polling.
func wantViews(t *testing.T, m *Message) {
	t.Helper()
	views := m.binary
	if m.Text() != nil {
		views = append([][]byte{m.Text()}, m.binary...)
	}
	rest := m.frames
	for i, view := range views {
		h, n, err := ParseFrameHeader(rest)
		if err != nil || ws.CheckHeader(h, ws.StateClientSide) != nil || (h.OpCode == ws.OpText) != (i == 0 && m.Text() != nil) {
			t.Fatalf("frame %d: %+v, %v", i, h, err)
		}
		if payload := rest[n : n+int(h.Length)]; len(payload) != len(view) || len(view) > 0 && &payload[0] != &view[0] {
			t.Errorf("frame %d: the view of %d bytes is not the payload of %d", i, len(view), len(payload))
		}
		rest = rest[n+int(h.Length):]
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes follow the last frame", len(rest))
	}
}

func TestNewAttachedAllocates(t *testing.T) {
	packet, attachments := []byte("453-[]"), [][]byte{make([]byte, 300), make([]byte, 70000), make([]byte, 3)}
	if got := testing.AllocsPerRun(100, func() { sink = NewAttached(packet, attachments) }); got != 3 {
		t.Errorf("%v allocations, want 3: the message, its bytes, its views", got)
	}
}

func TestPayloadOfManyMessagesCanBeSplit(t *testing.T) {
	var body []byte
	var want []string
	for _, sample := range messageSamples {
		body = sample.make().AppendPayload(body)
		want = append(want, strings.Split(sample.payload, "\x1e")...)
	}
	for i, packet := range want {
		var got []byte
		if got, body = NextPacket(body); string(got) != packet {
			t.Errorf("packet %d: %q, want %q", i, got, packet)
		}
		if packet[0] == 'b' {
			want, _ := base64.StdEncoding.DecodeString(packet[1:])
			if data, err := DecodeBinaryPacket(got); err != nil || !bytes.Equal(data, want) {
				t.Errorf("packet %d: % x, %v", i, data, err)
			}
		}
	}
	if body != nil {
		t.Errorf("%q follows the last packet", body)
	}
}

func TestFromFramesRoundTrip(t *testing.T) {
	for _, sample := range messageSamples {
		m, err := FromFrames([]byte(sample.frames))
		if err != nil {
			t.Errorf("%s: %v", sample.name, err)
			continue
		}
		if got := string(m.Frames()); got != sample.frames {
			t.Errorf("%s: frames %q, want %q", sample.name, got, sample.frames)
		}
		if got := string(m.AppendPayload(nil)); got != sample.payload {
			t.Errorf("%s: payload %q, want %q", sample.name, got, sample.payload)
		}
	}
}

func TestFromFramesRefuses(t *testing.T) {
	for name, frames := range map[string]string{
		"nothing":               "",
		"an unfinished frame":   "\x01\x012",
		"a continuation":        "\x80\x012",
		"a mask":                "\x81\x81abcd2",
		"a reserved bit":        "\xc1\x012",
		"a ping":                "\x89\x00",
		"a close behind text":   "\x81\x012\x88\x00",
		"two texts":             "\x81\x012\x81\x012",
		"text behind binary":    "\x82\x00\x81\x012",
		"an empty text":         "\x81\x00",
		"text that is not":      "\x81\x024\xff",
		"a long form of short":  "\x81\x7e\x00\x012",
		"a length out of range": "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		if _, err := FromFrames([]byte(frames)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for _, sample := range messageSamples {
		for cut := range len(sample.frames) {
			whole := sample.frames[:cut]
			if m, err := FromFrames([]byte(whole)); err == nil && string(m.Frames()) != whole {
				t.Errorf("%s cut to %d bytes became %q", sample.name, cut, m.Frames())
			}
		}
	}
}

// FuzzFromFrames checks that the constructors make the same bytes as an input that
// FromFrames accepts.
func FuzzFromFrames(f *testing.F) {
	for _, sample := range messageSamples {
		f.Add([]byte(sample.frames))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := FromFrames(b)
		if err != nil {
			return
		}
		if got := m.rebuilt(); string(got.frames) != string(b) {
			t.Errorf("message of % x encodes to % x", b, got.frames)
		}
	})
}

func (m *Message) rebuilt() *Message {
	again := &Message{}
	if m.Text() != nil {
		again.append(ws.OpText, m.Text())
	}
	for _, b := range m.binary {
		again.append(ws.OpBinary, b)
	}
	return again
}

// newBinary makes a message of one binary Engine.IO packet, which only tests need.
func newBinary(data []byte) *Message {
	m := &Message{frames: make([]byte, 0, frameSize(len(data)))}
	m.binary = [][]byte{m.append(ws.OpBinary, data)}
	return m
}
