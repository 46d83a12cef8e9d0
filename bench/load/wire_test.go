package load

import (
	"bytes"
	"strings"
	"testing"
)

func serverFrame(op byte, payload string) []byte {
	n := len(payload)
	switch {
	case n < 126:
		return append([]byte{0x80 | op, byte(n)}, payload...)
	case n < 1<<16:
		return append([]byte{0x80 | op, 126, byte(n >> 8), byte(n)}, payload...)
	}
	return append([]byte{0x80 | op, 127, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, payload...)
}

func TestFramesAreReadOnlyWhenComplete(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := strings.Repeat("x", size)
		wire := serverFrame(opText, payload)
		for _, cut := range []int{0, 1, 2, 3, 5, 9, len(wire) - 1} {
			if cut >= len(wire) {
				continue
			}
			if _, _, n, err := nextFrame(wire[:cut]); n != 0 || err != nil {
				t.Errorf("size %d cut at %d: n=%d err=%v, want n=0, to read more bytes", size, cut, n, err)
			}
		}
		op, p, n, err := nextFrame(append(wire, "next"...))
		if op != opText || string(p) != payload || n != len(wire) || err != nil {
			t.Errorf("size %d: op=%d payload of %d, n=%d of %d, err=%v", size, op, len(p), n, len(wire), err)
		}
	}
}

func TestInvalidServerFramesAreRefused(t *testing.T) {
	for name, wire := range map[string][]byte{
		"masked":       {0x81, 0x81, 0, 0, 0, 0, 'x'},
		"fragmented":   {0x01, 1, 'x'},
		"reserved bit": {0xc1, 1, 'x'},
		"too long":     {0x81, 127, 0, 0, 0, 0, 0x7f, 0, 0, 0},
	} {
		if _, _, _, err := nextFrame(wire); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestClientFrameUnmasksToWhatWasSent(t *testing.T) {
	for _, size := range []int{1, 125, 126, 70000} {
		payload := bytes.Repeat([]byte("ab"), size)[:size]
		wire := appendFrame(nil, opText, payload)
		if wire[1]&0x80 == 0 {
			t.Fatalf("size %d: not masked", size)
		}
		wire[1] &^= 0x80
		header := len(wire) - size - 4
		body := wire[header+4:]
		for i := range body {
			body[i] ^= wire[header+i&3]
		}
		if !bytes.Equal(body, payload) {
			t.Errorf("size %d: payload changed", size)
		}
	}
}

func TestEventsAreRecognisedByName(t *testing.T) {
	for packet, want := range map[string]eventName{
		`42["user_typing",{}]`:      userTyping,
		`42["user_typing_not",{}]`:  otherEvent,
		`42["new_message",{}]`:      newMessage,
		`42["new_notification",{}]`: newNotification,
		`42["user_joined",{}]`:      userJoined,
		`42["connected",{}]`:        connectedEvent,
		`42[`:                       otherEvent,
	} {
		if got := eventOf([]byte(packet)); got != want {
			t.Errorf("%s: %d, want %d", packet, got, want)
		}
	}
}

func TestMarkRoundTrip(t *testing.T) {
	p := append([]byte(`42["new_message",{"message":"`), appendMark(nil, 4_000_000_000, 987654321)...)
	seq, sent, ok := parseMark(append(p, `xx"}]`...))
	if seq != 4_000_000_000 || sent != 987654321 || !ok {
		t.Errorf("seq %d sent %d ok %v", seq, sent, ok)
	}
	for _, bad := range []string{"", "no mark", "#12", "#12@", "#12@34", "#@#x", "#x@1#"} {
		if _, _, ok := parseMark([]byte(bad)); ok && bad != "#@#x" {
			t.Errorf("%q: accepted as a mark", bad)
		}
	}
}

func TestTimestampIsReadInMilliseconds(t *testing.T) {
	if got := stampOf([]byte(`{"timestamp":"2026-01-02T03:04:05.678Z"}`)); got != ((3*60+4)*60+5)*1000+678 {
		t.Errorf("got %d", got)
	}
	for _, bad := range []string{`{}`, `{"timestamp":"yesterday"}`, `{"timestamp":"`} {
		if got := stampOf([]byte(bad)); got != -1 {
			t.Errorf("%s: %d, want -1", bad, got)
		}
	}
}

func TestResponsesAreReadCompletelyAndOneByOne(t *testing.T) {
	wire := []byte("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	for cut := range len(wire) / 2 {
		if _, _, used := nextResponse(wire[:cut]); used != 0 {
			t.Fatalf("cut at %d: used %d", cut, used)
		}
	}
	status, body, used := nextResponse(wire)
	if status != 202 || string(body) != "{}" {
		t.Errorf("first: %d %q", status, body)
	}
	if status, body, _ = nextResponse(wire[used:]); status != 404 || len(body) != 0 {
		t.Errorf("second: %d %q", status, body)
	}
}
