package orders

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

var startTime = time.Unix(1_800_000_000, 0)

func order(token string) rooms.Order {
	return rooms.Order{TokenID: token, Until: startTime.Add(time.Hour)}
}

// A world is the orders of a node, driven by the test, and a Redis.
type world struct {
	*Orders
	t      *testing.T
	stored []string // orders
	now    time.Time
	id     uint64
	broken bool
}

func newWorld(t *testing.T) *world {
	return &world{Orders: New(wire.NewNames("ws:", 1)), t: t, now: startTime}
}

// run sends all batches that are due, and returns the names of the commands.
func (w *world) run() (sent []string) {
	for {
		w.id++
		b, ok := w.Take(w.id, w.now)
		if !ok {
			return sent
		}
		for _, c := range b.Commands {
			sent = append(sent, c.Name)
		}
		w.Reply(b.ID, w.execute(b), w.now)
	}
}

func (w *world) execute(b wire.Batch) []wire.Reply {
	replies := make([]wire.Reply, len(b.Commands))
	for i, c := range b.Commands {
		orders := c.Keys[0] == "ws:1:orders"
		switch {
		case w.broken:
			replies[i].Err = errors.New("no")
		case c.Name == "ZSCAN":
			for _, form := range w.stored {
				replies[i].List = append(replies[i].List, form, wire.Decimal(startTime.Add(time.Hour).Unix()))
			}
			replies[i].Next = "0"
		case c.Name == "ZCOUNT" && orders:
			replies[i].Int = int64(len(w.stored))
		case c.Name == "ZADD" && orders:
			for a := 1; a < len(c.Args); a += 2 {
				if !slices.Contains(w.stored, c.Args[a]) {
					w.stored = append(w.stored, c.Args[a])
				}
			}
		}
	}
	return replies
}

func TestOrderIsKeptUntilRedisHasIt(t *testing.T) {
	w := newWorld(t)
	w.Keep(order("1"), w.now)
	if w.run() != nil || w.Saved() {
		t.Error("commands were sent without a session, or the order counts as saved")
	}
	w.broken = true
	w.Session(1)
	w.run()
	w.broken, w.now = false, w.Next()
	w.run()
	if len(w.stored) != 1 || !w.Saved() || !w.Loaded() || !w.Current() {
		t.Errorf("Redis has %q, want one order, saved and loaded", w.stored)
	}
	w.Keep(order("1"), w.now) // a second time
	w.Keep(rooms.Order{User: "ann"}, w.now)
	if sent := w.run(); sent != nil {
		t.Errorf("sent %v for a known order and for one without Until, want nothing", sent)
	}
}

func TestStoredOrdersAreExecutedOnce(t *testing.T) {
	w := newWorld(t)
	one, ended := order("1"), order("2")
	ended.Until = startTime.Add(-time.Second)
	w.stored = []string{wire.Order(&one), wire.Order(&ended), "not an order"}
	w.Session(1)
	w.run()
	if got := w.Obey(); len(got) != 1 || got[0].TokenID != "1" || w.Malformed != 1 {
		t.Errorf("orders to obey %v and %d malformed, want order 1 and 1", got, w.Malformed)
	}
	w.Session(2)
	if w.Current() {
		t.Error("Current is true before the new session has read the orders")
	}
	w.run()
	if got := w.Obey(); got != nil {
		t.Errorf("orders to obey a second time: %v, want none", got)
	}
}

func TestLostOrdersAreWrittenAgain(t *testing.T) {
	w := newWorld(t)
	w.Session(1)
	w.Keep(order("1"), w.now)
	w.run()
	w.stored = nil
	w.Session(2)
	w.run()
	if len(w.stored) != 1 {
		t.Errorf("Redis has %q, want the order written again", w.stored)
	}
}

// Another node saves an order late, so this node did not read it at its start.
// It must find the order when it counts the orders in Redis.
func TestOrdersThatAreStoredLateAreFound(t *testing.T) {
	w := newWorld(t)
	w.stored = []string{"not an order"}
	w.Session(1)
	w.run()
	for i := range 3 {
		w.now = w.Next()
		if sent := w.run(); !slices.Equal(sent, []string{"ZCOUNT"}) {
			t.Fatalf("sent %v without a new order in Redis, want ZCOUNT", sent)
		}
		one := order(fmt.Sprint(i))
		w.stored = append(w.stored, wire.Order(&one))
		w.now = w.Next()
		w.run()
		if got := w.Obey(); len(got) != 1 {
			t.Fatalf("orders to obey %v, want the new one", got)
		}
	}
}

func TestRememberedOrdersAreLimited(t *testing.T) {
	o := New(wire.NewNames("ws:", 1))
	for i := range Most {
		o.note(fmt.Sprint(i), int64(i)+10, 0)
	}
	o.note("one more", 10, 0)
	if _, known := o.known["one more"]; known || len(o.known) != Most {
		t.Errorf("%d orders are remembered, want %d without the last one", len(o.known), Most)
	}
	o.note("when some have ended", 20, 11)
	if n := len(o.known); n != Most-1 {
		t.Errorf("%d orders are remembered, want one less than the most: two have expired and one is new", n)
	}
}
