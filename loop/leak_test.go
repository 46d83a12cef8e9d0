package loop

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

// holdings counts everything that must be freed when all clients have gone.
type holdings struct {
	Sessions, BySID, Timers, Pending, Unflushed int
	Rooms, Members                              int
	Connections, Sockets, WebSockets            int64
	Descriptors, Goroutines                     int
	Places, Held                                int
}

func (s *Server) holdings() (h holdings) {
	s.onAll(func(w *worker, _ time.Time) {
		h.Sessions += len(w.sessions)
		h.BySID += len(w.bySID)
		h.Timers += w.wheel.Armed()
		h.Pending += w.outbox.used
		h.Unflushed += len(w.turns.touched.fresh) + len(w.turns.touched.backlog)
		rooms, members := w.shard.Len()
		h.Rooms, h.Members = h.Rooms+rooms, h.Members+members
	})
	st := s.Stats()
	h.Connections, h.WebSockets = st.Connections, st.WebSockets
	h.Sockets = s.config.Hub.Stats().Sockets
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		h.Descriptors = len(entries)
	}
	h.Goroutines = goroutines()
	h.Places, h.Held = s.guard.Places(), int(st.Held)
	return h
}

// goroutines returns the number of goroutines, without those of the pool with
// which gnet enrolls connections: they end after 10 to 20 s without work.
func goroutines() (n int) {
	var profile strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1) // writing to memory does not fail
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		count, _, isStack := strings.Cut(stack, " @ ")
		if _, line, header := strings.Cut(count, "\n"); header { // the header of the profile
			count = line
		}
		if isStack && !strings.Contains(stack, "panjf2000/ants") {
			some, _ := strconv.Atoi(count)
			n += some
		}
	}
	return n
}

// Thousands of connections are opened and ended in all ways of the list visits.
// Afterwards no session, timer, room, connection, descriptor or goroutine may
// be left.
func TestNothingLeaks(t *testing.T) {
	testkit.Slow(t, "it has 60 rounds of clients that come and go, and waits until the process is as small as before: 7 s")
	const rounds, atOnce = 60, 200
	s := newServerOf(t, func(c *Config, r *rooms.Config) {
		c.Loops = 4
		c.MaxPerAddress = 10_000
		c.HeadTimeout = 200 * time.Millisecond
		c.KeepAlive = 200 * time.Millisecond
		c.PingInterval, c.PingTimeout = 200*time.Millisecond, 200*time.Millisecond
		r.ConnectTimeout = 200 * time.Millisecond
	})
	visit := func(rounds int) {
		var wait sync.WaitGroup
		slots := make(chan struct{}, atOnce)
		random := rand.New(rand.NewPCG(uint64(rounds), 4))
		for range rounds {
			for _, i := range random.Perm(len(visits)) {
				v := &visitor{s: s, room: fmt.Sprint(random.IntN(5)), abrupt: random.IntN(2) == 0}
				slots <- struct{}{}
				wait.Go(func() {
					defer func() { <-slots }()
					defer v.leave()
					visits[i](v)
				})
			}
		}
		wait.Wait()
	}
	visit(1) // so that pools are filled before counting
	before := s.settled(t, nil)
	visit(rounds)
	after := s.settled(t, &before)
	st := s.Stats()
	t.Logf("%d connections, %d sessions, %d upgrades, %d moved, %d forwarded, closed %v; left %+v",
		st.Accepted, st.HandshakesPoll+st.HandshakesWS, st.Upgrades, st.Moved, st.Forwarded, st.Closed, after)
	if st.Panics != 0 {
		t.Errorf("%d panics, want none", st.Panics)
	}
	if st.Upgrades == 0 || st.Moved == 0 || st.Forwarded == 0 {
		t.Error("no connection was upgraded, moved or forwarded, want some of each")
	}
	if names, total := s.config.Hub.Names(10); total != 0 {
		t.Errorf("%d rooms are occupied, want none: %q", total, names)
	}
}

// settled waits until nothing is counted, and until the process has no more
// descriptors and goroutines than before.
func (s *Server) settled(t *testing.T, before *holdings) (now holdings) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for last := (holdings{}); ; last = now {
		now = s.holdings()
		rest := now
		rest.Descriptors, rest.Goroutines = 0, 0
		switch {
		case rest != (holdings{}):
		case before == nil && now == last:
			return now
		case before != nil && now.Descriptors <= before.Descriptors && now.Goroutines <= before.Goroutines:
			return now
		}
		if time.Now().After(deadline) {
			t.Fatalf("held: %+v\nbefore: %+v", now, before)
		}
		time.Sleep(wheel.Tick) // between two checks
	}
}

// A visitor connects in one of several ways, and leaves. It ignores errors,
// because the server may have closed the connection before.
type visitor struct {
	s      *Server
	room   string
	abrupt bool // leaves with an RST
	wires  []*wire
	sid    string
}

// leave closes all connections, some of them with an RST.
func (v *visitor) leave() {
	for _, c := range v.wires {
		if v.abrupt {
			c.reset()
		} else {
			c.conn.Close()
		}
	}
}

func (v *visitor) dial() *wire {
	c, err := dialQuietly(v.s)
	if err != nil {
		panic(err)
	}
	v.wires = append(v.wires, c)
	return c
}

func (v *visitor) say(c *wire, text string) { _, _ = io.WriteString(c.conn, text) }

func (v *visitor) do(method, target, body string) string {
	c := v.dial()
	v.say(c, requestText(method, target, body))
	r, _ := c.tryReceive(method)
	return r.body
}

func (v *visitor) poll(more string) string { return enginePoll + "&sid=" + v.sid + more }

// openPolling opens a session and joins. v.sid is "" if the server has refused it.
func (v *visitor) openPolling() {
	if body := v.do("GET", enginePoll, ""); len(body) > 30 {
		v.sid = body[len(`0{"sid":"`):][:sidLen]
	}
	v.do("POST", v.poll(""), `40{"token":"ann"}`)
	v.do("POST", v.poll(""), "42"+joinEvent(v.room))
}

func (v *visitor) webSocket(target string) socket {
	c := v.dial()
	v.say(c, requestText("GET", target, "", webSocketHeaders))
	_, _ = c.tryReceive("GET")
	return socket{c}
}

func (v *visitor) openSocket() socket {
	c := v.webSocket(engineSocket)
	v.say(c.wire, frame(true, ws.OpText, `40{"token":"ann"}`)+
		frame(true, ws.OpText, "421"+joinEvent(v.room)))
	for range 3 {
		_, _, _ = c.read()
	}
	return c
}

func (v *visitor) probe() socket {
	v.openPolling()
	c := v.webSocket(engineSocket + "&sid=" + v.sid)
	v.say(c.wire, frame(true, ws.OpText, "2probe"))
	_, _, _ = c.read()
	return c
}

// visits are the ways in which clients connect and leave.
var visits = []func(v *visitor){
	func(v *visitor) { v.dial() },
	func(v *visitor) { v.say(v.dial(), "GET /socket.io/?EIO=4") },
	func(v *visitor) { // waits for the head's deadline
		c := v.dial()
		v.say(c, "GET /")
		_, _ = io.Copy(io.Discard, c.in)
	},
	func(v *visitor) { v.say(v.dial(), "\x16\x03\x01") },
	func(v *visitor) { v.do("GET", "/health", "") },
	func(v *visitor) { v.do("GET", enginePoll+"&sid=nobody", "") },
	func(v *visitor) { v.say(v.dial(), requestText("GET", engineSocket, "", webSocketHeaders)) }, // gone before the answer
	func(v *visitor) { v.say(v.dial(), requestText("GET", enginePoll, "")) },
	func(v *visitor) { v.webSocket(engineSocket) }, // no CONNECT
	func(v *visitor) { _, _ = io.Copy(io.Discard, v.webSocket(engineSocket).in) },
	func(v *visitor) { v.openSocket() },
	func(v *visitor) { v.say(v.openSocket().wire, frame(true, ws.OpClose, "\x03\xe8")) },
	func(v *visitor) {
		c := v.openSocket()
		v.say(c.wire, frame(true, ws.OpText, "41")+frame(true, ws.OpText, "1"))
		_, _ = io.Copy(io.Discard, c.in)
	},
	func(v *visitor) { v.say(v.openSocket().wire, "\xff\xff\xff") },
	func(v *visitor) { v.say(v.openSocket().wire, frame(false, ws.OpText, "4half a message")) },
	func(v *visitor) {
		v.say(v.openSocket().wire, frame(true, ws.OpText, `452-["x"]`)+frame(true, ws.OpBinary, "x"))
	},
	func(v *visitor) { _, _ = io.Copy(io.Discard, v.openSocket().in) }, // answers no ping
	func(v *visitor) { v.openPolling() },
	func(v *visitor) { v.openPolling(); v.do("POST", v.poll(""), "41\x1e1") },
	func(v *visitor) { v.openPolling(); v.do("POST", v.poll(""), "garbage") },
	func(v *visitor) { // a poll is parked
		v.openPolling()
		v.do("GET", v.poll(""), "")
		v.say(v.dial(), requestText("GET", v.poll(""), ""))
	},
	func(v *visitor) { // two polls at the same time
		v.openPolling()
		v.say(v.dial(), requestText("GET", v.poll(""), ""))
		v.say(v.dial(), requestText("GET", v.poll(""), ""))
	},
	func(v *visitor) { // requests that are forwarded to another loop
		v.openPolling()
		c := v.dial()
		for range 3 {
			v.say(c, requestText("GET", enginePoll, ""))
			_, _ = c.tryReceive("GET")
		}
		v.say(c, requestText("POST", v.poll(""), "42"+typingEvent("1"))+requestText("GET", v.poll(""), "")+requestText("GET", v.poll(""), ""))
		_, _ = c.tryReceive("POST")
	},
	func(v *visitor) { // half a body
		v.openPolling()
		v.say(v.dial(), requestText("POST", v.poll(""), "4hello")[:80])
	},
	func(v *visitor) { v.openPolling(); v.webSocket(engineSocket + "&sid=" + v.sid) },
	func(v *visitor) { v.probe() },
	func(v *visitor) { v.say(v.probe().wire, frame(true, ws.OpText, "nonsense")) },
	func(v *visitor) { v.probe(); v.do("POST", v.poll(""), "1") },
	func(v *visitor) { v.say(v.probe().wire, frame(true, ws.OpText, "5")) },
	func(v *visitor) {
		c := v.probe()
		v.say(c.wire, frame(true, ws.OpText, "5")+frame(true, ws.OpText, "42"+typingEvent("1"))+frame(true, ws.OpText, "1"))
		_, _ = io.Copy(io.Discard, c.in)
	},
}
