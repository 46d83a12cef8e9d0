package codec

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// frameSamples are frame headers with their fields. Those of final, unmasked frames
// are also used to test encoding.
var frameSamples = []struct {
	name string
	want ws.Header
	wire []byte
}{
	{"empty text", ws.Header{Fin: true, OpCode: ws.OpText}, []byte{0x81, 0}},
	{"longest short text", ws.Header{Fin: true, OpCode: ws.OpText, Length: 125}, []byte{0x81, 125}},
	{"shortest medium text", ws.Header{Fin: true, OpCode: ws.OpText, Length: 126}, []byte{0x81, 126, 0, 126}},
	{"longest medium binary", ws.Header{Fin: true, OpCode: ws.OpBinary, Length: 65535}, []byte{0x82, 126, 0xff, 0xff}},
	{"shortest long binary", ws.Header{Fin: true, OpCode: ws.OpBinary, Length: 65536}, []byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
	{"longest of all", ws.Header{Fin: true, OpCode: ws.OpBinary, Length: 1<<63 - 1}, []byte{0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
	{"ping", ws.Header{Fin: true, OpCode: ws.OpPing}, []byte{0x89, 0}},
	{"close", ws.Header{Fin: true, OpCode: ws.OpClose, Length: 2}, []byte{0x88, 2}},
	{"masked empty text", ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Mask: [4]byte{1, 2, 3, 4}}, []byte{0x81, 0x80, 1, 2, 3, 4}},
	{"masked short text", ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Mask: [4]byte{0xff, 0, 0xff, 0}, Length: 125},
		[]byte{0x81, 0x80 | 125, 0xff, 0, 0xff, 0}},
	{"masked medium text", ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Mask: [4]byte{1, 2, 3, 4}, Length: 0x1234},
		[]byte{0x81, 0xfe, 0x12, 0x34, 1, 2, 3, 4}},
	{"masked long text", ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Mask: [4]byte{1, 2, 3, 4}, Length: 0x123456},
		[]byte{0x81, 0xff, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 1, 2, 3, 4}},
	{"first fragment", ws.Header{OpCode: ws.OpText, Length: 1}, []byte{0x01, 1}},
	{"last fragment", ws.Header{Fin: true, OpCode: ws.OpContinuation, Length: 1}, []byte{0x80, 1}},
	{"compressed", ws.Header{Fin: true, Rsv: 4, OpCode: ws.OpText, Length: 1}, []byte{0xc1, 1}},
	{"all reserved bits and a reserved code", ws.Header{Rsv: 7, OpCode: 0xf, Length: 1}, []byte{0x7f, 1}},
}

func TestParseFrameHeader(t *testing.T) {
	for _, sample := range frameSamples {
		t.Run(sample.name, func(t *testing.T) {
			for _, after := range []string{"", "payload and the next frame"} {
				h, n, err := ParseFrameHeader(append(bytes.Clone(sample.wire), after...))
				if err != nil || n != len(sample.wire) || h != sample.want {
					t.Errorf("got %+v, n = %d, %v; want %+v, n = %d", h, n, err, sample.want, len(sample.wire))
				}
			}
			for i := range sample.wire {
				if _, n, err := ParseFrameHeader(sample.wire[:i]); n != 0 || err != nil {
					t.Errorf("first %d bytes: n = %d, %v; want to be asked for more", i, n, err)
				}
			}
		})
	}
}

func TestAppendFrameHeader(t *testing.T) {
	for _, sample := range frameSamples {
		h := sample.want
		if !h.Fin || h.Masked || h.Rsv != 0 || int64(int(h.Length)) != h.Length {
			continue
		}
		if got := AppendFrameHeader([]byte("x"), h.OpCode, int(h.Length)); !bytes.Equal(got, append([]byte("x"), sample.wire...)) {
			t.Errorf("%s: % x, want % x", sample.name, got[1:], sample.wire)
		}
		if got := frameSize(int(h.Length)); got-int(h.Length) != len(sample.wire) && h.Length < 1<<62 {
			t.Errorf("%s: size %d of header and payload, want %d more than the payload", sample.name, got, len(sample.wire))
		}
	}
}

func TestParseFrameHeaderRefuses(t *testing.T) {
	for _, tt := range []struct {
		reason string
		wire   []byte
	}{
		{"length 0 in 2 bytes", []byte{0x81, 126, 0, 0}},
		{"length 125 in 2 bytes", []byte{0x81, 126, 0, 125}},
		{"length 0 in 8 bytes", []byte{0x81, 127, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"length 65535 in 8 bytes", []byte{0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}},
		{"length over 63 bits", []byte{0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}},
		{"largest length", []byte{0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
		{"length 1 in 2 bytes, masked", []byte{0x81, 0xfe, 0, 1, 1, 2, 3, 4}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			_, n, err := ParseFrameHeader(tt.wire)
			wantSyntax(t, n, err, LayerWebSocket)
			wantSplitsAgree(t, string(tt.wire), func(b []byte) (int, error) {
				_, n, err := ParseFrameHeader(b)
				return n, err
			})
		})
	}
}

func TestParseClose(t *testing.T) {
	for _, tt := range []struct {
		payload string
		want    ws.StatusCode
	}{
		{"", 1000},
		{"\x03", 1002},
		{"\x03\xe8", 1000},
		{"\x03\xe9going away", 1001},
		{"\x03\xe8Zo\xc3\xab", 1000},
		{"\x03\xe8\xff", 1007},
		{"\x03\xe8cut \xc3", 1007},
		{"\x03\xf4\xff", 1007}, // 1012
		{"\x00\x00", 1002},
		{"\x00\x00\xff", 1002},
	} {
		if got := ParseClose([]byte(tt.payload)); got != tt.want {
			t.Errorf("close %q is answered with %d, want %d", tt.payload, got, tt.want)
		}
	}
}

func TestParseCloseAcceptsTheValidCodes(t *testing.T) {
	travels := func(code int) bool {
		switch {
		case code < 1000, code == 1004, code == 1005, code == 1006, code >= 1015 && code < 3000, code >= 5000:
			return false
		}
		return true
	}
	for code := range 1 << 16 {
		want := ws.StatusCode(code)
		if !travels(code) {
			want = ws.StatusProtocolError
		}
		if got := ParseClose([]byte{byte(code >> 8), byte(code)}); got != want {
			t.Errorf("close %d is answered with %d, want %d", code, got, want)
		}
	}
}

func TestAppendClose(t *testing.T) {
	for _, tt := range []struct{ reason, want string }{
		{"", ""},
		{"slow consumer", "slow consumer"},
		{strings.Repeat("x", 123), strings.Repeat("x", 123)},
		{strings.Repeat("x", 124), strings.Repeat("x", 123)},
		{strings.Repeat("é", 62), strings.Repeat("é", 61)},
		{strings.Repeat("x", 121) + "€", strings.Repeat("x", 121)},
		{strings.Repeat("x", 120) + "€", strings.Repeat("x", 120) + "€"},
		{strings.Repeat("x", 123) + "€", strings.Repeat("x", 123)},
	} {
		frame := AppendClose([]byte("x"), ws.StatusPolicyViolation, tt.reason)[1:]
		h, n, err := ParseFrameHeader(frame)
		if err != nil || h.OpCode != ws.OpClose || int(h.Length) != len(frame)-n || ws.CheckHeader(h, ws.StateClientSide) != nil {
			t.Fatalf("close of %d bytes: header %+v, %v", len(tt.reason), h, err)
		}
		code, reason := ws.ParseCloseFrameData(frame[n:])
		if code != ws.StatusPolicyViolation || reason != tt.want || !utf8.ValidString(reason) {
			t.Errorf("close with %q: %d %q, want %q", tt.reason, code, reason, tt.want)
		}
	}
}

// ws.Cipher of the library unmasks a part of a read buffer correctly at any alignment
// and changes nothing else.
func TestUnmaskInPlace(t *testing.T) {
	mask := [4]byte{0x01, 0x80, 0xff, 0x5a}
	for start := range 40 {
		for length := range 200 {
			for offset := range 5 {
				buf := make([]byte, start+length+40)
				for i := range buf {
					buf[i] = byte(i * 7)
				}
				want := bytes.Clone(buf)
				for i := range length {
					want[start+i] ^= mask[(offset+i)%4]
				}
				ws.Cipher(buf[start:start+length], mask, offset)
				if !bytes.Equal(buf, want) {
					t.Fatalf("wrong result for start %d, length %d, offset %d", start, length, offset)
				}
			}
		}
	}
}
