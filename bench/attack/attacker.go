package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

const (
	pollingPath = "/socket.io/?EIO=4&transport=polling"
	socketPath  = "/socket.io/?EIO=4&transport=websocket"
)

// An attacker is one connection of an attacker, from its own address. Its methods
// are called by one goroutine at a time, except close.
type attacker struct {
	a      *attack
	conn   *net.TCPConn
	in     *bufio.Reader
	closed atomic.Bool // its end is known
}

// address is where attacker number n is: of 127.66.0.0/16, so that no limit
// of an address is met unless a row means to.
func address(n int) net.IP { return net.IPv4(127, 66, byte(n/250), byte(1+n%250)) }

// dial connects from attacker n's address.
func (a *attack) dial(n int) *attacker { return a.dialFrom(address(n), 0) }

// dialFrom connects from an address with a receive buffer of so many bytes,
// 0 being the kernel's choice. It is nil when that fails.
func (a *attack) dialFrom(from net.IP, receive int) *attacker {
	dialer := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: from},
		Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				// The port is chosen at connect, by the whole 4-tuple.
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
				if receive > 0 {
					_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receive)
				}
			})
		},
	}
	conn, err := dialer.DialContext(a.ctx, "tcp", a.target)
	if err != nil {
		if a.ctx.Err() == nil {
			a.tally("failed connects", 1)
		}
		return nil
	}
	_ = conn.SetDeadline(a.until.Add(time.Second)) // nobody hangs on
	f := &attacker{a: a, conn: conn.(*net.TCPConn), in: bufio.NewReaderSize(conn, 1024)}
	a.opened.Add(1)
	a.add(f)
	return f
}

// send reports whether the bytes are out.
func (f *attacker) send(text string) bool {
	n, err := io.WriteString(f.conn, text)
	f.a.sent.Add(int64(n))
	if err != nil {
		f.ended()
	}
	return err == nil
}

// ended notes that the gateway has ended the connection.
func (f *attacker) ended() {
	if f.a.ctx.Err() == nil && f.closed.CompareAndSwap(false, true) {
		f.a.closed.Add(1)
	}
}

// close ends it from this side.
func (f *attacker) close() {
	f.closed.Store(true)
	_ = f.conn.Close()
	f.a.remove(f)
}

// reset ends it with a TCP RST.
func (f *attacker) reset() {
	_ = f.conn.SetLinger(0)
	f.close()
}

// response reads an answer and returns its status, 0 when none comes. 4xx and
// 5xx count as refused.
func (f *attacker) response() (status int, body string) {
	res, err := http.ReadResponse(f.in, nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.a.tally("requests left unanswered", 1)
		return 0, ""
	}
	if err != nil {
		f.ended()
		return 0, ""
	}
	if res.StatusCode >= 400 {
		f.a.refused.Add(1)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res.StatusCode, ""
	}
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// setTimeout limits how long it waits for answers.
func (f *attacker) setTimeout(patience time.Duration) {
	_ = f.conn.SetDeadline(time.Now().Add(patience))
}

// request is response to a request.
func (f *attacker) request(text string) (status int, body string) {
	if !f.send(text) {
		return 0, ""
	}
	return f.response()
}

// webSocket makes it a WebSocket and reports whether that worked.
func (f *attacker) webSocket(header ...string) bool {
	status, _ := f.request(handshake(socketPath, header...))
	return status == http.StatusSwitchingProtocols
}

// connect makes it a user's socket, without waiting for the gateway's answer to
// CONNECT.
func (f *attacker) connect(user string) bool {
	return f.webSocket() && f.send(text(`40{"token":"`+f.a.token(user)+`"}`))
}

// frame reads one frame of the gateway's.
func (f *attacker) frame() (said string, ok bool) {
	h, err := ws.ReadHeader(f.in)
	if err != nil {
		f.ended()
		return "", false
	}
	b := make([]byte, h.Length)
	if _, err := io.ReadFull(f.in, b); err != nil {
		f.ended()
		return "", false
	}
	return string(b), true
}

// connected is connect that waits until the gateway has taken the token.
func (f *attacker) connected(user string) bool {
	return f.connect(user) && f.awaitPacket("40{")
}

// awaitPacket reads until a packet with this prefix comes.
func (f *attacker) awaitPacket(prefix string) bool {
	for {
		said, ok := f.frame()
		if !ok || strings.HasPrefix(said, prefix) {
			return ok
		}
	}
}

// frames passes on what the gateway says, and closes the channel at the end.
func (f *attacker) frames(to chan<- string) {
	defer close(to)
	for {
		said, ok := f.frame()
		if !ok {
			return
		}
		select {
		case to <- said:
		case <-f.a.ctx.Done():
			return
		}
	}
}

// readAll reads and forgets what comes, until the connection ends.
func (f *attacker) readAll() {
	_, _ = io.Copy(io.Discard, f.in)
	f.ended()
}

// readInBackground is readAll beside whatever else the attacker does.
func (f *attacker) readInBackground() { go f.readAll() }

// socket opens a user's socket that reads; nil when that fails.
func (a *attack) socket(n int, user string) *attacker {
	f := a.dial(n)
	if f == nil || !f.connected(user) {
		return nil
	}
	f.readInBackground()
	return f
}

// get is a GET request as bytes, and post a POST one.
func get(target string, header ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: gateway\r\n" + lines(header) + "\r\n"
}

func post(target, body string, header ...string) string {
	return "POST " + target + " HTTP/1.1\r\nHost: gateway\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n" + lines(header) + "\r\n" + body
}

func handshake(target string, header ...string) string {
	return get(target, append(header, "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")...)
}

func lines(header []string) string {
	return strings.Join(append(header, ""), "\r\n")
}

// frame is a client's frame as bytes. The mask is zero, which changes nothing.
func frame(op ws.OpCode, fin bool, payload string) string {
	return frameHeader(op, fin, int64(len(payload))) + payload
}

func frameHeader(op ws.OpCode, fin bool, length int64) string {
	var b bytes.Buffer
	_ = ws.WriteHeader(&b, ws.Header{Fin: fin, OpCode: op, Masked: true, Length: length}) // to memory
	return b.String()
}

// text is an Engine.IO packet in a frame.
func text(packet string) string { return frame(ws.OpText, true, packet) }

// roomEvent is an event about a conversation; ack is "" or a number.
func roomEvent(ack, name, room string) string {
	return text(`42` + ack + `["` + name + `",{"roomType":"conversation","roomId":"` + room + `"}]`)
}
