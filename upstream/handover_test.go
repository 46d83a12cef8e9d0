package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/routes"
)

// recordingRooms implements Rooms with members in every room. It records the positions
// it gets.
type recordingRooms struct {
	fakeRooms
	got    chan uint64
	passed uint64
}

func (g *recordingRooms) Holds([]byte) bool { return true }

func (g *recordingRooms) Deliver(b rooms.Broadcast) int {
	g.got <- b.Position
	return 1
}

func (g *recordingRooms) Passed(p uint64) { g.passed = p }

// A process takes over from another one that reads the same log. It must deliver the
// events that the first one has not, and must recognise an event published again as a
// duplicate.
func TestReadingResumesAtTheFormerProcess(t *testing.T) {
	log := eventlog.NewMemory(1 << 20)
	first, firstRooms := recordingReader(t, log)
	publish := func(from, to int) {
		for n := from; n <= to; n++ {
			wait := log.Append(t.Context(), eventlog.Entry{
				Key: "notification.created", MessageID: fmt.Sprint("id", n), Body: []byte(`{"userId":"1","title":"t"}`),
			})
			if _, err := wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	runUntilOpen(t, first)
	publish(1, 5)
	firstRooms.want(t, 1, 2, 3, 4, 5)

	// The second process starts reading here, and is held.
	second, secondRooms := recordingReader(t, log)
	identity, at := first.Place()
	if identity == "" || at != 5 {
		t.Fatalf("the place is %s %d, want 5", identity, at)
	}
	if err := second.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.Resume(identity, at)
	runUntilOpen(t, second)
	publish(6, 8)
	firstRooms.want(t, 6, 7, 8)

	if err := first.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(9, 9)
	publish(7, 7) // published again, at position 10
	publish(11, 11)
	second.Inherit(first.Past())
	if secondRooms.passed != 8 {
		t.Errorf("Passed was called with position %d, want 8", secondRooms.passed)
	}
	second.Release()
	secondRooms.want(t, 9, 11)
	if _, at := second.Place(); at != 11 {
		t.Errorf("read up to %d, want 11", at)
	}
	first.Release()
}

// The first process has read the log from its first entry on. The process that takes
// over must know that, so that clients can recover all of it.
func TestStartOfReadingIsInheritedFromTheFormerProcess(t *testing.T) {
	for _, began := range []eventlog.Position{0, 3} {
		in := newIntake(&Config{Rooms: &recordingRooms{}, Table: nil}, &counters{})
		in.history = newHistory(&Config{Tail: 1 << 20})
		in.history.begin("log", 7, true)
		in.inherit(Past{Position: 9, Began: began}, 7)
		if got := in.history.tail.Began(); got != began {
			t.Errorf("the log counts as read from after position %d, want %d", got, began)
		}
	}
}

// A client recovers right after a hand-over. The entries that the former process has
// delivered are read again without being delivered. The answer must wait until they
// have been read, and fail after a while if they are not.
func TestRecoveryWaitsForEntriesDeliveredByTheFormerProcess(t *testing.T) {
	table, err := routes.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	config := Config{Rooms: &recordingRooms{got: make(chan uint64, 10)}, Table: table, MaxBody: 10_000, Tail: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
	begin := func() (*Consumer, *intake) {
		in := newIntake(&config, &counters{})
		in.history = newHistory(&config)
		in.history.listen()
		in.history.begin("log", 5, true)
		in.inherit(Past{Position: 8, Began: 1}, 5)
		c := &Consumer{history: in.history, intake: in}
		c.Wanted()
		return c, in
	}
	now := time.Now()
	q := rooms.Question{Log: "log", User: "1", Rooms: []rooms.RoomFrom{{Name: "user:1", From: 5}}, Since: 5, MaxEvents: 10, MaxBytes: 1 << 20}
	t.Run("waits until the entries are read", func(t *testing.T) {
		c, in := begin()
		for range 2 {
			c.Missed(q, func(m rooms.Missed) { t.Errorf("answered %v before the log was read", m.Result) })
		}
		for p := eventlog.Position(6); p <= 8; p++ {
			in.history.stamp(now)
			if n := len(in.history.jobs); n != 0 {
				t.Fatalf("%d questions were queued for an answer before entry %d was read, want none", n, p)
			}
			entry := eventlog.Entry{Position: p, Key: "notification.created", Body: []byte(`{"userId":"1","title":"t"}`)}
			if err := in.take(&entry, now); err != nil {
				t.Fatal(err)
			}
		}
		in.history.stamp(now)
		if n := len(in.history.jobs); n != 2 {
			t.Fatalf("%d questions were queued for an answer, want 2", n)
		}
		for range 2 {
			if m := in.history.look(<-in.history.jobs); m.Result != rooms.RecoveryDone || m.Through != 8 || len(m.Events) != 3 {
				t.Errorf("%v with %d events through %d, want 3 through 8", m.Result, len(m.Events), m.Through)
			}
		}
	})
	t.Run("fails after an hour", func(t *testing.T) {
		c, in := begin()
		var got []rooms.RecoveryResult
		for range 2 {
			c.Missed(q, func(m rooms.Missed) { got = append(got, m.Result) })
		}
		in.history.stamp(now)
		in.history.stamp(now.Add(time.Hour))
		if want := []rooms.RecoveryResult{rooms.RecoveryFailed, rooms.RecoveryFailed}; !slices.Equal(got, want) {
			t.Errorf("answered %v, want %v", got, want)
		}
	})
}

func recordingReader(t *testing.T, log *eventlog.Memory) (*Consumer, *recordingRooms) {
	t.Helper()
	table, err := routes.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	g := &recordingRooms{got: make(chan uint64, 100)}
	c, err := New(Config{Log: log, MaxBody: 10_000, Table: table, Rooms: g, Tail: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c, g
}

func runUntilOpen(t *testing.T, c *Consumer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-c.Begun()
}

func (g *recordingRooms) want(t *testing.T, positions ...uint64) {
	t.Helper()
	for _, want := range positions {
		select {
		case got := <-g.got:
			if got != want {
				t.Fatalf("the rooms got event %d, want %d", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("the rooms did not get event %d", want)
		}
	}
}
