package loop

import (
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

// probe opens a WebSocket for an upgrade of the session, up to the server's
// "3probe".
func (p *pollSession) probe() socket {
	p.t.Helper()
	c := dialWS(p.t, p.s, engineSocket+"&sid="+p.sid)
	c.text("2probe")
	c.want("3probe")
	return c
}

// upgrade upgrades the session to WebSocket, as the JavaScript client does.
func (p *pollSession) upgrade() socket {
	p.t.Helper()
	c := p.probe()
	c.text("5")
	return c
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for range 10 { // on either loop
		p := connectPolling(t, s, "ann")
		c := p.upgrade()
		c.join("1")
		deliver(t, s, "user:ann", `42["news"]`)
		c.want(`42["news"]`)
		p.wantUnknown() // polling requests are refused
		c.text("41")
		c.text("1")
		c.wantClose(1000)
	}
	testkit.Await(t, "the last session to end", func() bool { return s.Stats().Sessions == 0 })
	st := s.Stats()
	if st.Upgrades != 10 || st.WebSockets != 0 {
		t.Errorf("stats %+v, want 10 upgrades and no WebSocket", st)
	}
}

func TestUpgradeReleasesTheParkedPoll(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	p.get.send(requestText("GET", p.target(), ""))
	s.awaitParked(t, p.sid)
	c := p.probe()
	if r := p.get.receive(); r.status != 200 || r.body != "6" {
		t.Errorf("the parked poll: %d %q, want a noop", r.status, r.body)
	}
	if r := p.get.do("GET", p.target(), ""); r.status != 200 || r.body != "6" { // a client that polls again
		t.Errorf("a poll between probe and upgrade: %d %q, want a noop", r.status, r.body)
	}
	c.text("5")
	c.join("1")
}

// Messages come between probe and upgrade. They must be sent with the next poll
// or over the WebSocket.
func TestNothingIsLostBetweenProbeAndUpgrade(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	deliver(t, s, "user:ann", "41")
	p.want("41")
	c := p.probe()
	deliver(t, s, "user:ann", "42")
	if r := p.get.do("GET", p.target(), ""); r.body != "42" {
		t.Errorf("a poll between probe and upgrade: %d %q, want 42", r.status, r.body)
	}
	p.send("42" + joinEvent("1")) // a POST during the upgrade
	deliver(t, s, "user:ann", "43")
	deliver(t, s, "conversation:1", "44")
	c.text("5")
	c.want("43")
	c.want("44")
	deliver(t, s, "user:ann", "45")
	c.want("45")
}

// A client sends probe, upgrade and a message in one write.
func TestUpgradeWithoutWaiting(t *testing.T) {
	t.Parallel()
	s := newEchoServer(t, nil)
	for range 10 {
		p := openPolling(t, s)
		p.get.send(requestText("GET", p.target(), ""))
		s.awaitParked(t, p.sid)
		c := dialWS(t, s, engineSocket+"&sid="+p.sid)
		c.send(frame(true, 1, "2probe") + frame(true, 1, "5") + frame(true, 1, "4hello"))
		c.want("3probe")
		c.want("4hello")
		if r := p.get.receive(); r.body != "6" {
			t.Errorf("the parked poll: %d %q, want a noop", r.status, r.body)
		}
	}
}

func TestSessionSurvivesAFailedProbe(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	for name, fail := range map[string]func(c socket){
		"closed at once":        func(c socket) { c.conn.Close() },
		"reset at once":         func(c socket) { c.reset() },
		"wrong probe":           func(c socket) { c.text("2hello"); c.wantEOF() },
		"upgrade without probe": func(c socket) { c.text("5"); c.wantEOF() },
		"message":               func(c socket) { c.text("4hello"); c.wantEOF() },
		"binary probe":          func(c socket) { c.send(frame(true, 2, "2probe")); c.wantEOF() },
		"bad UTF-8":             func(c socket) { c.send(frame(true, 1, "\xff")); c.wantClose(1007) },
		"unmasked":              func(c socket) { c.send("\x81\x062probe"); c.wantClose(1002) },
		"close frame":           func(c socket) { c.send(frame(true, 8, "\x03\xe8")); c.wantClose(1000) },
		"closed after probe":    func(c socket) { c.text("2probe"); c.want("3probe"); c.conn.Close() },
		"probed twice":          func(c socket) { c.text("2probe"); c.want("3probe"); c.text("2probe"); c.wantEOF() },
		"given up": func(c socket) {
			c.text("2probe")
			c.want("3probe")
			s.onAll(func(w *worker, now time.Time) {
				if session := w.bySID[p.sid]; session != nil {
					session.poll.probe.more.wait.Expire(now)
				}
			})
			c.wantEOF()
		},
	} {
		fail(dialWS(t, s, engineSocket+"&sid="+p.sid))
		testkit.Await(t, "the probe to be forgotten: "+name, func() (gone bool) {
			s.onAll(func(w *worker, _ time.Time) {
				if session := w.bySID[p.sid]; session != nil {
					gone = session.poll.probe == nil && !session.poll.probed
				}
			})
			return gone
		})
		deliver(t, s, "user:ann", `42["after","`+name+`"]`)
		p.want(`42["after","` + name + `"]`)
	}
	p.upgrade().join("1") // a further upgrade succeeds
}

func TestUnfinishedProbeTimesOut(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	silent := dialWS(t, s, engineSocket+"&sid="+p.sid)
	testkit.Await(t, "the probe", func() bool { return s.conns.Load() == 3 })
	s.elapse(upgradeTimeout + wheel.Tick)
	silent.wantEOF()
	p.upgrade().join("1")
}

func TestSecondProbeIsRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	first := p.probe()
	if r := dial(t, s).do("GET", engineSocket+"&sid="+p.sid, "", webSocketHeaders); r.status != 400 || r.body != `{"code":3,"message":"Bad request"}` {
		t.Errorf("second probe: %d %s, want 400", r.status, r.body)
	}
	first.text("5")
	first.join("1")
	if r := dial(t, s).do("GET", engineSocket+"&sid="+p.sid, "", webSocketHeaders); r.status != 400 {
		t.Errorf("probe after the upgrade: %d %s, want 400", r.status, r.body)
	}
	first.join("2")
}

func TestSessionEndsWhileItIsProbed(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	c := p.probe()
	p.send("41\x1e1")
	c.wantEOF()
	testkit.Await(t, "the probe's connection to end", func() bool { return s.conns.Load() == 2 })
	p.wantUnknown()
}

// endProbed ends a session after its probe was answered, and returns the WebSocket.
func endProbed(t *testing.T, s *Server, also func(w *worker, session *session, now time.Time)) socket {
	t.Helper()
	p := connectPolling(t, s, "ann")
	c := p.probe()
	s.onAll(func(w *worker, now time.Time) {
		if session := w.bySID[p.sid]; session != nil {
			session.Close(rooms.ReasonTakenOver)
			also(w, session, now)
		}
	})
	testkit.Await(t, "the session to end", func() bool { return s.Stats().Sessions == 0 })
	return c
}

// A session ends after its client has got "3probe". The client does not poll
// any more, and notices the end of the WebSocket only after it has sent "5". So
// the WebSocket must stay open until then, or until the upgrade times out.
func TestEndDuringAnUpgradeIsNoticedByTheClient(t *testing.T) {
	t.Parallel()
	nothing := func(*worker, *session, time.Time) {}
	open := func(t *testing.T, s *Server) {
		t.Helper()
		s.onAll(func(*worker, time.Time) {}) // the loops have handled the end
		if n := s.conns.Load(); n != 3 {
			t.Errorf("%d connections, want 3: two for requests and the WebSocket", n)
		}
	}
	t.Run("it upgrades afterwards", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, nil)
		c := endProbed(t, s, nothing)
		open(t, s)
		c.text("5")
		c.wantEnd()
	})
	t.Run("it upgrades in the same turn", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, nil)
		c := endProbed(t, s, func(w *worker, session *session, now time.Time) {
			_ = session.poll.probe.frame(ws.Header{Fin: true, OpCode: ws.OpText}, []byte("5"), now)
		})
		c.wantEnd()
	})
	t.Run("it never upgrades", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, nil)
		c := endProbed(t, s, nothing)
		open(t, s)
		s.elapse(upgradeTimeout + wheel.Tick)
		c.wantEOF()
	})
}

// Pending messages of more than one write must arrive in order over the
// WebSocket after the upgrade.
func TestLargeBacklogCrossesTheUpgrade(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	p := connectPolling(t, s, "ann")
	c := p.probe()
	want := make([]string, 50)
	for i := range want {
		want[i] = `42["` + strings.Repeat(string(rune('a'+i%26)), 20_000+i) + `"]`
		deliver(t, s, "user:ann", want[i])
	}
	c.text("5")
	for _, packet := range want {
		c.want(packet)
	}
}
