package loop

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

// A clientState is a state of a client at the time of a hand-over. begin brings
// a client into it, and returns the function that continues it in the next
// process; is reports whether the server's state has the client in it.
type clientState struct {
	name  string
	begin func(t *testing.T, s *Server) (goOn func(t *testing.T, to *Server))
	is    func([]*form.Loop) bool
}

var clientStates = []clientState{
	{"WebSocket, idle in a room", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c := connectWS(t, s, "1")
		c.join("7")
		return func(t *testing.T, to *Server) {
			if got := c.ask(2, typingEvent("7")); got != `[{"success":true}]` {
				t.Errorf("typing was answered with %s, want success", got)
			}
			deliverTo(t, to, "conversation:7", `42["x"]`)
			c.want(`42["x"]`)
			deliverTo(t, to, "user:1", `42["y"]`)
			c.want(`42["y"]`)
		}
	}, nil},
	{"WebSocket before CONNECT", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c, _ := openWS(t, s)
		return func(t *testing.T, _ *Server) { c.connect("1") }
	}, nil},
	{"WebSocket, token in the handshake", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c, _ := openWS(t, s, "Authorization: Bearer 1")
		return func(t *testing.T, _ *Server) {
			c.text("40")
			if got := c.next(); !strings.HasPrefix(got, `40{"sid":`) {
				t.Errorf("CONNECT was answered with %s, want a sid", got)
			}
		}
	}, hasSession(func(s *form.Session) bool { return s.Socket.Token == "1" })},
	{"half a frame's header", halfFrame(1), hasConn(func(c *form.Conn) bool { return len(c.In) == 1 })},
	{"half a frame", halfFrame(9), hasConn(func(c *form.Conn) bool { return len(c.In) == 9 })},
	{"first fragment of a message", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c := connectWS(t, s, "1")
		c.join("7")
		event := "423" + typingEvent("7")
		c.send(frame(false, ws.OpText, event[:10]))
		return func(t *testing.T, _ *Server) {
			c.send(frame(true, ws.OpContinuation, event[10:]))
			c.want(`433[{"success":true}]`)
		}
	}, hasConn(func(c *form.Conn) bool { return len(c.WebSocket.Partial) == 10 })},
	{"one of two attachments", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c := connectWS(t, s, "1")
		c.text(`452-5["typing",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
		c.send(frame(true, ws.OpBinary, "one"))
		return func(t *testing.T, _ *Server) {
			c.send(frame(true, ws.OpBinary, "two"))
		}
	}, hasSession(func(s *form.Session) bool { return len(s.Socket.Attachments) == 1 })},
	{"a ping awaiting its pong", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c := connectWS(t, s, "1")
		s.onAll(func(w *worker, now time.Time) {
			for _, s := range w.sessions {
				s.heartbeat(now)
			}
		})
		return func(t *testing.T, to *Server) {
			c.want("2")
			c.text("3")
			testkit.Await(t, "the pong to count", func() (ok bool) {
				to.onAll(func(w *worker, _ time.Time) {
					for _, s := range w.sessions {
						ok = ok || !s.pinged
					}
				})
				return ok
			})
		}
	}, hasSession(func(s *form.Session) bool { return s.Pinged })},
	{"a slow reader with pending bytes", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c := connectWS(t, s, "1")
		events := 0
		text := strings.Repeat("x", 60_000)
		for unsent := 0; unsent == 0; events++ {
			deliverTo(t, s, "user:1", `42["`+strconv.Itoa(events)+text+`"]`)
			s.onAll(func(w *worker, _ time.Time) {
				for _, s := range w.sessions {
					unsent += s.ws.c.OutboundBuffered()
				}
			})
		}
		return func(t *testing.T, to *Server) {
			deliverTo(t, to, "user:1", `42["end"]`)
			for i := range events {
				c.want(`42["` + strconv.Itoa(i) + text + `"]`)
			}
			c.want(`42["end"]`)
		}
	}, hasConn(func(c *form.Conn) bool { return len(c.Out) > 0 })},
	{"polling, between two polls, with something pending", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		p := connectPolling(t, s, "1")
		deliverTo(t, s, "user:1", `42["before"]`)
		return func(t *testing.T, to *Server) {
			p.s = to
			deliverTo(t, to, "user:1", `42["behind"]`)
			p.want(`42["before"]`)
			p.want(`42["behind"]`)
			p.send(`429["typing",{"roomType":"conversation","roomId":"7"}]`)
			p.want(`439[{"error":"Not in room"}]`)
		}
	}, hasSession(func(s *form.Session) bool { return len(s.Queue) == 1 })},
	{"a poll that waits", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		p := connectPolling(t, s, "1")
		p.get.send(requestText("GET", p.target(), ""))
		return func(t *testing.T, to *Server) {
			deliverTo(t, to, "user:1", `42["x"]`)
			if r := p.get.receive(); r.body != `42["x"]` {
				t.Errorf("the poll was answered with %d %s, want the event", r.status, r.body)
			}
		}
	}, hasSession(func(s *form.Session) bool { return s.Polling.Parked != form.None && s.Polls })},
	{"half a POST", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		p := connectPolling(t, s, "1")
		text := requestText("POST", p.target(), `429["typing",{"roomType":"conversation","roomId":"7"}]`)
		p.post.send(text[:len(text)-7])
		return func(t *testing.T, _ *Server) {
			p.post.send(text[len(text)-7:])
			if r := p.post.receive(); r.body != "ok" {
				t.Errorf("the POST was answered with %d %s, want ok", r.status, r.body)
			}
			p.want(`439[{"error":"Not in room"}]`)
		}
	}, hasConn(func(c *form.Conn) bool { return c.HTTP.Need > 0 })},
	{"half a POST in chunks", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		p := connectPolling(t, s, "1")
		p.post.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n427[\r\n")
		return func(t *testing.T, _ *Server) {
			p.post.send("4\r\n\"x\"]\r\n0\r\n\r\n")
			if r := p.post.receive(); r.body != "ok" {
				t.Errorf("the POST was answered with %d %s, want ok", r.status, r.body)
			}
			p.want(`437[{"error":"Unknown event"}]`)
		}
	}, hasConn(func(c *form.Conn) bool { return len(c.HTTP.Gathered) > 0 })},
	{"half a head", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c := dial(t, s)
		c.send("GET " + enginePoll + " HTTP/1.1\r\nHo")
		return func(t *testing.T, to *Server) {
			c.send("st: test\r\n\r\n")
			parseOpen(t, c.receive().body)
		}
	}, hasConn(func(c *form.Conn) bool { return c.Kind == form.KindHTTP && len(c.In) > 0 })},
	{"a connection without a byte", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c := dial(t, s)
		return func(t *testing.T, to *Server) { parseOpen(t, c.do("GET", enginePoll, "").body) }
	}, hasConn(func(c *form.Conn) bool { return c.Kind == form.KindHTTP })},
	{"a connection kept alive", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c := dial(t, s)
		c.do("GET", "/nothing", "")
		return func(t *testing.T, to *Server) {
			if r := c.do("GET", "/nothing", ""); r.status != 404 || r.close {
				t.Errorf("answered %d, close %v, want 404", r.status, r.close)
			}
		}
	}, hasConn(func(c *form.Conn) bool { return c.HTTP.Served })},
	{"a probe before its first packet", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		p := connectPolling(t, s, "1")
		c := dialWS(t, s, engineSocket+"&sid="+p.sid)
		return func(t *testing.T, to *Server) { upgrade(t, to, c, true) }
	}, hasSession(func(s *form.Session) bool { return s.Polls && s.Polling.Probe != form.None })},
	{"a probe before the upgrade packet", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		p := connectPolling(t, s, "1")
		c := dialWS(t, s, engineSocket+"&sid="+p.sid)
		c.text("2probe")
		c.want("3probe")
		return func(t *testing.T, to *Server) { upgrade(t, to, c, false) }
	}, hasSession(func(s *form.Session) bool { return s.Polls && s.Polling.Probed })},
	{"a session that has just ended", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		p := connectPolling(t, s, "1")
		s.onAll(func(w *worker, _ time.Time) {
			for _, s := range w.sessions {
				s.Close(rooms.ReasonMissedEvents)
			}
		})
		return func(t *testing.T, to *Server) {
			if r := dial(t, to).do("POST", p.target(), "3", "X-Forwarded-For: 10.0.0.1"); r.body != "ok" {
				t.Errorf("a POST after the end of the session: %d %s, want ok", r.status, r.body)
			}
		}
	}, func(loops []*form.Loop) bool { return len(loops[0].Departed)+len(loops[1].Departed) > 0 }},
	{"a WebSocket whose session has ended", func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c := connectWS(t, s, "1")
		s.onAll(func(w *worker, _ time.Time) {
			for _, s := range w.sessions {
				s.Close(rooms.ReasonMissedEvents)
			}
		})
		return func(t *testing.T, to *Server) {
			c.wantEnd()
			testkit.Await(t, "the connection to be gone", func() bool { return to.conns.Load() == 0 })
		}
	}, hasConn(func(c *form.Conn) bool { return c.WebSocket.Ending })},
}

func upgrade(t *testing.T, to *Server, c socket, probe bool) {
	t.Helper()
	if probe {
		c.text("2probe")
		c.want("3probe")
	}
	deliverTo(t, to, "user:1", `42["x"]`)
	c.text("5")
	c.want(`42["x"]`)
	c.text(`429["typing",{"roomType":"conversation","roomId":"7"}]`)
	c.want(`439[{"error":"Not in room"}]`)
}

// halfFrame sends the first n bytes of a frame.
func halfFrame(n int) func(*testing.T, *Server) func(*testing.T, *Server) {
	return func(t *testing.T, s *Server) func(*testing.T, *Server) {
		c := connectWS(t, s, "1")
		text := frame(true, ws.OpText, `429["typing",{"roomType":"conversation","roomId":"7"}]`)
		c.send(text[:n])
		return func(t *testing.T, _ *Server) {
			c.send(text[n:])
			c.want(`439[{"error":"Not in room"}]`)
		}
	}
}

func deliverTo(t *testing.T, s *Server, room, packet string) {
	t.Helper()
	s.config.Hub.Deliver(rooms.Broadcast{Room: room, Message: codec.NewText([]byte(packet))})
}
