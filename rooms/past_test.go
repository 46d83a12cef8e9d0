package rooms

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
)

// A fakeHistory is the log of a world, and its History. It answers at once or,
// if slow, when the test calls the functions in waiting.
type fakeHistory struct {
	hub     *Hub
	entries []historyEntry
	passed  uint64
	short   uint64 // positions up to it have been removed
	waiting []func()
	slow    bool
	wanted  bool
}

type historyEntry struct {
	position uint64
	room     string
	message  *codec.Message
	order    *Order
}

const logName = "log1"

func (p *fakeHistory) Missed(q Question, done func(Missed)) {
	if p.slow {
		through := p.passed
		p.waiting = append(p.waiting, func() { done(p.answer(q, through)) })
		return
	}
	done(p.answer(q, p.passed))
}

func (p *fakeHistory) Wanted() { p.wanted = true }

func (p *fakeHistory) answer(q Question, through uint64) Missed {
	m := Missed{Through: through}
	for _, e := range p.entries {
		if e.position > through {
			break
		}
		if e.order != nil && e.position > q.Since && e.order.Means(q.User, q.Token, q.Issued) {
			return Missed{Result: RecoveryOrder}
		}
		for _, room := range q.Rooms {
			if room.From < p.short {
				return Missed{Result: RecoveryLogShort}
			}
			if room.Name == e.room && e.position > room.From {
				m.Events = append(m.Events, Numbered{e.position, e.message})
			}
		}
	}
	if len(m.Events) > q.MaxEvents {
		return Missed{Result: RecoveryTooMuch}
	}
	return m
}

// publish appends an event to the log and delivers it.
func (p *fakeHistory) publish(w *world, room string) uint64 {
	p.passed++
	e := historyEntry{position: p.passed, room: room, message: news("e" + strconv.FormatUint(p.passed, 10))}
	p.entries = append(p.entries, e)
	p.hub.Deliver(Broadcast{Room: room, Message: e.message, Position: e.position})
	p.hub.Passed(e.position)
	w.settle()
	return e.position
}

// newHistoryWorld returns a world with a log from which clients can recover.
func newHistoryWorld(t testing.TB, shards int, mutate ...func(*Config)) (*world, *fakeHistory) {
	past := &fakeHistory{}
	w := newWorld(t, shards, append([]func(*Config){func(c *Config) {
		c.Recovery = Recovery{Mode: RecoveryAsked, History: past, Grace: 5 * time.Second}
	}}, mutate...)...)
	past.hub = w.hub
	w.hub.Anew(logName, 0)
	w.settle()
	return w, past
}

// A recoveringClient behaves like the unmodified Socket.IO client: it keeps its
// pid and the offset of the last event.
type recoveringClient struct {
	*client
	token, pid, offset string
	got                []string // names of the events with an offset
	recovered          bool
}

func (w *world) recoveringClient(token string) *recoveringClient {
	w.t.Helper()
	g := &recoveringClient{token: token}
	g.reconnect(w)
	return g
}

// reconnect connects on the next shard and reads the answer.
func (g *recoveringClient) reconnect(w *world) {
	w.t.Helper()
	g.dial(w)
	g.readAnswer()
}

// dial opens a connection and sends CONNECT.
func (g *recoveringClient) dial(w *world) {
	g.client = w.open(userOf(g.token))
	auth := map[string]any{"token": g.token, "recovery": true}
	if g.pid != "" {
		auth["pid"] = g.pid
	}
	if g.offset != "" {
		auth["offset"] = g.offset
	}
	b, _ := json.Marshal(auth)
	g.text("0" + string(b))
}

// readAnswer reads the answer to CONNECT, which must be the first packet, and what
// follows.
func (g *recoveringClient) readAnswer() {
	g.w.t.Helper()
	var answer struct{ SID, PID string }
	packet := g.next()
	if err := json.Unmarshal([]byte(strings.TrimPrefix(packet, "40")), &answer); err != nil || len(answer.PID) != 20 {
		g.w.t.Fatalf("answer %q, %v", packet, err)
	}
	g.recovered = answer.PID == g.pid
	g.id, g.pid = answer.SID, answer.PID
	g.read()
}

// read reads all packets of the inbox, and keeps the last offset.
func (g *recoveringClient) read() {
	for len(g.inbox) > 0 {
		var args []json.RawMessage
		packet := g.next()
		if json.Unmarshal([]byte(strings.TrimPrefix(packet, "42")), &args) != nil {
			continue
		}
		var name, offset string
		_ = json.Unmarshal(args[0], &name)
		if json.Unmarshal(args[len(args)-1], &offset) == nil && len(args) > 1 {
			g.offset = offset
			g.got = append(g.got, name)
		}
	}
}

func (g *recoveringClient) join(room string) {
	g.emit("join_room", conversation(room))
	g.read()
}

func (g *recoveringClient) wantGot(names ...string) {
	g.w.t.Helper()
	g.read()
	if fmt.Sprint(g.got) != fmt.Sprint(names) {
		g.w.t.Errorf("got %v, want %v", g.got, names)
	}
}

func (g *recoveringClient) wantResult(want RecoveryResult) {
	g.w.t.Helper()
	if g.recovered != (want == RecoveryDone) {
		g.w.t.Errorf("recovered is %v, want result %v", g.recovered, want)
	}
	if n := g.w.hub.Recoveries(); n[want] == 0 {
		g.w.t.Errorf("recoveries counted by result: %v, want one %v", n, want)
	}
}
