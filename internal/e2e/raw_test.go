package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/gatewaytest"
)

// raw is a TCP connection on which the test sends and reads bytes.
type raw struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	host string // the Host header of a handshake; "" means "gateway"
}

func (g *gateway) raw(t *testing.T) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(2 * patience))
	return &raw{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// send writes, and ignores errors: the other side may have closed the connection.
func (r *raw) send(parts ...string) {
	r.conn.SetWriteDeadline(time.Now().Add(2 * patience))
	for _, part := range parts {
		io.WriteString(r.conn, part)
	}
}

// response reads an HTTP response. It returns status 0 if the connection was closed
// instead.
func (r *raw) response() (int, string) {
	r.t.Helper()
	res, err := http.ReadResponse(r.in, nil)
	if err != nil {
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			r.t.Fatal("no response, and the connection is still open")
		}
		return 0, ""
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// wantStatus reads a response, which must have one of these statuses. 0 stands for a
// closed connection.
func (r *raw) wantStatus(statuses ...int) string {
	r.t.Helper()
	status, body := r.response()
	if !slices.Contains(statuses, status) {
		r.t.Fatalf("status %d %s, want one of %d", status, body, statuses)
	}
	return body
}

// wantEnd reads until the connection is closed.
func (r *raw) wantEnd() {
	r.t.Helper()
	if _, err := io.Copy(io.Discard, r.in); err != nil {
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			r.t.Fatal("the connection is still open")
		}
	}
}

// webSocket opens a WebSocket and returns after the 101. query is appended to
// EIO=4&transport=websocket.
func (g *gateway) webSocket(t *testing.T, query string, header ...string) *raw {
	t.Helper()
	r := g.raw(t)
	if status, body := r.handshake("/socket.io/?EIO=4&transport=websocket"+query, header...); status != http.StatusSwitchingProtocols {
		t.Fatalf("websocket handshake: %d %s", status, body)
	}
	return r
}

func (r *raw) handshake(target string, header ...string) (int, string) {
	r.t.Helper()
	lines := append([]string{
		"GET " + target + " HTTP/1.1",
		"Host: " + cmp.Or(r.host, "gateway"),
		"Connection: Upgrade",
		"Upgrade: websocket",
		"Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, header...)
	r.send(strings.Join(lines, "\r\n") + "\r\n\r\n")
	res, err := http.ReadResponse(r.in, nil)
	if err != nil {
		return 0, err.Error()
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res.StatusCode, ""
	}
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// connected opens a WebSocket and connects a user to "/".
func (g *gateway) connected(t *testing.T, user string) *raw {
	t.Helper()
	r := g.webSocket(t, "")
	r.wantPrefix("0{")
	r.text(`40{"token":"` + gatewaytest.Token(t, user) + `"}`)
	r.wantPrefix(`40{"sid":`)
	r.wantPrefix(`42["connected",`)
	return r
}

// frame returns the bytes of a masked frame.
func frame(op ws.OpCode, fin bool, payload string) string {
	return frameOf(ws.Header{Fin: fin, OpCode: op}, payload)
}

// frameOf masks payload, completes the header and returns the bytes of the frame.
func frameOf(h ws.Header, payload string) string {
	f := ws.MaskFrameInPlace(ws.Frame{Header: h, Payload: []byte(payload)})
	f.Header.Length = int64(len(payload))
	var b bytes.Buffer
	if err := ws.WriteFrame(&b, f); err != nil {
		panic(err) // cannot happen: it writes to memory
	}
	return b.String()
}

func (r *raw) text(packets ...string) {
	for _, packet := range packets {
		r.send(frame(ws.OpText, true, packet))
	}
}

func (r *raw) binary(payload string) { r.send(frame(ws.OpBinary, true, payload)) }

// next reads one frame.
func (r *raw) next() (ws.OpCode, string, error) {
	h, err := ws.ReadHeader(r.in)
	if err != nil {
		return 0, "", err
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(r.in, payload)
	return h.OpCode, string(payload), err
}

// wantPrefix returns the next text message, which must begin with prefix. Heartbeat
// pings are answered and skipped.
func (r *raw) wantPrefix(prefix string) string {
	r.t.Helper()
	for {
		op, payload, err := r.next()
		if err != nil {
			r.t.Fatalf("waiting for %s: %v", prefix, err)
		}
		if op == ws.OpText && payload == "2" && prefix != "2" {
			r.text("3")
			continue
		}
		if op != ws.OpText || !strings.HasPrefix(payload, prefix) {
			r.t.Fatalf("frame %x %q, want text %s…", op, payload, prefix)
		}
		return payload
	}
}

func (r *raw) want(message string) {
	r.t.Helper()
	if got := r.wantPrefix(message); got != message {
		r.t.Fatalf("message %s, want %s", got, message)
	}
}

// wantClosed reads to the end of the WebSocket. The close frame must have one of these
// codes; without codes no close frame is required. The codes are not checked on the
// reference.
func (r *raw) wantClosed(codes ...ws.StatusCode) {
	r.t.Helper()
	for {
		op, payload, err := r.next()
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			r.t.Fatal("the WebSocket is still open")
		}
		if err != nil {
			if len(codes) > 0 && !reference {
				r.t.Fatalf("closed without a close frame, want one of %d", codes)
			}
			return
		}
		if op != ws.OpClose {
			continue
		}
		code, reason := ws.ParseCloseFrameData([]byte(payload))
		if len(codes) > 0 && !slices.Contains(codes, code) && !reference {
			r.t.Errorf("close code %d %q, want one of %d", code, reason, codes)
		}
		r.send(frame(ws.OpClose, true, payload))
		r.wantEnd()
		return
	}
}

// alive checks that the connected socket still answers.
func (r *raw) alive() {
	r.t.Helper()
	r.text(`4277["leave_room",{"roomType":"conversation","roomId":"nowhere"}]`)
	for {
		op, payload, err := r.next()
		if err != nil {
			r.t.Fatalf("waiting for an ack: %v", err)
		}
		if op == ws.OpText && strings.HasPrefix(payload, "4377[") {
			return
		}
		if op == ws.OpClose {
			r.t.Fatalf("closed: %q", payload)
		}
	}
}

// post returns the bytes of a POST request.
func post(target, body string, header ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: gateway\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n%s\r\n%s",
		target, len(body), strings.Join(append(header, ""), "\r\n"), body)
}
