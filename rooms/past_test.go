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

// A pastLog is the log of a world: what was published to it, with a history
// that answers at once or when it is told to.
type pastLog struct {
	hub     *Hub
	entries []pastEntry
	passed  uint64
	short   uint64 // positions up to it are not kept any more
	waiting []func()
	slow    bool
	wanted  bool
}

type pastEntry struct {
	position uint64
	room     string
	message  *codec.Message
	order    *Order
}

const logName = "log1"

func (p *pastLog) Missed(q Question, done func(Missed)) {
	if p.slow {
		through := p.passed
		p.waiting = append(p.waiting, func() { done(p.answer(q, through)) })
		return
	}
	done(p.answer(q, p.passed))
}

func (p *pastLog) Wanted() { p.wanted = true }

func (p *pastLog) answer(q Question, through uint64) Missed {
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

// publish adds an event to the log and delivers it.
func (p *pastLog) publish(w *world, room string) uint64 {
	p.passed++
	e := pastEntry{position: p.passed, room: room, message: news("e" + strconv.FormatUint(p.passed, 10))}
	p.entries = append(p.entries, e)
	p.hub.Deliver(Broadcast{Room: room, Message: e.message, Position: e.position})
	p.hub.Passed(e.position)
	w.settle()
	return e.position
}

// newPast makes a world with a log that clients can come back to.
func newPast(t testing.TB, shards int, mutate ...func(*Config)) (*world, *pastLog) {
	past := &pastLog{}
	w := newWorld(t, shards, append([]func(*Config){func(c *Config) {
		c.Recovery = Recovery{Mode: RecoveryAsked, History: past, Grace: 5 * time.Second}
	}}, mutate...)...)
	past.hub = w.hub
	w.hub.Anew(logName, 0)
	w.settle()
	return w, past
}

// A recoveringClient is a client as the unmodified one behaves: it keeps its pid and the
// offset of the last event.
type recoveringClient struct {
	*client
	token, pid, offset string
	got                []string // names of events of the log
	recovered          bool
}

func (w *world) recoveringClient(token string) *recoveringClient {
	w.t.Helper()
	g := &recoveringClient{token: token}
	g.comeOn(w)
	return g
}

// comeOn connects, on the next shard.
func (g *recoveringClient) comeOn(w *world) {
	w.t.Helper()
	g.dial(w)
	g.answered()
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

// answered takes the answer to CONNECT, which comes first.
func (g *recoveringClient) answered() {
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

// read takes what has come, and keeps the offset.
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
		g.w.t.Errorf("recovered %v, want %v", g.recovered, want)
	}
	if n := g.w.hub.Recoveries(); n[want] == 0 {
		g.w.t.Errorf("counted %v, want one %v", n, want)
	}
}
