package codec

import (
	"errors"
	"strings"
	"testing"
)

// headSamples are request heads with their parsed fields.
var headSamples = []struct {
	name string
	text string
	want Head // without fields
}{
	{"shortest", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/"), ContentLength: -1, KeepAlive: true}},
	{"poll of a browser", pollingHead,
		Head{Method: []byte("GET"), Path: []byte("/socket.io/"), Query: []byte("EIO=4&transport=polling&t=P2xkXzq&sid=AAAB3nQx0a9cJm1KcG8rZw"),
			ContentLength: -1, KeepAlive: true}},
	{"WebSocket of a browser", webSocketHead,
		Head{Method: []byte("GET"), Path: []byte("/socket.io/"), Query: []byte("EIO=4&transport=websocket&sid=AAAB3nQx0a9cJm1KcG8rZw"),
			ContentLength: -1, KeepAlive: true, WebSocket: true}},
	{"Firefox lists keep-alive with upgrade", "GET /s HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/s"), ContentLength: -1, KeepAlive: true, WebSocket: true}},
	{"upgrade over two lines and in capitals", "GET /s HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nCONNECTION: UPGRADE\r\nupgrade: h2c, WebSocket\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/s"), ContentLength: -1, KeepAlive: true, WebSocket: true}},
	{"upgrade without connection", "GET /s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/s"), ContentLength: -1, KeepAlive: true}},
	{"upgrade in HTTP/1.0 does not count", "GET /s HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/s"), ContentLength: -1, HTTP10: true}},
	{"body of known length", "POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 0042\r\n\r\n",
		Head{Method: []byte("POST"), Path: []byte("/s"), ContentLength: 42, KeepAlive: true}},
	{"empty body", "POST /s HTTP/1.1\r\nHost: x\r\ncontent-length:0\r\n\r\n",
		Head{Method: []byte("POST"), Path: []byte("/s"), ContentLength: 0, KeepAlive: true}},
	{"chunked body", "POST /s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\tChunked \r\n\r\n",
		Head{Method: []byte("POST"), Path: []byte("/s"), ContentLength: -1, Chunked: true, KeepAlive: true}},
	{"curl waits", "POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\nExpect: 100-Continue\r\n\r\n",
		Head{Method: []byte("POST"), Path: []byte("/s"), ContentLength: 2000, Continue: true, KeepAlive: true}},
	{"HTTP/1.0 cannot wait", "POST /s HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
		Head{Method: []byte("POST"), Path: []byte("/s"), ContentLength: 2, HTTP10: true}},
	{"HTTP/1.0 with keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/"), ContentLength: -1, HTTP10: true, KeepAlive: true}},
	{"close", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/"), ContentLength: -1}},
	{"close wins over a later keep-alive", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/"), ContentLength: -1}},
	{"absolute form", "GET http://proxy.example:80/socket.io/?EIO=4 HTTP/1.1\r\nHost: b\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/socket.io/"), Query: []byte("EIO=4"), ContentLength: -1, KeepAlive: true}},
	{"asterisk form", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		Head{Method: []byte("OPTIONS"), Path: []byte("*"), ContentLength: -1, KeepAlive: true}},
	{"empty query", "GET /? HTTP/1.1\r\nHost: x\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/"), ContentLength: -1, KeepAlive: true}},
	{"longest registered method", "UPDATEREDIRECTREF / HTTP/1.1\r\nHost: x\r\n\r\n",
		Head{Method: []byte("UPDATEREDIRECTREF"), Path: []byte("/"), ContentLength: -1, KeepAlive: true}},
	{"HTTP/1.0 with an empty host", "GET / HTTP/1.0\r\nHost:\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/"), ContentLength: -1, HTTP10: true}},
	{"host that is an IPv6 address", "GET / HTTP/1.1\r\nHost: [::1]:3002\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/"), ContentLength: -1, KeepAlive: true}},
	{"one empty line before", "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		Head{Method: []byte("GET"), Path: []byte("/"), ContentLength: -1, KeepAlive: true}},
}

func sameHead(a, b *Head) bool {
	return string(a.Method) == string(b.Method) && string(a.Path) == string(b.Path) && string(a.Query) == string(b.Query) &&
		a.ContentLength == b.ContentLength && a.Chunked == b.Chunked && a.KeepAlive == b.KeepAlive &&
		a.HTTP10 == b.HTTP10 && a.Continue == b.Continue && a.WebSocket == b.WebSocket
}

func TestParseHead(t *testing.T) {
	for _, sample := range headSamples {
		t.Run(sample.name, func(t *testing.T) {
			var h Head
			for _, after := range []string{"", "G", "\r\n\r\n", sample.text} {
				n, err := ParseHead([]byte(sample.text+after), &h)
				if err != nil || n != len(sample.text) {
					t.Fatalf("with %q behind it: n = %d, %v; want %d", after, n, err, len(sample.text))
				}
				if !sameHead(&h, &sample.want) {
					t.Fatalf("got %+v, want %+v", h, sample.want)
				}
			}
		})
	}
}

func TestParseHeadWaitsForTheRest(t *testing.T) {
	for _, sample := range headSamples {
		for i := range len(sample.text) {
			var h Head
			if n, err := ParseHead([]byte(sample.text[:i]), &h); n != 0 || err != nil {
				t.Fatalf("%s: first %d bytes: n = %d, %v; want to be asked for more", sample.name, i, n, err)
			}
		}
	}
}

const postHead = "POST / HTTP/1.1\r\nHost: a\r\n"

// refusedHeads are invalid heads, above all those that two parsers could understand
// differently.
var refusedHeads = []struct{ reason, text string }{
	{"CL.TE: one reader takes the length, the other the chunks", postHead + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
	{"TE.CL: the same in the other order", postHead + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"},
	{"two lengths", postHead + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"},
	{"the same length twice", postHead + "Content-Length: 5\r\ncontent-length: 5\r\n\r\n"},
	{"length as a list", postHead + "Content-Length: 5, 5\r\n\r\n"},
	{"no length in the length", postHead + "Content-Length: \r\n\r\n"},
	{"negative length", postHead + "Content-Length: -1\r\n\r\n"},
	{"signed length", postHead + "Content-Length: +5\r\n\r\n"},
	{"hex length", postHead + "Content-Length: 0x10\r\n\r\n"},
	{"length with an underscore, as some number parsers allow", postHead + "Content-Length: 1_0\r\n\r\n"},
	{"fraction", postHead + "Content-Length: 5.0\r\n\r\n"},
	{"digits of another script", postHead + "Content-Length: \u0665\r\n\r\n"},
	{"chunked, then another coding", postHead + "Transfer-Encoding: chunked, identity\r\n\r\n"},
	{"identity", postHead + "Transfer-Encoding: identity\r\n\r\n"},
	{"another coding below", postHead + "Transfer-Encoding: gzip, chunked\r\n\r\n"},
	{"chunked twice", postHead + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
	{"TE.TE: a second coding some readers ignore", postHead + "Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n"},
	{"vertical tab before chunked", postHead + "Transfer-Encoding: \x0bchunked\r\n\r\n"},
	{"quoted chunked", postHead + "Transfer-Encoding: \"chunked\"\r\n\r\n"},
	{"nothing in transfer-encoding", postHead + "Transfer-Encoding:\r\n\r\n"},
	{"chunks in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
	{"space before the colon", postHead + "Content-Length : 5\r\n\r\n"},
	{"tab before the colon", postHead + "Transfer-Encoding\t: chunked\r\n\r\n"},
	{"folded line", postHead + "X: a\r\n b\r\n\r\n"},
	{"folded line with a tab", postHead + "X: a\r\n\tContent-Length: 5\r\n\r\n"},
	{"first header indented", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
	{"no colon", postHead + "Content-Length\r\n\r\n"},
	{"no name", postHead + ": 5\r\n\r\n"},
	{"name with a space", postHead + "Content Length: 5\r\n\r\n"},
	{"name that is not ASCII", postHead + "X-\xc3\xa9: 5\r\n\r\n"},
	{"bare LF between headers", postHead + "X: a\nContent-Length: 5\r\n\r\n"},
	{"bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"},
	{"bare CR in a value", postHead + "X: a\rContent-Length: 5\r\n\r\n"},
	{"bare CR at the end of a value", postHead + "X: a\r\r\n\r\n"},
	{"bare CR in a name", postHead + "Content\r-Length: 5\r\n\r\n"},
	{"bare CR behind the version", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"},
	{"NUL in a value", postHead + "X: a\x00b\r\n\r\n"},
	{"NUL in a name", postHead + "X\x00: a\r\n\r\n"},
	{"NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"NUL in the method", "GET\x00 / HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"DEL in a value", postHead + "X: a\x7f\r\n\r\n"},
	{"DEL far inside a value", postHead + "X: 0123456789\x7f0123456789\r\n\r\n"},
	{"control character far inside a value", postHead + "X: 0123456789\x01\r\n\r\n"},
	{"two hosts", postHead + "Host: b\r\n\r\n"},
	{"no host", "GET / HTTP/1.1\r\n\r\n"},
	{"no host beside an absolute target", "GET http://gateway/ HTTP/1.1\r\nAccept: */*\r\n\r\n"},
	{"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
	{"host of spaces", "GET / HTTP/1.1\r\nHost: \t \r\n\r\n"},
	{"host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
	{"host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"},
	{"host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
	{"host with a bad byte in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\\b\r\n\r\n"},
	{"unknown expectation", postHead + "Expect: 200-ok\r\n\r\n"},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
	{"SSH banner", "SSH-2.0-OpenSSH_9.2\r\n"},
	{"AMQP header", "AMQP\x00\x00\x09\x01"},
	{"PROXY protocol, binary", "\r\n\r\n\x00\r\nQUIT\n"},
	{"PROXY protocol, text", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"bare LF before", "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"space before the method", " GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"method in small letters", "get / HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"endless method", strings.Repeat("A", maxMethod+1)},
	{"no target", "GET HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"empty target", "GET  HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"no version (HTTP/0.9)", "GET /\r\n\r\n"},
	{"no spaces at all", "GET\r\n\r\n"},
	{"two spaces before the version", "GET /  HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"space behind the version", "GET / HTTP/1.1 \r\n\r\n"},
	{"version in small letters", "GET / http/1.1\r\n\r\n"},
	{"HTTP/1.2", "GET / HTTP/1.2\r\n\r\n"},
	{"HTTP/01.1", "GET / HTTP/01.1\r\n\r\n"},
	{"tab instead of space", "GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n"},
	{"target that is not ASCII", "GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"authority form", "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"relative target", "GET socket.io/ HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"asterisk and more", "OPTIONS *? HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"absolute form without a path", "GET http://example.com HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"absolute form whose only slash is in the query", "GET http://example.com?a=/b HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"absolute form without a host", "GET http:///socket.io/ HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"absolute form of another scheme", "GET ftp://example.com/ HTTP/1.1\r\nHost: x\r\n\r\n"},
}

// A response to an invalid head may use only header fields that stand before the fault
// and were checked.
func TestBadHeadsKeepTheFieldsBeforeTheFault(t *testing.T) {
	const start = "\r\nGET /x?y HTTP/1.1\r\nHost: gateway\r\nOrigin: https://a.example\r\n"
	for _, fault := range []string{
		"Content-Length: 1\r\nContent-Length: 2\r\n", "Origin: https://b.example\nx\r\nCookie: a\r\n", "Host: b\r\n", "no colon\r\n", "Cookie: half",
	} {
		for _, parse := range []func(b []byte, h *Head){
			func(b []byte, h *Head) { ParseHead(append(b, "\r\n\r\n"...), h) }, ParseHeadStart,
		} {
			var h Head
			parse([]byte(start+fault), &h)
			h.Fields("origin", func(value []byte) {
				if string(value) != "https://a.example" {
					t.Errorf("%q: origin %q", fault, value)
				}
			})
			if string(h.Field("host")) != "gateway" || string(h.Field("origin")) != "https://a.example" || string(h.Path) != "/x" {
				t.Errorf("%q: host %q, origin %q, path %q", fault, h.Field("host"), h.Field("origin"), h.Path)
			}
		}
	}
	for _, text := range []string{"", "\r", "\r\n", "GET / HTTP/1.1", "GET /\r\nHost: a\r\nX: " + strings.Repeat("x", 100), "\x16\x03\r\n", "\r\n\r\n\r\n"} {
		var h Head
		if ParseHeadStart([]byte(text), &h); len(h.fields) > 0 {
			t.Errorf("%q: fields %q", text, h.fields)
		}
	}
}

func TestParseHeadRefuses(t *testing.T) {
	for _, tt := range refusedHeads {
		t.Run(tt.reason, func(t *testing.T) {
			var h Head
			n, err := ParseHead([]byte(tt.text), &h)
			wantSyntax(t, n, err, LayerHTTP)
			wantSplitsAgree(t, tt.text, func(b []byte) (int, error) { return ParseHead(b, &h) })
		})
	}
}

func TestParseHeadLimitsContentLength(t *testing.T) {
	for _, length := range []string{"1073741825", "4294967296", "9223372036854775808", "18446744073709551621", strings.Repeat("9", 400)} {
		var h Head
		n, err := ParseHead([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: "+length+"\r\n\r\n"), &h)
		var limit *LimitError
		if n != 0 || !errors.As(err, &limit) || limit.Max != maxContentLength {
			t.Errorf("content-length %.30s: n = %d, %v; want a limit error", length, n, err)
		}
	}
	var h Head
	if _, err := ParseHead([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n"), &h); err != nil || h.ContentLength != maxContentLength {
		t.Errorf("largest content-length: %d, %v", h.ContentLength, err)
	}
}

func TestField(t *testing.T) {
	const text = "GET / HTTP/1.1\r\nHost: a:1\r\nORIGIN:\t http://b \t\r\nX: 1\r\nx: 2\r\nEmpty:\r\nBlank: \t \r\n" +
		"Xy: host: wrong\r\n\r\n"
	var h Head
	if _, err := ParseHead([]byte(text), &h); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"host": "a:1", "origin": "http://b", "x": "1", "xy": "host: wrong", "empty": "", "blank": ""} {
		if got := h.Field(name); string(got) != want || got == nil {
			t.Errorf("field %s = %q , want %q", name, got, want)
		}
	}
	for _, name := range []string{"", "hos", "hostt", "cookie", "a-name-longer-than-all-the-lines-of-this-head-together-so-that-nothing-is-left"} {
		if got := h.Field(name); got != nil {
			t.Errorf("field %q = %q, want none", name, got)
		}
	}
	if (&Head{}).Field("host") != nil {
		t.Error("an empty head has a host")
	}
}

func TestQueryValue(t *testing.T) {
	for _, tt := range []struct{ query, key, want string }{
		{"EIO=4&transport=polling", "EIO", "4"},
		{"EIO=4&transport=polling", "transport", "polling"},
		{"EIO=4&EIO=3", "EIO", "4"},
		{"a=b=c", "a", "b=c"},
		{"&&EIO=4", "EIO", "4"},
		{"sid=", "sid", ""},
	} {
		if got := QueryValue([]byte(tt.query), tt.key); string(got) != tt.want || got == nil {
			t.Errorf("%s of %q = %q, want %q", tt.key, tt.query, got, tt.want)
		}
	}
	for _, query := range []string{"", "&", "=4", "EI=4", "EIOO=4", "EIO", "eio=4", "xEIO=4", "EIO%3D4"} {
		if got := QueryValue([]byte(query), "EIO"); got != nil {
			t.Errorf("EIO of %q = %q, want none", query, got)
		}
	}
}

func TestWebSocketHandshake(t *testing.T) {
	// Key and answer are from RFC 6455 section 1.3.
	const want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	var h Head
	if _, err := ParseHead([]byte(webSocketHead), &h); err != nil {
		t.Fatal(err)
	}
	if err := h.CheckWebSocket(); err != nil {
		t.Fatal(err)
	}
	if got := string(AppendSwitching([]byte("before"), &h)); got != "before"+want {
		t.Errorf("answer %q, want %q", got, want)
	}
}

func TestCheckWebSocketRefuses(t *testing.T) {
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, tt := range []struct{ reason, method, fields string }{
		{"a POST", "POST", "Sec-WebSocket-Version: 13\r\n" + key},
		{"no version", "GET", key},
		{"an old version", "GET", "Sec-WebSocket-Version: 8\r\n" + key},
		{"no key", "GET", "Sec-WebSocket-Version: 13\r\n"},
		{"an empty key", "GET", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key:\r\n"},
		{"a key of 15 bytes", "GET", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n"},
		{"a key of 18 bytes", "GET", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWFi\r\n"},
		{"a key that is not base64", "GET", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ************************\r\n"},
		{"a subprotocol that is no token", "GET", "Sec-WebSocket-Protocol: a b, c\r\nSec-WebSocket-Version: 13\r\n" + key},
		{"a body", "GET", "Content-Length: 1\r\nSec-WebSocket-Version: 13\r\n" + key},
		{"a chunked body", "GET", "Transfer-Encoding: chunked\r\nSec-WebSocket-Version: 13\r\n" + key},
	} {
		var h Head
		head := tt.method + " / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + tt.fields + "\r\n"
		if n, err := ParseHead([]byte(head), &h); n == 0 {
			t.Fatal(err)
		}
		wantSyntax(t, 0, h.CheckWebSocket(), LayerHTTP)
	}
}

// wantSyntax checks for a syntax error of this layer with a reason, and that nothing
// was consumed.
func wantSyntax(t *testing.T, n int, err error, layer Layer) {
	t.Helper()
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || syntax.Layer != layer || syntax.Reason == "" {
		t.Errorf("error %v, want a syntax error of %v", err, layer)
	}
	if n != 0 {
		t.Errorf("%d bytes consumed with an error, want 0", n)
	}
}

// wantSplitsAgree parses every prefix of an invalid text. The parser must ask for more
// or refuse, and never consume anything.
func wantSplitsAgree(t *testing.T, text string, parse func([]byte) (int, error)) {
	t.Helper()
	for i := range len(text) {
		if n, err := parse([]byte(text[:i])); n != 0 {
			t.Errorf("first %d bytes: n = %d, %v; want n = 0", i, n, err)
		}
	}
}
