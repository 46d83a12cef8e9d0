package loop

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/testkit"
)

// A wire is a raw TCP connection to the server under test.
type wire struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func dial(t testing.TB, s *Server) *wire {
	t.Helper()
	c, err := dialQuietly(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	c.t = t
	return c
}

// dialQuietly is dial without a test that fails.
func dialQuietly(s *Server) (*wire, error) {
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &wire{conn: conn, in: bufio.NewReader(conn)}, nil
}

func (c *wire) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// A response is the answer to an HTTP request.
type response struct {
	status int
	header http.Header
	body   string
	close  bool // the server will close the connection
}

func (c *wire) receive() response {
	c.t.Helper()
	r, err := c.tryReceive("GET")
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *wire) tryReceive(method string) (response, error) {
	res, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return response{}, err
	}
	body, err := io.ReadAll(res.Body)
	return response{res.StatusCode, res.Header, string(body), res.Close}, err
}

// requestText returns an HTTP/1.1 request. POST always has a Content-Length.
func requestText(method, target, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: test\r\n", method, target)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != "" || method == "POST" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

func (c *wire) do(method, target, body string, headers ...string) response {
	c.t.Helper()
	c.send(requestText(method, target, body, headers...))
	return c.receive()
}

// wantEOF checks that the server closes the connection without sending anything
// more.
func (c *wire) wantEOF() {
	c.t.Helper()
	rest, err := io.ReadAll(c.in)
	if len(rest) > 0 || err != nil && !isReset(err) {
		c.t.Fatalf("got %.200q, %v, want the end of the connection", rest, err)
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrUnexpectedEOF)
}

// reset closes the connection with an RST.
func (c *wire) reset() {
	_ = c.conn.(*net.TCPConn).SetLinger(0)
	c.conn.Close()
}

const enginePoll = "/socket.io/?EIO=4&transport=polling"
const engineSocket = "/socket.io/?EIO=4&transport=websocket"

// opened is the content of the open packet.
type opened struct {
	SID          string
	Upgrades     []string
	PingInterval int
	PingTimeout  int
	MaxPayload   int
}

func parseOpen(t testing.TB, packet string) opened {
	t.Helper()
	var o opened
	if err := json.Unmarshal([]byte(strings.TrimPrefix(packet, "0")), &o); err != nil || packet[0] != '0' || o.SID == "" {
		t.Fatalf("open packet %q: %v", packet, err)
	}
	return o
}

// A pollSession is a session on long-polling, with one connection for GETs and
// one for POSTs.
type pollSession struct {
	t         testing.TB
	s         *Server
	sid       string
	get, post *wire
	pending   []string // packets that have not been read
}

func openPolling(t testing.TB, s *Server) *pollSession {
	t.Helper()
	get := dial(t, s)
	r := get.do("GET", enginePoll, "")
	if r.status != 200 {
		t.Fatalf("handshake: %d %s, want 200", r.status, r.body)
	}
	return &pollSession{t: t, s: s, sid: parseOpen(t, r.body).SID, get: get, post: dial(t, s)}
}

// openPollingOn opens sessions until one is on the given loop.
func openPollingOn(t testing.TB, s *Server, loop int) *pollSession {
	t.Helper()
	for {
		p := openPolling(t, s)
		if p.loop() == loop {
			return p
		}
		p.send("1")
		p.get.conn.Close()
		p.post.conn.Close()
	}
}

func (p *pollSession) loop() int {
	loop, ok := loopOf([]byte(p.sid), len(p.s.workers))
	if !ok {
		p.t.Fatalf("sid %q names no loop", p.sid)
	}
	return loop
}

func (p *pollSession) target() string { return enginePoll + "&sid=" + p.sid }

func (p *pollSession) send(payload string) {
	p.t.Helper()
	if r := p.post.do("POST", p.target(), payload); r.status != 200 || r.body != "ok" {
		p.t.Fatalf("POST %.60q: %d %s, want 200 ok", payload, r.status, r.body)
	}
}

// poll makes one GET and returns the packets of the answer.
func (p *pollSession) poll() []string {
	p.t.Helper()
	r := p.get.do("GET", p.target(), "")
	if r.status != 200 {
		p.t.Fatalf("GET: %d %s, want 200", r.status, r.body)
	}
	return strings.Split(r.body, "\x1e")
}

func (p *pollSession) next() string {
	p.t.Helper()
	for len(p.pending) == 0 {
		p.pending = p.poll()
	}
	packet := p.pending[0]
	p.pending = p.pending[1:]
	return packet
}

func (p *pollSession) want(packet string) {
	p.t.Helper()
	if got := p.next(); got != packet {
		p.t.Fatalf("got %.200q, want %.200q", got, packet)
	}
}

// connect sends CONNECT, and reads its answer and the event connected.
func (p *pollSession) connect(token string) {
	p.t.Helper()
	p.send(`40{"token":"` + token + `"}`)
	got := p.next()
	for ; got == "2"; got = p.next() { // as in socket.connect
		p.send("3")
	}
	if !strings.HasPrefix(got, `40{"sid":`) {
		p.t.Fatalf("CONNECT was answered with %q, want a sid", got)
	}
	if got := p.next(); !strings.HasPrefix(got, `42["connected"`) {
		p.t.Fatalf("got %q, want connected", got)
	}
}

func connectPolling(t testing.TB, s *Server, token string) *pollSession {
	t.Helper()
	p := openPolling(t, s)
	p.connect(token)
	return p
}

// wantUnknown checks that the session has ended.
func (p *pollSession) wantUnknown() {
	p.t.Helper()
	p.wantUnknownIn(dial(p.t, p.s).do("GET", p.target(), ""))
}

// wantUnknownIn checks the answer to a poll of a session that has ended.
func (p *pollSession) wantUnknownIn(r response) {
	p.t.Helper()
	if r.status != 400 || r.body != `{"code":1,"message":"Session ID unknown"}` {
		p.t.Fatalf("polling a session that should be gone: %d %s, want 400", r.status, r.body)
	}
}

// A socket is a WebSocket connection.
type socket struct{ *wire }

const webSocketHeaders = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="

func dialWS(t testing.TB, s *Server, target string, headers ...string) socket {
	t.Helper()
	c := dial(t, s)
	c.send(requestText("GET", target, "", append(headers, webSocketHeaders)...))
	r, err := c.tryReceive("GET")
	if err != nil || r.status != 101 {
		t.Fatalf("WebSocket handshake: %d %s, %v, want 101", r.status, r.body, err)
	}
	if got := r.header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455 section 1.3
		t.Fatalf("Sec-WebSocket-Accept %q, want that of RFC 6455", got)
	}
	return socket{c}
}

// openWS opens a session on WebSocket, and reads the open packet.
func openWS(t testing.TB, s *Server, headers ...string) (socket, opened) {
	t.Helper()
	c := dialWS(t, s, engineSocket, headers...)
	return c, parseOpen(t, c.next())
}

func connectWS(t testing.TB, s *Server, token string) socket {
	t.Helper()
	c, _ := openWS(t, s)
	c.connect(token)
	return c
}

func (c socket) connect(token string) {
	c.t.Helper()
	c.text(`40{"token":"` + token + `"}`)
	got := c.next()
	for ; got == "2"; got = c.next() { // a slow machine takes longer than PingInterval
		c.text("3")
	}
	if !strings.HasPrefix(got, `40{"sid":`) {
		c.t.Fatalf("CONNECT was answered with %q, want a sid", got)
	}
	if got := c.next(); !strings.HasPrefix(got, `42["connected"`) {
		c.t.Fatalf("got %q, want connected", got)
	}
}

// frame returns a masked frame.
var frame = testkit.ClientFrame

func (c socket) text(packet string) {
	c.t.Helper()
	c.send(frame(true, ws.OpText, packet))
}

// read returns the next frame.
func (c socket) read() (ws.OpCode, string, error) { return testkit.ReadServerFrame(c.in) }

// next returns the next text packet.
func (c socket) next() string {
	c.t.Helper()
	op, payload, err := c.read()
	if err != nil || op != ws.OpText {
		c.t.Fatalf("got opcode %#x %.200q, %v, want a text frame", op, payload, err)
	}
	return payload
}

func (c socket) want(packet string) {
	c.t.Helper()
	if got := c.next(); got != packet {
		c.t.Fatalf("got %.200q, want %.200q", got, packet)
	}
}

// wantClose reads up to the server's close frame and the end of the
// connection.
func (c socket) wantClose(code ws.StatusCode) {
	c.t.Helper()
	op, payload, err := c.read()
	if err != nil || op != ws.OpClose {
		c.t.Fatalf("got opcode %#x %.200q, %v, want a close frame", op, payload, err)
	}
	got, _ := ws.ParseCloseFrameData([]byte(payload))
	if got != code {
		c.t.Fatalf("close code %d, want %d", got, code)
	}
	_, _ = io.WriteString(c.conn, frame(true, ws.OpClose, payload)) // the server may have closed already
	c.wantEOF()
}

// wantEnd checks that the connection ends without a close frame, and closes the
// client's side.
func (c socket) wantEnd() {
	c.t.Helper()
	if op, payload, err := c.read(); err != io.EOF {
		c.t.Fatalf("got opcode %#x %.200q, %v, want the end of the connection", op, payload, err)
	}
	_ = c.conn.Close()
}

// ask sends an event, and returns the content of its ack.
func (c socket) ask(id int, event string) string {
	c.t.Helper()
	c.text("42" + strconv.Itoa(id) + event)
	prefix := "43" + strconv.Itoa(id)
	packet := c.next()
	body, ok := strings.CutPrefix(packet, prefix)
	if !ok {
		c.t.Fatalf("got %.200q, want ack %d", packet, id)
	}
	return body
}

func joinEvent(room string) string {
	return `["join_room",{"roomType":"conversation","roomId":"` + room + `"}]`
}

func typingEvent(room string) string {
	return `["typing",{"roomType":"conversation","roomId":"` + room + `"}]`
}

func (c socket) join(room string) {
	c.t.Helper()
	if got := c.ask(1, joinEvent(room)); !strings.Contains(got, `"success":true`) {
		c.t.Fatalf("join was answered with %s, want success", got)
	}
}
