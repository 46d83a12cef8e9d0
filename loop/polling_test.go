package loop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

func TestPollingCarriesPackets(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	p.send("4hello")
	if got := strings.Join(p.poll(), "|"); got != "4hello" {
		t.Errorf("got %q, want 4hello", got)
	}
	p.send("4a\x1e4b\x1ebAQIDBA==\x1e4\x1e4äöü日本")
	if got := strings.Join(p.poll(), "|"); got != "4a|4b|bAQIDBA==|4|4äöü日本" {
		t.Errorf("got %q, want the five packets sent", got)
	}
	p.send("4" + strings.Repeat("x", 900_000))
	if got := p.next(); len(got) != 900_001 {
		t.Errorf("got %d bytes back, want 900001", len(got))
	}
}

func TestParkedPollIsAnsweredWhenThereIsSomething(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for range 5 {
		p := connectPolling(t, s, "ann")
		p.get.send(requestText("GET", p.target(), ""))
		s.awaitParked(t, p.sid)
		deliver(t, s, "user:ann", `42["news"]`)
		if r := p.get.receive(); r.status != 200 || r.body != `42["news"]` {
			t.Errorf("%d %q, want the event", r.status, r.body)
		}
		p.send("41\x1e1")
	}
}

// One POST has more packets than a loop handles in one turn. All must be
// handled in order.
func TestManyPacketsInOnePost(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	for range 4 { // on either loop
		p := openPolling(t, s)
		var packets []string
		for i := range 10 * inputBatch {
			packets = append(packets, fmt.Sprint("4", i))
		}
		p.send(strings.Join(packets, "\x1e"))
		for _, packet := range packets {
			p.want(packet)
		}
		// A bad packet at the end must also end the session.
		if r := p.post.do("POST", p.target(), strings.Join(packets, "\x1e")+"\x1ebad"); r.status != 400 {
			t.Errorf("%d %s, want 400", r.status, r.body)
		}
		p.wantUnknown()
	}
}

// awaitParked waits until a poll of the session is parked.
func (s *Server) awaitParked(t testing.TB, sid string) {
	t.Helper()
	testkit.Await(t, "the poll to be parked", func() (parked bool) {
		s.onAll(func(w *worker, _ time.Time) {
			if session := w.bySID[sid]; session != nil {
				parked = session.poll.parked != nil
			}
		})
		return parked
	})
}

func TestOverlappingPollsEndTheSession(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := openPolling(t, s)
	p.get.send(requestText("GET", p.target(), ""))
	s.awaitParked(t, p.sid)
	if r := dial(t, s).do("GET", p.target(), ""); r.status != 400 {
		t.Errorf("second poll: %d %s, want 400", r.status, r.body)
	}
	p.wantUnknownIn(p.get.receive())
	p.wantUnknown()
	if got := s.Stats().Closed[rooms.ReasonPollOverlap]; got != 1 {
		t.Errorf("%d sessions closed for overlapping polls, want 1", got)
	}
}

func TestBadPayloadsEndTheSession(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	bystander := connectWS(t, s, "bystander")
	for name, payload := range map[string]string{
		"no type":               "abc",
		"empty":                 "",
		"empty packet":          "40\x1e",
		"ping of a client":      "2",
		"type out of range":     "7",
		"bad base64":            "b!!!",
		"binary out of place":   "bAQID",
		"bad Socket.IO packet":  "4x",
		"event before CONNECT":  `42["typing"]`,
		"bad UTF-8":             "4\xff\xfe",
		"separators":            "\x1e\x1e\x1e",
		"too many attachments":  `40{"token":"ann"}` + "\x1e" + `4599-["x"]`,
		"good, bad, never seen": `40{"token":"ann"}` + "\x1e" + `4x` + "\x1e" + `42` + joinEvent("1"),
	} {
		t.Run(name, func(t *testing.T) {
			p := openPolling(t, s)
			if r := p.post.do("POST", p.target(), payload); r.status != 400 {
				t.Errorf("%d %s, want 400", r.status, r.body)
			}
			p.wantUnknown()
		})
	}
	bystander.join("1")
	if m := s.config.Hub.Stats().Members; m != 2 {
		t.Errorf("%d memberships, want the bystander's 2", m)
	}
}

func TestClosePacketOverPolling(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	p.get.send(requestText("GET", p.target(), ""))
	s.awaitParked(t, p.sid)
	p.send("1")
	// Engine.IO protocol, test suite "forcefully closes the session".
	if r := p.get.receive(); r.status != 200 || r.body != "6" {
		t.Errorf("the parked poll: %d %q, want a noop", r.status, r.body)
	}
	p.wantUnknown()
	if st := s.Stats(); st.Closed[rooms.ReasonClientClose] != 1 || s.config.Hub.Stats().Members != 0 {
		t.Errorf("closed %v, %d memberships", st.Closed, s.config.Hub.Stats().Members)
	}
}

// A session sends messages and is then closed in the same turn. The parked poll
// must get the messages.
func TestMessagesBeforeTheCloseAreSent(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	p := openPolling(t, s)
	p.get.send(requestText("GET", p.target(), ""))
	s.awaitParked(t, p.sid)
	p.post.send(requestText("POST", p.target(), "4last\x1e4words\x1e4close"))
	if r := p.get.receive(); r.status != 200 || r.body != "4last\x1e4words" {
		t.Errorf("%d %q, want both messages", r.status, r.body)
	}
	p.wantUnknown()
}

// A client closes the connection of its parked poll. The session must end.
func TestAbandonedPollEndsTheSession(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for _, abrupt := range []bool{false, true} {
		p := connectPolling(t, s, "ann")
		p.get.send(requestText("GET", p.target(), ""))
		s.awaitParked(t, p.sid)
		if abrupt {
			p.get.reset()
		} else {
			p.get.conn.Close()
		}
		testkit.Await(t, "the session to end", func() bool { return s.Stats().Sessions == 0 })
		p.wantUnknown()
		if st := s.config.Hub.Stats(); st.Members != 0 || st.Sockets != 0 {
			t.Errorf("%d memberships of %d sockets are left, want none", st.Members, st.Sockets)
		}
	}
}

// A client, or its proxy, uses a new connection for each request. No message
// may be lost.
func TestEachRequestMayUseANewConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	for i := range 20 {
		deliver(t, s, "user:ann", fmt.Sprintf(`42["news",%d]`, i))
		p.get.conn.Close()
		p.post.conn.Close()
		p.get, p.post = dial(t, s), dial(t, s)
		p.want(fmt.Sprintf(`42["news",%d]`, i))
	}
}

// Connections are accepted by any loop and moved to that of their session. No
// message may be lost, repeated or delivered to another session.
func TestConnectionsMoveToTheLoopOfTheirSession(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, func(c *Config) { c.Loops = 4 })
	sessions := make([]*pollSession, 4)
	for loop := range sessions {
		sessions[loop] = openPollingOn(t, s, loop)
	}
	for i := range 100 {
		for _, p := range sessions {
			post := dial(t, s)
			if r := post.do("POST", p.target(), fmt.Sprintf("4%d", i), "Connection: close"); r.body != "ok" {
				t.Fatalf("POST %d: %d %s, want ok", i, r.status, r.body)
			}
			get := dial(t, s)
			if r := get.do("GET", p.target(), ""); r.body != fmt.Sprintf("4%d", i) {
				t.Fatalf("GET %d: %d %q, want the message of the POST", i, r.status, r.body)
			}
			if r := get.do("POST", p.target(), "4again"); r.body != "ok" { // the moved connection must still work
				t.Fatalf("POST on a moved connection: %d %s, want ok", r.status, r.body)
			}
			if r := get.do("GET", p.target(), ""); r.body != "4again" {
				t.Fatalf("GET on a moved connection: %d %q, want 4again", r.status, r.body)
			}
			get.conn.Close()
		}
	}
	st := s.Stats()
	if st.Moved < 200 || st.Forwarded != 0 {
		t.Errorf("%d connections moved, %d requests forwarded, want many and none", st.Moved, st.Forwarded)
	}
	testkit.Await(t, "the short-lived connections to end", func() bool { return s.conns.Load() <= 8 })
}

// A reverse proxy sends requests of several sessions on one connection. Its
// loop must forward those of other loops' sessions.
func TestSharedConnection(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	near, far := openPollingOn(t, s, 0), openPollingOn(t, s, 1)
	shared := near.get // the connection is on loop 0
	for i := range 50 {
		for _, p := range []*pollSession{far, near} {
			payload := fmt.Sprintf("4%d for %s\x1ebAQID", i, p.sid)
			if r := shared.do("POST", p.target(), payload); r.status != 200 || r.body != "ok" {
				t.Fatalf("POST: %d %s, want 200 ok", r.status, r.body)
			}
			if r := shared.do("GET", p.target(), ""); r.status != 200 || r.body != payload {
				t.Fatalf("GET: %d %q, want %q", r.status, r.body, payload)
			}
		}
	}
	if r := shared.do("GET", enginePoll+"&sid="+newSID(1), ""); r.status != 400 {
		t.Errorf("forwarded for an unknown session: %d %s, want 400", r.status, r.body)
	}
	if st := s.Stats(); st.Forwarded != 101 {
		t.Errorf("%d requests forwarded, want 101", st.Forwarded)
	}
}

func TestForwardedPollIsParked(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	near := openPollingOn(t, s, 0)
	far := openPollingOn(t, s, 1)
	far.connect("far")
	for i := range 20 {
		near.get.send(requestText("GET", far.target(), ""))
		s.awaitParked(t, far.sid)
		deliver(t, s, "user:far", fmt.Sprintf(`42["news",%d]`, i))
		if r := near.get.receive(); r.status != 200 || r.body != fmt.Sprintf(`42["news",%d]`, i) {
			t.Fatalf("%d %q, want 200", r.status, r.body)
		}
	}
}

func TestForwardedPollAbandoned(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for _, abrupt := range []bool{false, true} {
		near := openPollingOn(t, s, 0)
		near.connect("near")
		far := openPollingOn(t, s, 1)
		far.connect("far")
		near.get.send(requestText("GET", far.target(), ""))
		s.awaitParked(t, far.sid)
		if abrupt {
			near.get.reset()
		} else {
			near.get.conn.Close()
		}
		testkit.Await(t, "the parked session to end", func() bool { return s.Stats().Sessions == 1 })
		far.wantUnknown()
		near.get = dial(t, s)
		near.send("42" + typingEvent("1")) // near's session, whose connection was closed
		near.send("41\x1e1")
		testkit.Await(t, "the other session to end", func() bool { return s.Stats().Sessions == 0 })
		if st := s.config.Hub.Stats(); st.Members != 0 {
			t.Errorf("%d memberships are left, want none", st.Members)
		}
	}
}

// A session ends while its poll is parked on another loop. The poll must get
// the last message.
func TestForwardedSessionEnds(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	near, far := openPollingOn(t, s, 0), openPollingOn(t, s, 1)
	near.get.send(requestText("GET", far.target(), ""))
	s.awaitParked(t, far.sid)
	far.post.send(requestText("POST", far.target(), "4bye\x1e4close"))
	if r := near.get.receive(); r.status != 200 || r.body != "4bye" {
		t.Errorf("%d %q, want 200 4bye", r.status, r.body)
	}
	far.wantUnknown()
	near.send("4still here") // the session of the connection itself
	near.want("4still here")
}

// A WebSocket handshake comes on a connection of one loop for a session of
// another loop.
func TestProbeOnASharedConnection(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	near, far := openPollingOn(t, s, 0), openPollingOn(t, s, 1)
	c := socket{near.get}
	c.send(requestText("GET", engineSocket+"&sid="+far.sid, "", webSocketHeaders))
	if r := c.receive(); r.status != 101 {
		t.Fatalf("%d %s, want 101", r.status, r.body)
	}
	c.text("2probe")
	c.want("3probe")
	c.text("5")
	c.text("4hello")
	c.want("4hello")
	near.get = dial(t, s)
	near.send("4hello")
	near.want("4hello")
}

// A POST ends the session. The session must have ended when the POST is
// answered, and not at the end of the turn, because the client may already send
// another request.
func TestSessionHasEndedWhenItsPostIsAnswered(t *testing.T) {
	t.Parallel()
	for what, packets := range map[string]string{"close": "1", "nonsense": "9"} {
		s := newServer(t, nil)
		p := openPolling(t, s)
		s.on(p.loop(), func(w *worker, now time.Time) {
			session := w.bySID[p.sid]
			session.handlePost(&exchange{conn: &httpConn{w: w}, home: w}, []byte(packets), now)
			if session.phase != phaseEnded || w.bySID[p.sid] != nil {
				t.Errorf("%s: the session has not ended when the POST is answered", what)
			}
		})
	}
}
