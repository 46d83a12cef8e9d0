package handover

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/testkit"
)

// rawConn is a client's TCP connection that a test can stop at any byte of a request
// or frame. Its methods end the test if the connection ends.
type rawConn struct {
	s    *seededRun
	conn *net.TCPConn
	in   *bufio.Reader
}

func (s *seededRun) dial() *rawConn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.now.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(long))
	c := &rawConn{s: s, conn: conn.(*net.TCPConn), in: bufio.NewReader(conn)}
	s.conns = append(s.conns, c)
	return c
}

func (c *rawConn) send(text string) {
	c.s.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.s.fail("%s: %v", c.s.state, err)
	}
}

func (c *rawConn) receive() (status int, body string) {
	c.s.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	var b []byte
	if err == nil {
		b, err = io.ReadAll(res.Body)
	}
	if err != nil {
		c.s.fail("%s: %v", c.s.state, err)
	}
	return res.StatusCode, string(b)
}

func (c *rawConn) do(method, target, body string) (int, string) {
	c.s.t.Helper()
	c.send(requestText(method, target, body))
	return c.receive()
}

// wantOpen reads a response, which must have the open packet.
func (c *rawConn) wantOpen() (sid string) {
	c.s.t.Helper()
	status, body := c.receive()
	if status != http.StatusOK {
		c.s.fail("%s: handshake answered %d %s", c.s.state, status, body)
	}
	return c.s.sid(body)
}

func (s *seededRun) sid(packet string) string {
	s.t.Helper()
	var open struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(packet, "0")), &open); err != nil || open.SID == "" {
		s.t.Fatalf("%s: open packet %q: %v", s.state, packet, err)
	}
	return open.SID
}

func requestText(method, target, body string, headers ...string) string {
	head := method + " " + target + " HTTP/1.1\r\nHost: test\r\n"
	for _, h := range headers {
		head += h + "\r\n"
	}
	if method == http.MethodPost {
		head += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	return head + "\r\n" + body
}

const (
	pollTarget   = "/socket.io/?EIO=4&transport=polling"
	socketTarget = "/socket.io/?EIO=4&transport=websocket"
)

// rawSocket is a session on WebSocket.
type rawSocket struct{ *rawConn }

func (s *seededRun) webSocket(target string, headers ...string) rawSocket {
	s.t.Helper()
	c := s.dial()
	c.send(requestText(http.MethodGet, target, "", append(headers, "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")...))
	if status, body := c.receive(); status != http.StatusSwitchingProtocols {
		s.fail("%s: WebSocket handshake answered %d %s", s.state, status, body)
	}
	return rawSocket{c}
}

// connected returns a connected socket of this user on WebSocket.
func (s *seededRun) connected(user string) rawSocket {
	s.t.Helper()
	c := s.webSocket(socketTarget)
	s.sid(c.next())
	c.connect(user)
	return c
}

func (c rawSocket) connect(user string) {
	c.s.t.Helper()
	c.text(`40{"token":"` + c.s.token(user) + `"}`)
	c.wantPrefix(`40{"sid":`)
	c.wantPrefix(`42["connected"`)
}

func (c rawSocket) text(packet string) {
	c.s.t.Helper()
	c.send(testkit.ClientFrame(true, ws.OpText, packet))
}

func (c rawSocket) read() (ws.OpCode, string, error) { return testkit.ReadServerFrame(c.in) }

// next returns the next packet other than pings, which are answered.
func (c rawSocket) next() string {
	c.s.t.Helper()
	for {
		op, payload, err := c.read()
		if err != nil || op != ws.OpText {
			c.s.fail("%s: opcode %#x %.200q, %v, want a text frame", c.s.state, op, payload, err)
		}
		if payload != "2" {
			return payload
		}
		c.text("3")
	}
}

func (c rawSocket) want(packet string) {
	c.s.t.Helper()
	if got := c.next(); got != packet {
		c.s.fail("%s: got %.200q, want %.200q", c.s.state, got, packet)
	}
}

func (c rawSocket) wantPrefix(packet string) {
	c.s.t.Helper()
	if got := c.next(); !strings.HasPrefix(got, packet) {
		c.s.fail("%s: got %.200q, want %q…", c.s.state, got, packet)
	}
}

// rawPolling is a session by long-polling.
type rawPolling struct {
	s         *seededRun
	sid       string
	get, post *rawConn
	pending   []string // received packets that next has not returned
}

func (s *seededRun) polling(user string) *rawPolling {
	s.t.Helper()
	p := &rawPolling{s: s, get: s.dial(), post: s.dial()}
	p.get.send(requestText(http.MethodGet, pollTarget, ""))
	p.sid = p.get.wantOpen()
	p.send(`40{"token":"` + s.token(user) + `"}`)
	p.wantPrefix(`40{"sid":`)
	p.wantPrefix(`42["connected"`)
	return p
}

func (p *rawPolling) target() string { return pollTarget + "&sid=" + p.sid }

func (p *rawPolling) send(payload string) {
	p.s.t.Helper()
	p.post.send(requestText(http.MethodPost, p.target(), payload))
	p.wantOK()
}

func (p *rawPolling) wantOK() {
	p.s.t.Helper()
	if status, body := p.post.receive(); status != http.StatusOK || body != "ok" {
		p.s.fail("%s: a POST was answered %d %s", p.s.state, status, body)
	}
}

// take reads the response to a poll.
func (p *rawPolling) take() {
	p.s.t.Helper()
	status, body := p.get.receive()
	if status != http.StatusOK {
		p.s.fail("%s: a poll was answered %d %s", p.s.state, status, body)
	}
	p.pending = append(p.pending, strings.Split(body, "\x1e")...)
}

func (p *rawPolling) next() string {
	p.s.t.Helper()
	for {
		for len(p.pending) == 0 {
			p.get.send(requestText(http.MethodGet, p.target(), ""))
			p.take()
		}
		packet := p.pending[0]
		p.pending = p.pending[1:]
		if packet != "2" {
			return packet
		}
		p.send("3")
	}
}

func (p *rawPolling) want(packet string) {
	p.s.t.Helper()
	if got := p.next(); got != packet {
		p.s.fail("%s: got %.200q, want %.200q", p.s.state, got, packet)
	}
}

func (p *rawPolling) wantPrefix(packet string) {
	p.s.t.Helper()
	if got := p.next(); !strings.HasPrefix(got, packet) {
		p.s.fail("%s: got %.200q, want %q…", p.s.state, got, packet)
	}
}
