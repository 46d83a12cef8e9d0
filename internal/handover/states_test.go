package handover

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
	"github.com/hometrip/gateway/internal/testkit"
)

// clientState is a state of a client during a hand-over. begin brings a client into
// the state. goOn continues after the hand-over and checks the client.
type clientState struct {
	name   string
	begin  func(s *seededRun, user string) (goOn func())
	rare   bool          // tested rarely, because it takes long
	within time.Duration // the time after which the gateway ends the connection; 0: never
}

const typingElsewhere = `["typing",{"roomType":"conversation","roomId":"not mine"}]` // typing in a room that was not joined is answered with an error

var clientStates = []clientState{
	{"WebSocket, idle in a room", func(s *seededRun, user string) func() {
		c := s.connected(user)
		c.text(`421["join_room",{"roomType":"conversation","roomId":"` + user + `"}]`)
		c.wantPrefix(`431[{"success":true`)
		return func() {
			s.notify(user, "x")
			c.wantPrefix(`42["new_notification",{"message":"x"`)
			c.text(`422["typing",{"roomType":"conversation","roomId":"` + user + `"}]`)
			c.want(`432[{"success":true}]`)
		}
	}, false, 0},
	{"WebSocket before CONNECT", func(s *seededRun, user string) func() {
		c := s.webSocket(socketTarget)
		s.sid(c.next())
		return func() { c.connect(user) }
	}, false, 0},
	{"token in the handshake", func(s *seededRun, user string) func() {
		c := s.webSocket(socketTarget, "Authorization: Bearer "+s.token(user))
		s.sid(c.next())
		return func() {
			c.text("40")
			c.wantPrefix(`40{"sid":`)
		}
	}, false, 0},
	{"half a frame's header", halfAFrame(1), false, 0},
	{"half a frame", halfAFrame(9), false, 0},
	{"first fragment of a message", func(s *seededRun, user string) func() {
		c := s.connected(user)
		event := "423" + typingElsewhere
		c.send(testkit.ClientFrame(false, ws.OpText, event[:10]))
		return func() {
			c.send(testkit.ClientFrame(true, ws.OpContinuation, event[10:]))
			c.want(`433[{"error":"Not in room"}]`)
		}
	}, false, 0},
	{"one of two attachments", func(s *seededRun, user string) func() {
		c := s.connected(user)
		c.text(`452-5["typing",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
		c.send(testkit.ClientFrame(true, ws.OpBinary, "one"))
		return func() {
			c.send(testkit.ClientFrame(true, ws.OpBinary, "two"))
			c.wantPrefix(`435[{"error":`)
			c.text("424" + typingElsewhere)
			c.want(`434[{"error":"Not in room"}]`)
		}
	}, false, 0},
	{"a slow reader with pending bytes", func(s *seededRun, user string) func() {
		c := s.connected(user)
		const events = 40
		text := strings.Repeat("x", 100_000)
		for i := range events {
			s.notify(user, fmt.Sprint(i, text))
		}
		return func() {
			s.notify(user, "end")
			for i := range events {
				c.wantPrefix(fmt.Sprintf(`42["new_notification",{"message":"%d%s`, i, text))
			}
			c.wantPrefix(`42["new_notification",{"message":"end"`)
		}
	}, false, 0},
	{"between two polls, with a pending packet", func(s *seededRun, user string) func() {
		p := s.polling(user)
		s.notify(user, "before")
		return func() {
			s.notify(user, "behind")
			p.wantPrefix(`42["new_notification",{"message":"before"`)
			p.wantPrefix(`42["new_notification",{"message":"behind"`)
			p.send("429" + typingElsewhere)
			p.want(`439[{"error":"Not in room"}]`)
		}
	}, false, 0},
	{"a poll that waits", func(s *seededRun, user string) func() {
		p := s.polling(user)
		p.get.send(requestText(http.MethodGet, p.target(), ""))
		return func() {
			s.notify(user, "x")
			p.take()
			p.wantPrefix(`42["new_notification",{"message":"x"`)
		}
	}, false, 0},
	{"half a POST", func(s *seededRun, user string) func() {
		p := s.polling(user)
		text := requestText(http.MethodPost, p.target(), "429"+typingElsewhere)
		p.post.send(text[:len(text)-7])
		return func() {
			p.post.send(text[len(text)-7:])
			p.wantOK()
			p.want(`439[{"error":"Not in room"}]`)
		}
	}, false, 30 * time.Second},
	{"half a POST in chunks", func(s *seededRun, user string) func() {
		p := s.polling(user)
		p.post.send("POST " + p.target() + " HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n427[\r\n")
		return func() {
			p.post.send("4\r\n\"x\"]\r\n0\r\n\r\n")
			p.wantOK()
			p.want(`437[{"error":"Unknown event"}]`)
		}
	}, false, 30 * time.Second},
	{"half a head", func(s *seededRun, _ string) func() {
		c := s.dial()
		c.send("GET " + pollTarget + " HTTP/1.1\r\nHo")
		return func() {
			c.send("st: test\r\n\r\n")
			c.wantOpen()
		}
	}, false, 0},
	{"a new connection without a request", func(s *seededRun, _ string) func() {
		c := s.dial()
		return func() {
			c.send(requestText(http.MethodGet, pollTarget, ""))
			c.wantOpen()
		}
	}, false, 0},
	{"a connection kept alive", func(s *seededRun, _ string) func() {
		c := s.dial()
		c.do(http.MethodGet, "/nothing", "")
		return func() {
			if status, body := c.do(http.MethodGet, "/nothing", ""); status != http.StatusNotFound {
				s.t.Errorf("%s: answered %d %s", s.state, status, body)
			}
		}
	}, false, 0},
	{"a probe before its packet", func(s *seededRun, user string) func() {
		p := s.polling(user)
		c := s.webSocket(socketTarget + "&sid=" + p.sid)
		return func() {
			c.text("2probe")
			c.want("3probe")
			s.upgrade(p, c, user)
		}
	}, false, 10 * time.Second},
	{"an upgrade half done", func(s *seededRun, user string) func() {
		p := s.polling(user)
		c := s.webSocket(socketTarget + "&sid=" + p.sid)
		c.text("2probe")
		c.want("3probe")
		return func() { s.upgrade(p, c, user) }
	}, false, 10 * time.Second},
	{"a session that was ended", func(s *seededRun, user string) func() {
		c := s.connected(user)
		s.post("user.disconnect", `{"userId":"`+user+`"}`)
		return func() {
			c.wantPrefix(`42["session_ended"`)
			c.want("41")
		}
	}, false, 0},
	{"a token that ends soon", func(s *seededRun, user string) func() {
		c := s.webSocket(socketTarget)
		s.sid(c.next())
		c.text(`40{"token":"` + s.tokenFor(user, 12*time.Second) + `"}`)
		c.wantPrefix(`40{"sid":`)
		return func() {
			for !strings.HasPrefix(c.next(), `42["session_ended",{"reason":"token_expired"`) {
			}
		}
	}, true, 0},
	{"a join that waits for the webhook", func(s *seededRun, user string) func() {
		c := s.connected("undecided" + user)
		c.text(`421["join_room",{"roomType":"conversation","roomId":"1"}]`)
		return func() { c.wantPrefix(`431[{"success":true`) }
	}, true, 0},
	{"a disconnected client that may recover", func(s *seededRun, user string) func() {
		c := s.recovering(user, map[string]any{"recovery": true})
		s.notify(user, "before")
		offset := s.notified(c, "before")
		c.Kill()
		return func() {
			s.notify(user, "meanwhile")
			back := s.recovering(user, map[string]any{"recovery": true, "pid": c.PID(), "offset": offset})
			if back.PID() != c.PID() {
				s.t.Errorf("%s: not recovered", s.state)
				return
			}
			s.notified(back, "meanwhile")
		}
	}, false, 0},
}

// halfAFrame sends this many bytes of a frame before the hand-over and the rest after
// it.
func halfAFrame(n int) func(*seededRun, string) func() {
	return func(s *seededRun, user string) func() {
		c := s.connected(user)
		text := testkit.ClientFrame(true, ws.OpText, "429"+typingElsewhere)
		c.send(text[:n])
		return func() {
			c.send(text[n:])
			c.want(`439[{"error":"Not in room"}]`)
		}
	}
}

// upgrade completes an upgrade whose probe was answered.
func (s *seededRun) upgrade(p *rawPolling, c rawSocket, user string) {
	s.t.Helper()
	c.text("5")
	s.notify(user, "x")
	c.wantPrefix(`42["new_notification",{"message":"x"`)
	c.text("429" + typingElsewhere)
	c.want(`439[{"error":"Not in room"}]`)
}

func (s *seededRun) recovering(user string, auth map[string]any) *sioclient.Client {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), long)
	defer cancel()
	auth["token"] = s.token(user)
	c, err := sioclient.Connect(ctx, s.now.URL, sioclient.Options{Auth: auth})
	if err != nil {
		s.t.Fatalf("%s: %v", s.state, err)
	}
	s.t.Cleanup(c.Kill)
	return c
}

// notified waits for a notification with this message and returns its offset.
func (s *seededRun) notified(c *sioclient.Client, message string) (offset string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), long)
	defer cancel()
	for {
		e, err := c.Next(ctx)
		if err != nil {
			s.t.Fatalf("%s: %v", s.state, err)
		}
		if e.Name != "new_notification" {
			continue
		}
		var body struct{ Message string }
		err = e.Decode(&body)
		if err == nil {
			err = json.Unmarshal(e.Args[len(e.Args)-1], &offset)
		}
		if err != nil || body.Message != message {
			s.t.Fatalf("%s: notification %q, %v, want %q", s.state, body.Message, err, message)
		}
		return offset
	}
}

// notify publishes a notification for a user.
func (s *seededRun) notify(user, message string) {
	s.t.Helper()
	s.post("notification.created", fmt.Sprintf(`{"userId":%q,"message":%q}`, user, message))
}

func (s *seededRun) post(key, body string) {
	s.t.Helper()
	if status, answer, err := s.publish(key, body); err != nil || status/100 != 2 {
		s.t.Fatalf("%s: %s answered %d %s, %v", s.state, key, status, answer, err)
	}
}

func (s *seededRun) token(user string) string { return gatewaytest.Token(s.t, user) }
