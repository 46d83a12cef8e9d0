package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/sioclient"
)

// A stay is what a client has seen of a room since it joined.
type stay struct {
	in     bool
	unsure bool // a join or leave was not acknowledged
	due    int  // the first event that was published after the join
	first  int  // the first event that came; -1: none
	next   int
}

// A returner is a client whose connections are cut and which returns. It
// belongs to the goroutine of live.
type returner struct {
	t           *testing.T
	returnsTest *returnsTest
	name        string
	line        *line
	random      *rand.Rand

	client      *sioclient.Client
	pid, offset string
	rooms       [returnsRooms]stay
	states      map[int]bool // rooms of which room_state has come since the return
	events      int
	trail       []string // what has happened, for failure messages
}

func newReturner(t *testing.T, st *returnsTest, i int) *returner {
	return &returner{
		t: t, returnsTest: st, name: fmt.Sprint("returner-", i), line: newLine(t), random: rand.New(rand.NewPCG(uint64(i), 1)),
	}
}

func (s *returner) note(format string, args ...any) {
	s.trail = append(s.trail, fmt.Sprintf(format, args...))
	s.trail = s.trail[max(0, len(s.trail)-60):]
}

func (s *returner) fail(format string, args ...any) {
	s.t.Errorf("%s: %s\n%s", s.name, fmt.Sprintf(format, args...), strings.Join(s.trail, "\n"))
}

func (s *returner) live() {
	for !s.t.Failed() {
		if !s.connectAny() {
			return
		}
		stay := time.Duration(s.random.IntN(1000)) * time.Millisecond
		for until := time.Now().Add(stay); time.Now().Before(until) && s.client.Err() == nil; {
			s.change()
			s.listen(time.Duration(s.random.IntN(200)) * time.Millisecond)
		}
		select {
		case <-s.returnsTest.calm:
			if s.client.Err() == nil {
				s.finish()
				return
			}
		default:
			s.leave()
		}
		time.Sleep(time.Duration(s.random.IntN(400)) * time.Millisecond)
	}
}

// follow stays connected until the gateway disconnects it, and returns then.
func (s *returner) follow() {
	for !s.t.Failed() && s.connectAny() {
		for s.client.Err() == nil {
			select {
			case <-s.returnsTest.calm:
				s.finish()
				return
			default:
				s.change()
				s.listen(50 * time.Millisecond)
			}
		}
		s.listen(0)
	}
}

// connectAny connects to a gateway that is up.
func (s *returner) connectAny() bool {
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		i := s.random.IntN(2)
		if !s.returnsTest.up[i].Load() {
			i = 1 - i
		}
		if s.connect(i) {
			return true
		}
	}
	s.fail("no gateway could be reached")
	return false
}

func (s *returner) connect(node int) bool {
	s.line.setTarget(s.returnsTest.nodes[node].Addr)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	auth := map[string]any{"token": gatewaytest.Token(s.t, s.name), "recovery": true}
	if s.pid != "" {
		auth["pid"], auth["offset"] = s.pid, s.offset
	}
	polling := s.random.IntN(3) == 0
	client, err := sioclient.Connect(ctx, s.line.url, sioclient.Options{Polling: polling, Auth: auth})
	if err != nil {
		s.note("%v: node %d: %v", stamp(), node, err)
		return false
	}
	s.note("%v: node %d, offset %s, recovered %v", stamp(), node, s.offset, client.PID() == s.pid)
	if s.pid != "" {
		s.returnsTest.returns.Add(1)
	}
	s.client, s.states = client, map[int]bool{}
	if client.PID() == s.pid {
		s.returnsTest.recovered.Add(1)
		s.restored()
		return true
	}
	if s.pid != "" {
		s.t.Logf("%s was not recovered on node %d", s.name, node)
	}
	s.pid, s.offset, s.rooms = client.PID(), "", [returnsRooms]stay{}
	for range 3 {
		s.ask("join_room", s.random.IntN(returnsRooms))
	}
	if polling && s.random.IntN(2) == 0 {
		_ = client.Upgrade(ctx)
	}
	return true
}

// restored checks that the gateway has recovered the client in the rooms that
// it had joined.
func (s *returner) restored() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := s.client.EmitAck(ctx, "nothing"); err != nil {
		return // the connection has ended again
	}
	s.listen(0)
	for i := range s.rooms {
		r := &s.rooms[i]
		if !r.unsure && r.in != s.states[i] {
			s.fail("recovered: in room %d is %v, want %v", i, s.states[i], r.in)
		}
		if r.unsure {
			s.note("room %d settled: %v", i, s.states[i])
			r.unsure, r.in = false, s.states[i]
			if r.first < 0 {
				r.due = int(s.returnsTest.opened[i].Load())
			}
		}
	}
}

// change joins or leaves a room.
func (s *returner) change() {
	i := s.random.IntN(returnsRooms)
	switch {
	case s.random.IntN(3) > 0:
	case s.rooms[i].in:
		s.ask("leave_room", i)
	default:
		s.ask("join_room", i)
	}
}

func (s *returner) ask(event string, i int) {
	r := &s.rooms[i]
	if r.unsure {
		return
	}
	if join := event == "join_room"; join == r.in {
		return
	} else if join {
		*r = stay{in: true, first: -1, due: 1 << 60}
	}
	r.unsure = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := s.client.EmitAck(ctx, event, map[string]any{"roomType": "conversation", "roomId": strconv.Itoa(i)})
	due := int(s.returnsTest.opened[i].Load())
	s.listen(0)
	s.note("%v: %s %d: %s %v", stamp(), event, i, answer, err)
	switch {
	case err != nil:
	case !strings.Contains(string(answer), `"success":true`):
		s.fail("%s: %s", event, answer)
	default:
		r.unsure, r.in, r.due = false, event == "join_room", due
		if r.first > due {
			s.fail("the first event of room %d is %d, want %d at most", i, r.first, due)
		}
	}
}

func stamp() string { return time.Now().Format("05.000") }

// leave ends the connection in one of several ways.
func (s *returner) leave() {
	switch kind := cutKind(s.random.IntN(int(cutKinds) + 2)); kind {
	case cutKinds:
		s.note("%v: close frame", stamp())
		s.client.Hangup()
	case cutKinds + 1:
		s.note("%v: not closed", stamp())
		s.line.cut(silent)
	default:
		s.note("%v: cut %d", stamp(), kind)
		s.line.cut(kind)
		if kind == half {
			s.listen(300 * time.Millisecond)
		}
	}
	s.client.Kill()
	s.listen(0)
}

// listen reads all events that have come, and waits d for more.
func (s *returner) listen(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for {
		e, err := s.client.Next(ctx)
		if err != nil {
			return
		}
		s.take(e)
	}
}

func (s *returner) take(e sioclient.Event) {
	keepOffset(e, &s.offset)
	switch e.Name {
	case "room_state":
		var body struct{ Room string }
		_ = json.Unmarshal(e.Args[0], &body)
		if i, err := strconv.Atoi(strings.TrimPrefix(body.Room, "conversation:")); err == nil {
			s.states[i] = true
		}
		return
	case "new_message":
	default:
		return
	}
	var body struct {
		ConversationID json.Number
		Message        int
	}
	if err := json.Unmarshal(e.Args[0], &body); err != nil || len(e.Args) != 2 {
		s.fail("event %s: %v", e.Args, err)
		return
	}
	room, _ := strconv.Atoi(body.ConversationID.String())
	s.events++
	s.see(room, body.Message)
}

func (s *returner) see(room, n int) {
	r := &s.rooms[room]
	s.note("%v: event %d of room %d", stamp(), n, room)
	switch {
	case !r.in && !r.unsure:
		s.fail("got event %d of room %d, which it has not joined", n, room)
	case r.first < 0 && n > r.due:
		s.fail("the first event of room %d is %d, want %d at most", room, n, r.due)
	case r.first < 0:
		r.first, r.next = n, n+1
	case n < r.next:
		s.fail("event %d of room %d came twice", n, room)
	case n > r.next:
		s.fail("got event %d of room %d, want event %d", n, room, r.next)
		r.next = n + 1
	default:
		r.next++
	}
}

// finish waits for the last events of all rooms.
func (s *returner) finish() {
	<-s.returnsTest.quiet
	for until := time.Now().Add(patience); ; {
		s.listen(20 * time.Millisecond)
		missing := ""
		for i := range s.rooms {
			r := &s.rooms[i]
			if all := int(s.returnsTest.opened[i].Load()); r.in && !r.unsure && (r.first >= 0 || r.due < all) && r.next < all {
				missing += fmt.Sprintf(" %d: next %d of %d;", i, r.next, all)
			}
		}
		if missing == "" {
			return
		}
		if s.client.Err() != nil || time.Now().After(until) {
			s.fail("missing at the end:%s (%v)", missing, s.client.Err())
			return
		}
	}
}
