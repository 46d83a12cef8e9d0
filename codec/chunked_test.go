package codec

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

var chunkedSamples = []struct{ name, text, want string }{
	{"empty", "0\r\n\r\n", ""},
	{"one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello"},
	{"two chunks", "5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n", "hello, world"},
	{"hex in both cases", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"},
	{"leading zeros", "00000002\r\nab\r\n000\r\n\r\n", "ab"},
	{"CRLF inside a chunk", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"},
	{"extensions", "2;a=\"b\"\r\nab\r\n2; \tc\r\ncd\r\n0;last\r\n\r\n", "abcd"},
	{"trailers", "2\r\nab\r\n0\r\nExpires: never\r\nX:\r\n\r\n", "ab"},
	{"longest size line", "2;" + strings.Repeat("x", maxChunkLine-4) + "\r\nab\r\n0\r\n\r\n", "ab"},
	{"longest trailers", "0\r\nX:" + strings.Repeat("x", maxTrailer-6) + "\r\n\r\n", ""},
}

func TestParseChunked(t *testing.T) {
	for _, sample := range chunkedSamples {
		t.Run(sample.name, func(t *testing.T) {
			for _, after := range []string{"", "\r\n", "5\r\n", sample.text, strings.Repeat("z", 2000)} {
				body, n, err := ParseChunked([]byte("before:"), []byte(sample.text+after), 100)
				if err != nil || n != len(sample.text) || string(body) != "before:"+sample.want {
					t.Fatalf("with %.10q behind it: %q, n = %d, %v; want %q, n = %d", after, body, n, err, sample.want, len(sample.text))
				}
			}
		})
	}
}

func TestParseChunkedWaitsForTheRest(t *testing.T) {
	for _, sample := range chunkedSamples {
		for i := range len(sample.text) {
			body, n, err := ParseChunked([]byte("before"), []byte(sample.text[:i]), 100)
			if n != 0 || err != nil || string(body) != "before" {
				t.Fatalf("%s: first %d bytes: %q, n = %d, %v; want to be asked for more", sample.name, i, body, n, err)
			}
		}
	}
}

// refusedBodies are invalid chunked bodies, above all those of which two parsers could
// find the end at different places.
var refusedBodies = []struct{ reason, text string }{
	{"no size", "\r\nab\r\n0\r\n\r\n"},
	{"only an extension", ";a\r\n0\r\n\r\n"},
	{"negative size", "-2\r\nab\r\n0\r\n\r\n"},
	{"signed size", "+2\r\nab\r\n0\r\n\r\n"},
	{"size with 0x", "0x2\r\nab\r\n0\r\n\r\n"},
	{"space before the size", " 2\r\nab\r\n0\r\n\r\n"},
	{"space behind the size", "2 \r\nab\r\n0\r\n\r\n"},
	{"space before an extension", "2 ;a\r\nab\r\n0\r\n\r\n"},
	{"size that overflows 64 bits to 2", "10000000000000002\r\nab\r\n0\r\n\r\n"},
	{"size that overflows 32 bits to 2", "100000002\r\nab\r\n0\r\n\r\n"},
	{"bare LF behind the size", "2\nab\n0\n\n\r\n"},
	{"bare LF in an extension: the size line ends there for some readers", "2;\nxx\r\nab\r\n0\r\n\r\n"},
	{"bare CR in an extension", "2;a\rb\r\nab\r\n0\r\n\r\n"},
	{"NUL in an extension", "2;a\x00\r\nab\r\n0\r\n\r\n"},
	{"chunk longer than said", "2\r\nabc\r\n0\r\n\r\n"},
	{"chunk shorter than said", "3\r\nab\r\n0\r\n\r\n"},
	{"chunk ended by two other bytes", "2\r\nab\n\n0\r\n\r\n"},
	{"chunk ended by a bare LF", "2\r\nab\n0\r\n\r\n"},
	{"endless size line", "2;" + strings.Repeat("x", maxChunkLine-3) + "\r\n"},
	{"size line that never ends", strings.Repeat("0", maxChunkLine)},
	{"trailer that is no header", "0\r\nGET / HTTP/1.1\r\n\r\n"},
	{"folded trailer", "0\r\nA: b\r\n c\r\n\r\n"},
	{"bare LF in a trailer", "0\r\nA: b\n\nGET /\r\n\r\n"},
	{"bare CR in a trailer", "0\r\nA: b\rc\r\n\r\n"},
}

func TestParseChunkedRefuses(t *testing.T) {
	for _, tt := range refusedBodies {
		t.Run(tt.reason, func(t *testing.T) {
			parse := func(b []byte) (int, error) {
				body, n, err := ParseChunked([]byte("before"), b, 100)
				if string(body) != "before" {
					t.Errorf("body %q, want it unchanged", body)
				}
				return n, err
			}
			n, err := parse([]byte(tt.text))
			wantSyntax(t, n, err, LayerHTTP)
			wantSplitsAgree(t, tt.text, parse)
		})
	}
}

func TestParseChunkedLimits(t *testing.T) {
	tiny := strings.Repeat("1\r\nx\r\n", maxChunks(4096))
	for _, tt := range []struct {
		name, text string
		max        int
		what       string
	}{
		{"a chunk as soon as its size is known", "65\r\n", 100, "body bytes"},
		{"the largest size", "ffffffff\r\n", 100, "body bytes"},
		{"the sum of chunks", "32\r\n" + strings.Repeat("x", 50) + "\r\n33\r\n", 100, "body bytes"},
		{"any body where none is allowed", "1\r\n", 0, "body bytes"},
		{"the number of chunks", tiny + "1\r\n", 4096, "chunks"},
		{"trailers", "0\r\nX:" + strings.Repeat("x", maxTrailer-5) + "\r\n\r\n", 100, "trailer bytes"},
		{"trailers without an end", "0\r\n" + strings.Repeat("x", maxTrailer), 100, "trailer bytes"},
	} {
		_, n, err := ParseChunked(nil, []byte(tt.text), tt.max)
		var limit *LimitError
		if n != 0 || !errors.As(err, &limit) || limit.What != tt.what || limit.Got <= limit.Max {
			t.Errorf("%s: n = %d, %v; want a limit on %s", tt.name, n, err, tt.what)
		}
	}
	for _, size := range []int{99, 100} {
		text := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, strings.Repeat("x", size))
		if body, n, err := ParseChunked(nil, []byte(text), 100); n != len(text) || len(body) != size {
			t.Errorf("body of %d bytes, max 100: n = %d, %v", size, n, err)
		}
	}
	if body, n, err := ParseChunked(nil, []byte(tiny+"0\r\n\r\n"), 4096); n == 0 || len(body) != maxChunks(4096) {
		t.Errorf("as many chunks as allowed: n = %d, %v", n, err)
	}
}
