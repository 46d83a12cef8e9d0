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

// A gallery is rooms in which somebody always is; it notes what they get.
type gallery struct {
	fakeRooms
	got    chan uint64
	passed uint64
}

func (g *gallery) Holds([]byte) bool { return true }

func (g *gallery) Deliver(b rooms.Broadcast) int {
	g.got <- b.Position
	return 1
}

func (g *gallery) Passed(p uint64) { g.passed = p }

// A process that takes over goes on in the log where the other one is: it
// gives the rooms what that one has not, and knows again what comes twice.
func TestReadingGoesOnWhereAnotherProcessIs(t *testing.T) {
	log := eventlog.NewMemory(1 << 20)
	first, firstRooms := galleryReading(t, log)
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

	// The second one begins here, and is held.
	second, secondRooms := galleryReading(t, log)
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
	publish(7, 7) // again: position 10
	publish(11, 11)
	second.Inherit(first.Past())
	if secondRooms.passed != 8 {
		t.Errorf("the rooms are told of position %d, want 8", secondRooms.passed)
	}
	second.Release()
	secondRooms.want(t, 9, 11)
	if _, at := second.Place(); at != 11 {
		t.Errorf("read up to %d, want 11", at)
	}
	first.Release()
}

// What was read from the log's first entry on counts as read by the process that
// takes over, too: clients come back to all of it.
func TestAProcessKnowsHowFarBackTheOneBeforeItHasRead(t *testing.T) {
	for _, began := range []eventlog.Position{0, 3} {
		in := newIntake(&Config{Rooms: &gallery{}, Table: nil}, &counters{})
		in.history = newHistory(&Config{Tail: 1 << 20})
		in.history.begin("log", 7, true)
		in.inherit(Past{Position: 9, Began: began}, 7)
		if got := in.history.tail.Began(); got != began {
			t.Errorf("it counts as read from behind position %d on, want %d", got, began)
		}
	}
}

func galleryReading(t *testing.T, log *eventlog.Memory) (*Consumer, *gallery) {
	t.Helper()
	table, err := routes.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	g := &gallery{got: make(chan uint64, 100)}
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

func (g *gallery) want(t *testing.T, positions ...uint64) {
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
