package loop

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

// Sessions end for reasons after which clients must reconnect. So a WebSocket
// must be closed without a close frame, and a poll must be answered like one of
// an unknown session. A POST gets no answer, but "ok" through a proxy, which
// would make an error of a closed connection.
func TestClientsNoticeTheEndOfASession(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for _, reason := range []rooms.Reason{
		rooms.ReasonDraining, rooms.ReasonMissedEvents, rooms.ReasonSlowConsumer, rooms.ReasonShed,
		rooms.ReasonTooFast, rooms.ReasonPingTimeout, rooms.ReasonConnectTimeout, rooms.ReasonPanic,
	} {
		t.Run(reason.String(), func(t *testing.T) {
			c := connectWS(t, s, "ann")
			p := connectPolling(t, s, "bob")
			p.get.send(requestText("GET", p.target(), ""))
			s.awaitParked(t, p.sid)
			s.onAll(func(w *worker, _ time.Time) {
				for _, session := range w.sessions {
					session.Close(reason)
				}
			})
			c.wantEnd()
			p.wantUnknownIn(p.get.receive())
			relayed := dial(t, s)
			relayed.send(requestText("POST", p.target(), "3", "X-Forwarded-For: 192.0.2.1"))
			if r := relayed.receive(); r.status != 200 || r.body != "ok" {
				t.Errorf("a POST through a proxy just after the end: %d %q, want ok", r.status, r.body)
			}
			p.post.send(requestText("POST", p.target(), "3"))
			p.post.wantEOF()
			p.wantUnknown()
		})
	}
}

// A POST shortly after the end of a session is answered with "ok"; after
// lingerTimeout, or after the client's own close packet, it must get 400.
func TestPostAfterTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	s.onAll(func(w *worker, _ time.Time) {
		for _, session := range w.sessions {
			session.Close(rooms.ReasonDraining)
		}
	})
	testkit.Await(t, "the session to end", func() bool { return s.Stats().Sessions == 0 })
	s.elapse(lingerTimeout + time.Second)
	if r := p.post.do("POST", p.target(), "3"); r.status != 400 {
		t.Errorf("a POST long after the end: %d %q, want 400", r.status, r.body)
	}
	s.onAll(func(w *worker, _ time.Time) {
		if len(w.departed) > 0 {
			t.Errorf("%d ended sessions are still remembered, want none", len(w.departed))
		}
	})
	p = connectPolling(t, s, "ann")
	p.send("1")
	if r := p.post.do("POST", p.target(), "3"); r.status != 400 {
		t.Errorf("a POST after the client's own close packet: %d %q, want 400", r.status, r.body)
	}
}

// A session ends on a node that drains. Requests that the client sent before it
// noticed must be answered on the same connections, which are closed after
// partingTime.
func TestConnectionsStayOpenAfterASessionThatWasDrained(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	deliver(t, s, "user:ann", `42["1"]`)
	s.onAll(func(w *worker, _ time.Time) { w.server.draining.Store(true) })
	p.send("3") // on the other connection than the last poll
	s.onAll(func(w *worker, _ time.Time) {
		for _, session := range w.sessions {
			session.Close(rooms.ReasonDraining)
		}
	})
	for range 2 {
		p.wantUnknownIn(p.get.do("GET", p.target(), ""))
		p.post.send(requestText("POST", p.target(), "3", "X-Forwarded-For: 192.0.2.1"))
		if r := p.post.receive(); r.status != 200 || r.body != "ok" || r.close {
			t.Errorf("a POST just after the end: %d %q, want ok", r.status, r.body)
		}
	}
	s.elapse(partingTime + 2*wheel.Tick)
	testkit.Await(t, "both connections to be closed", func() bool { return s.conns.Load() == 0 })
}

// A session ends on a node that drains, and its client sends no more requests.
// The connections must be closed after partingTime.
func TestIdleConnectionsAreClosedAfterASessionThatWasDrained(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	p.get, p.post = p.post, p.get // a pool of connections may use either for either
	deliver(t, s, "user:ann", `42["1"]`)
	p.want(`42["1"]`)
	s.onAll(func(w *worker, _ time.Time) {
		w.server.draining.Store(true)
		for _, session := range w.sessions {
			session.Close(rooms.ReasonDraining)
		}
	})
	testkit.Await(t, "the session to end", func() bool { return s.Stats().Sessions == 0 })
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections just after the end, want 2", n)
	}
	s.elapse(partingTime + 2*wheel.Tick)
	testkit.Await(t, "both connections to be closed", func() bool { return s.conns.Load() == 0 })
}

// A client does not close its connection after the session has ended. The
// server must close it after lingerTimeout.
func TestConnectionOfAnEndedSessionIsClosedAfterATimeout(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	c := connectWS(t, s, "ann")
	s.onAll(func(w *worker, _ time.Time) {
		for _, session := range w.sessions {
			session.Close(rooms.ReasonDraining)
		}
	})
	if _, _, err := c.read(); err != io.EOF {
		t.Fatalf("%v, want the end", err)
	}
	c.text("42" + joinEvent("1")) // ignored after the end
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections, want the one that lingers", n)
	}
	s.elapse(lingerTimeout)
	testkit.Await(t, "the connection to be closed", func() bool { return s.conns.Load() == 0 })
}

// A session is closed while messages are pending in the server. They must be
// sent before the connection ends.
func TestPendingMessagesArriveBeforeTheEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.MaxPending = 16 << 20 })
	c := dialSlow(t, s, "slow")
	text := strings.Repeat("x", 400_000)
	const messages = 20
	for i := range messages {
		deliver(t, s, "user:slow", fmt.Sprintf(`42["%d","%s"]`, i, text))
	}
	s.onAll(func(w *worker, _ time.Time) {
		for _, session := range w.sessions {
			session.Close(rooms.ReasonDraining)
		}
	})
	for i := range messages {
		if got := c.next(); !strings.HasPrefix(got, fmt.Sprintf(`42["%d",`, i)) {
			t.Fatalf("got %.40q, want message %d", got, i)
		}
	}
	c.wantEnd()
}

// An answer to a poll has 16 packets at most, because python-engineio drops
// larger ones.
func TestPollAnswersHaveAtMost16Packets(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	const events = 150
	for i := range events {
		deliver(t, s, "user:ann", fmt.Sprintf(`42["%d"]`, i))
	}
	s.onAll(func(w *worker, _ time.Time) { // a message with attachments is not split
		for _, session := range w.sessions {
			session.Send(codec.NewAttached([]byte(`451-["a",{"_placeholder":true,"num":0}]`), [][]byte{{1}}))
		}
	})
	var packets []string
	for len(packets) < events+2 {
		r := p.get.do("GET", p.target(), "")
		some := strings.Split(r.body, "\x1e")
		if r.status != 200 || len(some) > 16 {
			t.Fatalf("%d with %d packets, want at most 16", r.status, len(some))
		}
		packets = append(packets, some...)
	}
	for i := range events {
		if want := fmt.Sprintf(`42["%d"]`, i); packets[i] != want {
			t.Fatalf("packet %d is %q, want %q", i, packets[i], want)
		}
	}
	if packets[events+1] != "bAQ==" {
		t.Errorf("the attachment is %q, want bAQ==", packets[events+1])
	}
}

// Each reason for an end has the close code of closeCode, or none.
func TestCloseCodesOfReasons(t *testing.T) {
	t.Parallel()
	for reason, want := range map[rooms.Reason]ws.StatusCode{
		rooms.ReasonClientClose: 1000, rooms.ReasonParseError: 1002, rooms.ReasonTooLarge: 1009, rooms.ReasonDraining: 0,
	} {
		if got := closeCode(reason); got != want {
			t.Errorf("%v: close code %d, want %d", reason, got, want)
		}
	}
}
