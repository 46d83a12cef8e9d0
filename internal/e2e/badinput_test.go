package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// Input that no correct client sends. Each group of cases runs against one gateway
// with two correct clients, ann and ben. After each case they exchange events, which
// must still arrive.

const (
	protocolError = ws.StatusProtocolError           // 1002
	badText       = ws.StatusInvalidFramePayloadData // 1007
	tooBig        = ws.StatusMessageTooBig           // 1009
)

// smallLimit is MAX_HTTP_BUFFER_SIZE in these tests, in bytes.
const smallLimit = 100_000

type badInput struct {
	name  string
	onlyG string // why the case is skipped on the reference server; "" if it runs there
	act   func(t *testing.T, g *gateway)
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	groups := map[string][]badInput{"http": badHTTP, "frames": badFrames, "engine": badEngine, "socket": badSocket, "polling": badPolling, "rude": badTiming}
	for name, cases := range groups {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, fmt.Sprint("MAX_HTTP_BUFFER_SIZE=", smallLimit), "HEAD_TIMEOUT=700")
			ann, ben := g.dial(t, "ann", false), g.dial(t, "ben", true)
			ann.do("join_room", "good")
			ben.do("join_room", "good")
			ann.wantOf("user_joined", ben, "conversation:good")
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					if c.onlyG != "" {
						notOnReference(t, c.onlyG)
					}
					c.act(t, g)
				})
				ann.do("typing", "good")
				ben.wantOf("user_typing", ann, "conversation:good")
				ben.do("stop_typing", "good")
				ann.wantOf("user_stop_typing", ben, "conversation:good")
				if status, body, err := get(g.URL + "/health"); status != http.StatusOK {
					t.Fatalf("/health after %s: %d %s %v", c.name, status, body, err)
				}
			}
		})
	}
}

// says returns a case that sends bytes on a new connection and expects one of these
// HTTP statuses. 0 stands for a connection closed without a response.
func says(send string, statuses ...int) func(t *testing.T, g *gateway) {
	return func(t *testing.T, g *gateway) {
		r := g.raw(t)
		r.send(send)
		body := r.wantStatus(statuses...)
		if body != "" && !reference && !strings.Contains(body, `"message"`) {
			t.Errorf("body %q, want a JSON object with code and message", body)
		}
	}
}

const nodeTimes = "its deadlines are Node's"

var badHTTP = []badInput{
	{"silence", nodeTimes, func(t *testing.T, g *gateway) { g.raw(t).wantEnd() }},
	{"half a head and silence", nodeTimes, says("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: ga", 408, 0)},
	{"a head byte by byte is served", "", func(t *testing.T, g *gateway) {
		r := g.raw(t)
		for _, b := range "GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n" {
			r.send(string(b))
		}
		r.wantStatus(200)
	}},
	{"an endless head, line by line", nodeTimes, func(t *testing.T, g *gateway) {
		r := g.raw(t)
		r.send("GET /health HTTP/1.1\r\n")
		ended := make(chan bool)
		go func() {
			defer close(ended)
			r.wantStatus(408, 0)
		}()
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			case <-time.After(50 * time.Millisecond):
				r.send(fmt.Sprintf("X-Drip-%d: 1\r\n", i))
			}
		}
	}},
	{"9 KiB of cookies are accepted", "", func(t *testing.T, g *gateway) {
		r := g.raw(t)
		r.send("GET /health HTTP/1.1\r\nHost: gateway\r\nCookie: " + strings.Repeat("x", 9<<10) + "\r\n\r\n")
		r.wantStatus(200)
	}},
	{"a head of 17 KiB", "", says("GET /health HTTP/1.1\r\nHost: gateway\r\nX-Large: "+strings.Repeat("x", 17<<10)+"\r\n\r\n", 431)},
	{"a head of 20 KiB without an end", "", says("GET /health HTTP/1.1\r\nHost: gateway\r\nX-Large: "+strings.Repeat("x", 20<<10), 431, 0)},
	{"a target of 100 KiB", "", says("GET /"+strings.Repeat("x", 100<<10), 431, 414, 0)},
	{"thousands of header lines", "", says("GET /health HTTP/1.1\r\nHost: gateway\r\n"+strings.Repeat("name: value\r\n", 5000)+"\r\n", 431, 400, 0)},
	{"a TLS hello", "", says("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("\xaa\x00", 200)+"\r\n\r\n", 400, 0)},
	{"garbage", "", says("\x00\xff\xfe garbage \x01\r\n\r\n", 400, 0)},
	{"only line ends", nodeTimes, says("\r\n\r\n\r\n\r\n", 400, 408, 0)},
	{"no HTTP version", "it serves HTTP/0.9", says("GET /health\r\n\r\n", 400, 0)},
	{"HTTP/2", "", says("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505, 0)},
	{"both Content-Length and Transfer-Encoding", "", says("POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: gateway\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", 400)},
	{"two different Content-Lengths", "", says("POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n40", 400)},
	{"a negative Content-Length", "", says("POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: gateway\r\nContent-Length: -1\r\n\r\n", 400)},
	{"a Content-Length beyond any number", "", says("POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: gateway\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400, 413)},
	{"an unknown Transfer-Encoding", "", says("POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: gzip\r\n\r\n", 400, 501)},
	{"a chunk without a size", "", says("POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", 400)},
	{"a NUL in a header", "", says("GET /health HTTP/1.1\r\nHost: gateway\r\nX-Bad: a\x00b\r\n\r\n", 400)},
	{"a header without a colon", "", says("GET /health HTTP/1.1\r\nHost: gateway\r\nbroken\r\n\r\n", 400)},
	{"a space before the colon", "", says("GET /health HTTP/1.1\r\nHost : gateway\r\n\r\n", 400)},
	{"a thousand requests at once are answered", "", func(t *testing.T, g *gateway) {
		r := g.raw(t)
		go r.send(strings.Repeat("GET /nothing HTTP/1.1\r\nHost: gateway\r\n\r\n", 1000))
		for range 1000 {
			r.wantStatus(404)
		}
	}},
	{"a WebSocket handshake without a key", "", says("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", 400, 0)},
	{"a WebSocket handshake of version 7", "", says("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 400, 426)},
	{"transport=websocket without a handshake", "", says("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: gateway\r\n\r\n", 400, 0)},
}
