package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/routes"
)

// reading is a consumer of a log in memory.
type reading struct {
	t        *testing.T
	log      *eventlog.Memory
	consumer *Consumer
	identity string
}

func newReading(t *testing.T, log *eventlog.Memory, tail int) *reading {
	t.Helper()
	table, err := routes.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &reading{t: t, log: log}
	r.consumer, err = New(Config{
		Log: log, MaxBody: 10_000, Table: table, Rooms: &fakeRooms{}, Tail: tail, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	source, err := log.Open(context.Background(), eventlog.Start{})
	if err != nil {
		t.Fatal(err)
	}
	r.identity = source.Info().Identity
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.consumer.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	for r.consumer.history.identity() != r.identity {
		time.Sleep(time.Millisecond)
	}
	return r
}

func (h *history) identity() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tail.Log()
}

func (r *reading) publish(key, body string) eventlog.Position {
	r.t.Helper()
	p, err := appendTo(r.log, key, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for uint64(r.consumer.Totals().Position) < uint64(p) {
		time.Sleep(time.Millisecond)
	}
	return p
}

func appendTo(log *eventlog.Memory, key, body string) (eventlog.Position, error) {
	return log.Append(context.Background(), eventlog.Entry{Key: key, Body: []byte(body), Published: time.Unix(1e9, 0)})()
}

func (r *reading) say(conversation, n int) eventlog.Position {
	return r.publish("message.sent", fmt.Sprintf(`{"conversationId":%d,"message":"%d"}`, conversation, n))
}

func (r *reading) ask(q rooms.Question) rooms.Missed {
	q.Log = r.identity
	q.User = "ann"
	if q.MaxEvents == 0 {
		q.MaxEvents = 100
	}
	if q.MaxBytes == 0 {
		q.MaxBytes = 1 << 20
	}
	answer := make(chan rooms.Missed, 1)
	r.consumer.Missed(q, func(m rooms.Missed) { answer <- m })
	return <-answer
}

func (r *reading) want(m rooms.Missed, why rooms.RecoveryResult, positions ...uint64) {
	r.t.Helper()
	got := []uint64{}
	for _, e := range m.Events {
		got = append(got, e.Position)
	}
	if m.Result != why || fmt.Sprint(got) != fmt.Sprint(append([]uint64{}, positions...)) {
		r.t.Errorf("%v %v, want %v %v", m.Result, got, why, positions)
	}
}

func in(from uint64, names ...string) (list []rooms.RoomFrom) {
	for _, name := range names {
		list = append(list, rooms.RoomFrom{Name: name, From: from})
	}
	return list
}

// Asked for rooms with the position of each join, the history returns the later events
// of these rooms in order. It refuses more than the limits, and questions about
// another log.
func TestHistoryReturnsTheEventsOfEachRoomSinceItsJoin(t *testing.T) {
	r := newReading(t, eventlog.NewMemory(1<<20), 1<<20)
	r.consumer.Wanted()
	for i := range 6 {
		r.say(1+i%2, i) // positions 1, 3 and 5 are in conversation 1
	}
	r.publish("booking.confirmed", `{"userId":"ann","bookingId":7,"status":"confirmed"}`)
	r.publish("nobody.knows", `{}`)
	m := r.ask(rooms.Question{Rooms: []rooms.RoomFrom{{Name: "conversation:1", From: 1}, {Name: "user:ann", From: 0}, {Name: "conversation:2", From: 4}}, Here: true})
	r.want(m, rooms.RecoveryDone, 3, 5, 6, 7)
	if m.Through != 8 {
		t.Errorf("through %d, want 8", m.Through)
	}
	r.want(r.ask(rooms.Question{Rooms: in(8, "conversation:1")}), rooms.RecoveryDone)
	r.want(r.ask(rooms.Question{Rooms: in(1, "conversation:1", "conversation:2"), MaxEvents: 4}), rooms.RecoveryTooMuch)
	r.want(r.ask(rooms.Question{Rooms: in(1, "conversation:1"), MaxBytes: 30}), rooms.RecoveryTooMuch)
	other := rooms.Question{Log: "other", MaxEvents: 1, MaxBytes: 1}
	answer := make(chan rooms.Missed, 1)
	r.consumer.Missed(other, func(m rooms.Missed) { answer <- m })
	r.want(<-answer, rooms.RecoveryOtherLog)
}

// A client recovers although an order has disconnected its user, or revoked its token,
// since it left. The recovery must be refused. Orders about others do not matter.
func TestRecoveryIsRefusedAfterAnOrder(t *testing.T) {
	r := newReading(t, eventlog.NewMemory(1<<20), 1<<20)
	r.consumer.Wanted()
	before := uint64(r.say(1, 1))
	r.publish("user.disconnect", `{"userId":"bob"}`)
	r.want(r.ask(rooms.Question{Rooms: in(before, "user:ann"), Since: before}), rooms.RecoveryDone)
	order := uint64(r.publish("user.disconnect", `{"userId":"ann"}`))
	r.want(r.ask(rooms.Question{Rooms: in(before, "user:ann"), Since: before}), rooms.RecoveryOrder)
	// The client missed nothing, but its event loop had not executed the order yet.
	r.want(r.ask(rooms.Question{Rooms: in(order, "user:ann"), Since: order, Began: before}), rooms.RecoveryOrder)
	r.say(1, 2)
	r.want(r.ask(rooms.Question{Rooms: in(order, "user:ann"), Since: order, Began: order}), rooms.RecoveryDone)
	r.publish("token.revoked", `{"jti":"t1"}`)
	r.want(r.ask(rooms.Question{Rooms: in(order, "user:ann"), Since: order, Began: order, Token: rooms.TokenMark("t2")}), rooms.RecoveryDone)
	r.want(r.ask(rooms.Question{Rooms: in(order, "user:ann"), Since: order, Began: order, Token: rooms.TokenMark("t1")}), rooms.RecoveryOrder)
}

// Events from before the node started, or from before the first client could recover,
// are read from the log again. Duplicates are left out.
func TestOlderEventsAreReadFromTheLog(t *testing.T) {
	log := eventlog.NewMemory(1 << 20)
	for i := range 5 {
		if _, err := appendTo(log, "message.sent", fmt.Sprintf(`{"conversationId":1,"message":"hello","eventId":"%d"}`, i/2)); err != nil {
			t.Fatal(err)
		}
	}
	r := newReading(t, log, 1<<20)
	r.say(1, 6)
	r.consumer.Wanted()
	r.say(1, 7)
	r.want(r.ask(rooms.Question{Rooms: in(6, "conversation:1"), Since: 6}), rooms.RecoveryDone, 7)
	r.want(r.ask(rooms.Question{Rooms: in(2, "conversation:1"), Since: 2}), rooms.RecoveryDone, 3, 5, 6, 7) // 4 is a duplicate of 3
	r.want(r.ask(rooms.Question{Rooms: in(6, "conversation:1"), Since: 6}), rooms.RecoveryDone, 7)
}

// A client has missed events that the log no longer has. The recovery must be refused,
// and the memory for events stay within its limit.
func TestRecoveryIsRefusedIfTheLogIsTooShort(t *testing.T) {
	r := newReading(t, eventlog.NewMemory(3000), 2000)
	r.consumer.Wanted()
	for i := range 40 {
		r.say(1, i)
	}
	r.want(r.ask(rooms.Question{Rooms: in(1, "conversation:1"), Since: 1}), rooms.RecoveryLogShort)
	r.want(r.ask(rooms.Question{Rooms: in(39, "conversation:1"), Since: 39}), rooms.RecoveryDone, 40)
	if kept := r.consumer.Kept(); kept > 2000 || kept == 0 {
		t.Errorf("%d bytes kept, want 1 to 2000", kept)
	}
}

// No events are kept before a client may recover.
func TestNoEventsAreKeptBeforeAClientMayRecover(t *testing.T) {
	r := newReading(t, eventlog.NewMemory(1<<20), 1<<20)
	r.say(1, 1)
	if kept := r.consumer.Kept(); kept != 0 {
		t.Errorf("%d bytes kept, want 0", kept)
	}
}

// busyLog calls opened each time it is opened at a position.
type busyLog struct {
	eventlog.Log
	opened func()
}

func (l *busyLog) Open(ctx context.Context, at eventlog.Start) (eventlog.Source, error) {
	source, err := l.Log.Open(ctx, at)
	if err == nil && at.From == eventlog.FromPosition {
		l.opened()
	}
	return source, err
}

// An older part of the log is read for the first recovery. Meanwhile the node begins
// to keep new events, and one arrives. The answer must still be complete.
func TestOlderEventsAreReadWhileNewEventsArrive(t *testing.T) {
	r := newReading(t, eventlog.NewMemory(1<<20), 1<<20)
	first := r.say(1, 1)
	last := r.say(1, 2)
	passed := 0
	r.consumer.history.log = &busyLog{r.log, func() {
		if passed++; passed == 1 { // an entry that was being processed when the first client asked
			r.say(1, 3)
		}
	}}
	m := r.ask(rooms.Question{Rooms: in(uint64(first), "conversation:1")})
	r.want(m, rooms.RecoveryDone, uint64(last))
	if passed != 2 {
		t.Errorf("read %d times, want 2", passed)
	}
}

// Older entries are read across positions that the log uses itself, as RabbitMQ does
// at the begin of a segment. More missing positions in a row than the log allows are a
// failure.
func TestOlderEventsAreReadAcrossPositionsUsedByTheLog(t *testing.T) {
	for name, x := range map[string]struct {
		holes     int
		positions []eventlog.Position
		want      bool
	}{
		"none":         {0, []eventlog.Position{2, 3, 4, 5, 6}, true},
		"none allowed": {0, []eventlog.Position{2, 4}, false},
		"one":          {1, []eventlog.Position{2, 4, 6}, true},
		"the last":     {1, []eventlog.Position{2, 3, 4, 5, 7}, true},
		"two":          {1, []eventlog.Position{2, 5}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReading(t, eventlog.NewMemory(1<<20), 1<<20)
			h := newHistory(&r.consumer.config)
			h.begin("log", 6, true)
			a := &ask{q: rooms.Question{Log: "log", Rooms: in(1, "conversation:1"), Since: 1, MaxEvents: 9, MaxBytes: 9999}, through: 6}
			f, _ := h.filler(a)
			if !f.opened(eventlog.Info{Identity: "log", Holes: x.holes}) {
				t.Fatal("another log")
			}
			good, wanted := true, 0
			for _, p := range x.positions {
				e := eventlog.Entry{Position: p, Key: "message.sent", Body: []byte(`{"conversationId":1,"message":"hello"}`)}
				if good = good && f.step(&e); p <= 6 {
					wanted++
				}
			}
			if good != x.want {
				t.Fatalf("%d holes allowed, positions %v: accepted %v", x.holes, x.positions, good)
			}
			if !good {
				return
			}
			if why, _ := f.end(); !f.done() || why != rooms.RecoveryDone {
				t.Fatalf("done %v, result %v; want true and RecoveryDone", f.done(), why)
			}
			if m := h.look(a); m.Result != rooms.RecoveryDone || len(m.Events) != wanted {
				t.Errorf("%v, %d events, want %d", m.Result, len(m.Events), wanted)
			}
		})
	}
}
