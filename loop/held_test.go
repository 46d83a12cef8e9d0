package loop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// half is the part that these tests send of a message that is never completed.
var half = strings.Repeat("4", 500_000)

// Many clients, most without a token, send parts of messages, in all forms that
// the server keeps. Sessions beyond MaxHeld must be closed, and no others; the
// bytes must not be counted any more when the clients have gone.
func TestBytesOfIncompleteMessagesAreLimited(t *testing.T) {
	t.Parallel()
	const clients, most = 20, 4 << 20
	for name, start := range map[string]func(t *testing.T, s *Server) *wire{
		"body": func(t *testing.T, s *Server) *wire {
			return dial(t, s).sent("POST " + enginePoll + " HTTP/1.1\r\nHost: test\r\nContent-Length: 999999\r\n\r\n" + half)
		},
		"chunked body": func(t *testing.T, s *Server) *wire {
			return dial(t, s).sent("POST " + enginePoll + " HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nf0000\r\n" + half)
		},
		"requests behind a parked poll": func(t *testing.T, s *Server) *wire {
			p := openPolling(t, s)
			p.get.send(requestText("GET", p.target(), ""))
			s.awaitParked(t, p.sid)
			return p.get.sent(half)
		},
		"frame": func(t *testing.T, s *Server) *wire {
			c, _ := openWS(t, s)
			return c.sent(frame(true, ws.OpText, half)[:len(half)])
		},
		"fragments": func(t *testing.T, s *Server) *wire {
			c, _ := openWS(t, s)
			return c.sent(frame(false, ws.OpText, half))
		},
		"attachments": func(t *testing.T, s *Server) *wire {
			c, _ := openWS(t, s)
			c.text(`452-["x"]`)
			return c.sent(frame(true, ws.OpBinary, half))
		},
		"packet of attachments": func(t *testing.T, s *Server) *wire {
			c, _ := openWS(t, s)
			return c.sent(frame(true, ws.OpText, `451-["x","`+half+`"]`))
		},
		"attachments by polling": func(t *testing.T, s *Server) *wire {
			p := openPolling(t, s)
			p.post.send(requestText("POST", p.target(), `452-["x"]`+"\x1eb"+strings.Repeat("AAAA", len(half)/4)))
			_, _ = p.post.tryReceive("POST") // an error: the session may have ended during the request
			return p.post
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, func(c *Config) { c.MaxHeld = most })
			ann := connectWS(t, s, "ann")
			var started []*wire
			for range clients {
				started = append(started, start(t, s))
			}
			testkit.Await(t, "a session to be shed", func() bool { return s.Stats().Shed > 0 })
			testkit.Await(t, "the held bytes to be below the limit", func() bool { return s.Stats().Held <= most })
			if n := s.Stats().Shed; n == clients {
				t.Error("all sessions were shed, want only those beyond the limit")
			}
			ann.join("1")
			for _, c := range started {
				c.conn.Close()
			}
			s.onAll(func(w *worker, now time.Time) { // polling sessions outlive their connections
				for len(w.sessions) > 0 {
					w.sessions[0].end(rooms.ReasonClientClose, now)
				}
			})
			testkit.Await(t, "nothing to be held", func() bool { return s.Stats().Held == 0 })
		})
	}
}

func (c *wire) sent(text string) *wire {
	c.send(text)
	return c
}

// Messages arrive in parts below the limit. They must not be counted any more
// when they are complete, and no session must be shed.
func TestCompleteMessagesAreNotHeld(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, func(c *Config) { c.MaxHeld = 2 << 20 })
	c, _ := openWS(t, s)
	p := openPolling(t, s)
	for i := range 20 {
		want := "4" + fmt.Sprint(i) + half
		whole := frame(true, ws.OpText, want)
		for _, part := range []string{
			frame(false, ws.OpText, want[:10]) + frame(false, ws.OpContinuation, want[10:400_000]), frame(true, ws.OpContinuation, want[400_000:]),
			whole[:300_000], whole[300_000:],
		} {
			c.send(part)
		}
		c.want(want)
		c.want(want)
		p.send(want)
		p.want(want)
	}
	testkit.Await(t, "nothing to be held", func() bool { return s.Stats().Held == 0 })
	if n := s.Stats().Shed; n != 0 {
		t.Errorf("%d sessions were shed, want none", n)
	}
}

// A body arrives in many small chunks. It must be gathered once, and not again
// for each packet; the connection must stay usable.
func TestBodyInSmallChunksIsGatheredOnce(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	c := dial(t, s)
	c.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n", len(half), half))
	for range 100 {
		c.send("1\r\n4\r\n")
	}
	testkit.Await(t, "the body to be gathered", func() bool {
		gathered, inGnet := s.gathering()
		return gathered > len(half)+100*len("1\r\n4\r\n") && inGnet == 0
	})
	const next = "GET /socket.io/ HTTP/1.1\r\nHost: x\r\n\r\n"
	c.send("0\r\n\r\n")
	if r := c.receive(); r.status != 200 || r.close {
		t.Fatalf("%d %s, closing %v, want 200", r.status, r.body, r.close)
	}
	p.want(half + strings.Repeat("4", 100))
	c.send(next) // the connection is usable for other requests
	if r := c.receive(); r.status != 400 {
		t.Errorf("the next request: %d, want 400", r.status)
	}
	c.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n4h\r\n")
	testkit.Await(t, "a body to be gathered", func() bool { gathered, _ := s.gathering(); return gathered > 0 })
	c.send("0\r\n\r\n" + next)
	if r := c.receive(); r.status != 200 || !r.close {
		t.Errorf("with a request after it: %d, close %v, want 200 and true", r.status, r.close)
	}
	c.wantEOF()
	p.want("4h")
}

// gathering returns the length of a chunked body that is being gathered, and of
// the input of its connection in gnet.
func (s *Server) gathering() (gathered, inGnet int) {
	s.onAll(func(w *worker, _ time.Time) {
		for _, owner := range w.timers() {
			if h, ok := owner.(*httpConn); ok && h.c != nil && h.requests.Gathered() != nil {
				gathered, inGnet = len(h.requests.Gathered()), h.c.InboundBuffered()
			}
		}
	})
	return gathered, inGnet
}
