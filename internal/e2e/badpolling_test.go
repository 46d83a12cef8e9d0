package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// session opens a polling session and connects a user to "/".
func (g *gateway) session(t *testing.T, user string) (target string) {
	t.Helper()
	target = g.openPolling(t)
	g.mustPost(t, target, `40{"token":"`+gatewaytest.Token(t, user)+`"}`)
	for got := ""; !strings.Contains(got, `42["connected",`); {
		got += g.mustPoll(t, target)
	}
	return target
}

// refusedPost returns a case that POSTs a body, which must be refused with 400 and end
// the session.
func refusedPost(body string, header ...string) func(t *testing.T, g *gateway) {
	return func(t *testing.T, g *gateway) {
		target := g.session(t, "eve")
		r := g.raw(t)
		r.send(post(target, body, header...))
		if status, body := r.response(); status != 400 && !(reference && status == 200) {
			t.Errorf("status %d %s, want 400", status, body)
		}
		wantSessionUnknown(t, g, target)
	}
}

// wantSessionUnknown checks that the session no longer exists. One more poll may still return
// the close packet.
func wantSessionUnknown(t *testing.T, g *gateway, target string) {
	t.Helper()
	status, body, err := get(g.URL + target)
	if status == 200 && strings.HasSuffix(string(body), "1") {
		status, body, err = get(g.URL + target)
	}
	if status != 400 || !strings.Contains(string(body), `"code":1`) {
		t.Errorf("poll of a session that should have ended: status %d, body %s, error %v; want 400 with code 1", status, body, err)
	}
}

var badPolling = []badInput{
	{"an unknown packet type", "", refusedPost("abc")},
	{"a valid packet, then an invalid one", "", refusedPost("3\x1eabc")},
	{"an empty packet between separators", "", refusedPost("3\x1e\x1e3")},
	{"an empty body", "", refusedPost("")},
	{"invalid base64", "its decoder takes anything", refusedPost("b!!!!")},
	{"a body that is not UTF-8", "its decoder takes anything", refusedPost("42[\"\xff\"]")},
	{"a malformed Socket.IO packet", "", refusedPost("42{}")},
	{"a body in the old binary form", "it answers 200 first", func(t *testing.T, g *gateway) {
		target := g.session(t, "eve")
		status, _, err := request("POST", g.URL+target, http.Header{"Content-Type": {"application/octet-stream"}}, "\x04x")
		if status != 400 {
			t.Errorf("status %d %v, want 400", status, err)
		}
	}},
	{"a body over the limit, announced", "it counts what has come", func(t *testing.T, g *gateway) {
		r := g.raw(t)
		r.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n4", g.session(t, "eve"), smallLimit+1))
		r.wantStatus(413)
	}},
	{"a body over the limit, in chunks", "", func(t *testing.T, g *gateway) {
		r := g.raw(t)
		r.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n", g.session(t, "eve")))
		go r.send(strings.Repeat("2710\r\n"+strings.Repeat("4", 10_000)+"\r\n", 12))
		r.wantStatus(413, 0)
	}},
	{"a body in chunks is taken", "", func(t *testing.T, g *gateway) {
		target := g.session(t, "eve")
		r := g.raw(t)
		r.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n", target), "4\r\n421[\r\n", "f\r\n\"leave_room\"]\x1e3\r\n", "0\r\n\r\n")
		r.wantStatus(200)
		if got := g.mustPoll(t, target); !strings.HasPrefix(got, "431[") {
			t.Errorf("poll returned %s, want an ack of packet 1", got)
		}
	}},
	{"a body that ends early", "", func(t *testing.T, g *gateway) {
		r := g.raw(t)
		r.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n\r\n42[", g.session(t, "eve")))
		r.conn.Close()
	}},
	{"an unknown session", "", says("GET /socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA HTTP/1.1\r\nHost: gateway\r\n\r\n", 400)},
	{"a session id of 5 KB", "", says("GET /socket.io/?EIO=4&transport=polling&sid="+strings.Repeat("A", 5000)+" HTTP/1.1\r\nHost: gateway\r\n\r\n", 400)},
	{"a session id of odd bytes", "", says("GET /socket.io/?EIO=4&transport=polling&sid=%00%ff%2e%2e/ HTTP/1.1\r\nHost: gateway\r\n\r\n", 400)},
	{"DELETE of a session", "", func(t *testing.T, g *gateway) {
		status, _, err := request("DELETE", g.URL+g.session(t, "eve"), nil, "")
		if status < 400 {
			t.Errorf("status %d, error %v, want 400 or higher", status, err)
		}
	}},
}

var badTiming = []badInput{
	{"reset while the server writes", "", func(t *testing.T, g *gateway) {
		for range 20 {
			r := g.connected(t, "eve")
			r.text(`42["join_room",{"roomType":"conversation","roomId":"noisy"}]`)
			r.send(strings.Repeat(frame(ws.OpText, true, `421["typing",{"roomType":"conversation","roomId":"noisy"}]`), 500))
			r.conn.(*net.TCPConn).SetLinger(0)
			r.conn.Close()
		}
	}},
	{"a poll whose connection is reset", "", func(t *testing.T, g *gateway) {
		target := g.session(t, "eve")
		r := g.raw(t)
		r.send("GET " + target + " HTTP/1.1\r\nHost: gateway\r\n\r\n")
		r.conn.(*net.TCPConn).SetLinger(0)
		r.conn.Close()
	}},
	{"a connection half-closed after a request", "", func(t *testing.T, g *gateway) {
		r := g.raw(t)
		r.send("GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n")
		r.conn.(*net.TCPConn).CloseWrite()
		r.response() // the response may be lost: the server may treat a FIN as the end of the connection
	}},
	{"requests without reading the responses", "Node buffers without a limit", func(t *testing.T, g *gateway) {
		r := g.connected(t, "eve")
		r.conn.(*net.TCPConn).SetReadBuffer(4096)
		burst := []byte(strings.Repeat(frame(ws.OpText, true, `421["typing",{"roomType":"conversation","roomId":"nowhere"}]`), 1000))
		r.conn.SetWriteDeadline(time.Now().Add(3 * patience))
		for sent := 0; sent < 256<<20; {
			n, err := r.conn.Write(burst)
			if sent += n; err != nil {
				if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
					t.Fatal("the gateway neither reads nor closes the connection of a client that does not read")
				}
				return
			}
		}
		t.Fatal("256 MiB of events were accepted from a client that does not read, want the connection to be closed")
	}},
	{"a hundred abandoned handshakes", "", func(t *testing.T, g *gateway) {
		for range 100 {
			g.openPolling(t)
			r := g.webSocket(t, "")
			r.conn.(*net.TCPConn).SetLinger(0)
			r.conn.Close()
		}
	}},
	{"a client process that is stopped", "", func(t *testing.T, g *gateway) {
		crowd := g.crowd(t, "default", "member.mjs", "5", "stopped")
		crowd.joined(5)
		crowd.cmd.Process.Signal(syscall.SIGSTOP)
	}},
}
