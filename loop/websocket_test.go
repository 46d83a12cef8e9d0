package loop

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

func TestWebSocketCarriesPackets(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	c, _ := openWS(t, s)
	for _, n := range []int{0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 999_999} {
		c.text("4" + strings.Repeat("x", n))
		if got := c.next(); len(got) != n+1 {
			t.Errorf("%d bytes of text came back as %d", n+1, len(got))
		}
		c.send(frame(true, ws.OpBinary, strings.Repeat("\x00", n)))
		if op, got, err := c.read(); op != ws.OpBinary || len(got) != n || err != nil {
			t.Errorf("%d bytes came back as %d with opcode %#x, %v", n, len(got), op, err)
		}
	}
}

func TestManyFramesInOneWrite(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	c, _ := openWS(t, s)
	var all strings.Builder
	for i := range 5000 {
		all.WriteString(frame(true, ws.OpText, fmt.Sprint("4", i)))
	}
	go func() { _, _ = io.WriteString(c.conn, all.String()) }()
	for i := range 5000 {
		c.want(fmt.Sprint("4", i))
	}
}

func TestFragmentedMessages(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	c, _ := openWS(t, s)
	c.send(frame(false, ws.OpText, "4h") + frame(false, ws.OpContinuation, "") + frame(false, ws.OpContinuation, "ell") + frame(true, ws.OpContinuation, "o"))
	c.want("4hello")
	c.send(frame(false, ws.OpText, "4h\xc3")) // a letter is split between two fragments
	c.send(frame(true, ws.OpPing, "between"))
	if op, got, err := c.read(); op != ws.OpPong || got != "between" || err != nil {
		t.Errorf("a ping between fragments: opcode %#x %q, %v", op, got, err)
	}
	c.send(frame(true, ws.OpContinuation, "\xa4"))
	c.want("4hä")
	c.send(frame(false, ws.OpBinary, "\x01") + frame(true, ws.OpContinuation, "\x02"))
	if op, got, err := c.read(); op != ws.OpBinary || got != "\x01\x02" || err != nil {
		t.Errorf("binary fragments: opcode %#x %q, %v", op, got, err)
	}
	for range 300 { // more than MaxPayload in total, each message less
		c.send(frame(false, ws.OpText, "4"+strings.Repeat("x", 5000)) + frame(true, ws.OpContinuation, ""))
		if got := c.next(); len(got) != 5001 {
			t.Fatalf("%d bytes came back, want 5001", len(got))
		}
	}
}

// Clients violate the protocol or close. Each must get the close code of the
// case (0: no close frame), and others must not be affected.
func TestCloseCodes(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPayload = 100_000 })
	bystander := connectWS(t, s, "bystander")
	large := strings.Repeat("x", 60_000)
	for name, c := range map[string]struct {
		bytes  string
		code   ws.StatusCode
		reason rooms.Reason
	}{
		"unmasked":                    {"\x81\x013", 1002, rooms.ReasonParseError},
		"reserved bit":                {"\xc1\x81\x01\x02\x03\x043", 1002, rooms.ReasonParseError},
		"reserved opcode":             {frame(true, 3, "x"), 1002, rooms.ReasonParseError},
		"reserved control opcode":     {frame(true, 0xb, "x"), 1002, rooms.ReasonParseError},
		"long ping":                   {frame(true, ws.OpPing, large[:126]), 1002, rooms.ReasonParseError},
		"fragmented ping":             {frame(false, ws.OpPing, "x"), 1002, rooms.ReasonParseError},
		"continuation of nothing":     {frame(true, ws.OpContinuation, "x"), 1002, rooms.ReasonParseError},
		"message inside another":      {frame(false, ws.OpText, "4x") + frame(true, ws.OpText, "4x"), 1002, rooms.ReasonParseError},
		"length in more than needed":  {"\x81\xfe\x00\x01\x00\x00\x00\x003", 1002, rooms.ReasonParseError},
		"length with the top bit":     {"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 1002, rooms.ReasonParseError},
		"too large, not awaited":      {"\x81\xff\x00\x00\x00\x00\x00\x01\x86\xa1\x00\x00\x00\x00", 1009, rooms.ReasonTooLarge},
		"of 8 EiB":                    {"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1009, rooms.ReasonTooLarge},
		"fragments too large":         {frame(false, ws.OpText, large) + frame(true, ws.OpContinuation, large), 1009, rooms.ReasonTooLarge},
		"bad UTF-8":                   {frame(true, ws.OpText, "4\xff"), 1007, rooms.ReasonParseError},
		"bad UTF-8 over fragments":    {frame(false, ws.OpText, "4\xc3") + frame(true, ws.OpContinuation, "x"), 1007, rooms.ReasonParseError},
		"empty packet":                {frame(true, ws.OpText, ""), 1002, rooms.ReasonParseError},
		"bad engine packet":           {frame(true, ws.OpText, "abc"), 1002, rooms.ReasonParseError},
		"ping packet":                 {frame(true, ws.OpText, "2"), 1002, rooms.ReasonParseError},
		"probe packet":                {frame(true, ws.OpText, "2probe"), 1002, rooms.ReasonParseError},
		"packet type out of range":    {frame(true, ws.OpText, "7"), 1002, rooms.ReasonParseError},
		"bad socket packet":           {frame(true, ws.OpText, "4abc"), 1002, rooms.ReasonParseError},
		"event before CONNECT":        {frame(true, ws.OpText, "42"+typingEvent("1")), 1002, rooms.ReasonParseError},
		"second CONNECT":              {frame(true, ws.OpText, `40{"token":"eve"}`) + frame(true, ws.OpText, "40"), 1002, rooms.ReasonParseError},
		"attachment out of place":     {frame(true, ws.OpBinary, "x"), 1002, rooms.ReasonParseError},
		"too many attachments":        {frame(true, ws.OpText, `4599-["x"]`), 1009, rooms.ReasonTooLarge},
		"panic":                       {frame(true, ws.OpText, `40{"token":"eve"}`) + frame(true, ws.OpText, `42["boom"]`), 0, rooms.ReasonPanic},
		"engine close packet":         {frame(true, ws.OpText, "1"), 1000, rooms.ReasonClientClose},
		"close frame":                 {frame(true, ws.OpClose, "\x03\xe8bye"), 1000, rooms.ReasonClientClose},
		"close frame, going away":     {frame(true, ws.OpClose, "\x03\xe9"), 1001, rooms.ReasonClientClose},
		"close frame, private code":   {frame(true, ws.OpClose, "\x0f\xa0"), 4000, rooms.ReasonClientClose},
		"close frame, reserved code":  {frame(true, ws.OpClose, "\x03\xee"), 1002, rooms.ReasonClientClose},
		"close frame, half a code":    {frame(true, ws.OpClose, "\x03"), 1002, rooms.ReasonClientClose},
		"close frame, then something": {frame(true, ws.OpClose, "\x03\xe8") + frame(true, ws.OpText, "4x"), 1000, rooms.ReasonClientClose},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.Stats().Closed[c.reason]
			conn, _ := openWS(t, s)
			conn.send(c.bytes)
			if strings.Contains(c.bytes, frame(true, ws.OpText, `40{"token":"eve"}`)) {
				conn.next()
				conn.next()
			}
			if c.code == 0 {
				conn.wantEnd()
			} else {
				conn.wantClose(c.code)
			}
			if got := s.Stats().Closed[c.reason] - before; got != 1 {
				t.Errorf("%d sessions closed for %v, want 1", got, c.reason)
			}
		})
	}
	bystander.join("1")
	testkit.Await(t, "the connections to end", func() bool { return s.conns.Load() == 1 })
	if st := s.Stats(); st.Sessions != 1 || st.WebSockets != 1 || s.config.Hub.Stats().Members != 2 {
		t.Errorf("%d sessions, %d WebSockets, %d memberships are left, want 1, 1 and 2", st.Sessions, st.WebSockets, s.config.Hub.Stats().Members)
	}
}

func TestCloseFrameWithoutCode(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	c, _ := openWS(t, s)
	c.send(frame(true, ws.OpClose, ""))
	if op, payload, err := c.read(); op != ws.OpClose || err != nil || len(payload) != 0 && payload != "\x03\xe8" {
		t.Errorf("opcode %#x %q, %v, want a close frame", op, payload, err)
	}
	c.wantEOF()
}

// A client does not close its connection after the close frame. The server must
// close it after lingerTimeout.
func TestPeerThatDoesNotCloseIsClosed(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	c := connectWS(t, s, "ann")
	c.text("1")
	if op, _, err := c.read(); op != ws.OpClose || err != nil {
		t.Fatalf("opcode %#x, %v, want a close frame", op, err)
	}
	c.text("42" + joinEvent("1")) // ignored after the end
	testkit.Await(t, "the socket to leave", func() bool { return s.config.Hub.Stats().Members == 0 })
	c.wantEOF()
	testkit.Await(t, "the connection to end", func() bool { return s.conns.Load() == 0 })
}

// Pings that arrive together are answered with few pongs, the last of which
// must be for the last ping.
func TestPingFlood(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	c, _ := openWS(t, s)
	var flood bytes.Buffer
	for i := range 1000 {
		flood.WriteString(frame(true, ws.OpPing, fmt.Sprint(i)))
	}
	flood.WriteString(frame(true, ws.OpText, "4end"))
	c.send(flood.String())
	pongs, last := 0, ""
	for {
		op, payload, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		if op != ws.OpPong {
			if payload != "4end" {
				t.Errorf("got %q, want 4end", payload)
			}
			break
		}
		pongs, last = pongs+1, payload
	}
	if pongs > 10 || last != "999" { // the server sends one pong for each read
		t.Errorf("%d pongs, the last for ping %s, want few and 999", pongs, last)
	}
}

func TestPongsAreIgnored(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	c, _ := openWS(t, s)
	c.send(frame(true, ws.OpPong, "unasked"))
	c.text("3") // an unexpected Engine.IO pong
	c.text("4hello")
	c.want("4hello")
}
