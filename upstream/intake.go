package upstream

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hometrip/gateway/internal/loglimit"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/routes"
)

// Rooms is where events are delivered: the rooms of this node. Its methods are
// called by one goroutine.
type Rooms interface {
	// Holds reports whether a room has members on this node.
	Holds(room []byte) bool

	// Wait returns when the rooms can take the next event. The error is ctx's.
	Wait(ctx context.Context) error

	// Deliver delivers a message to all members of its room and returns how
	// many event loops have members. It never waits.
	Deliver(b rooms.Broadcast) (shards int)

	// Obey carries out an order of the back office.
	Obey(o rooms.Order) error

	// Passed says that everything up to a position was delivered, Anew that
	// events come from another log from now on, behind a position, and Gap that
	// events were lost.
	Passed(position uint64)
	Anew(identity string, behind uint64)
	Gap()
}

// duplicateWindow is how many positions of the log are remembered to recognize
// events that were published twice: about 4 MB, a minute at 1,000 events a
// second.
const duplicateWindow = 1 << 16

// An intake turns the entries of the log into messages for the rooms of this
// node. Of an entry for rooms that the node does not hold, only the names of
// the rooms are read. Owned by the goroutine that follows the log.
type intake struct {
	table      *routes.Table
	encoder    *routes.Encoder
	rooms      Rooms
	keep       func(rooms.Order) // nil: orders are not stored
	tell       func(rooms.Order, eventlog.Position)
	duplicates *eventlog.Duplicates
	repeated   repeats
	count      *counters
	log        *slog.Logger
	history    *history          // nil: clients cannot recover sessions
	given      eventlog.Position // up to there a process before this one has given everything to the rooms

	timestampLines loglimit.Limiter // about wrong timestamps

	held []int // scratch: the event's rooms that this node holds
}

func newIntake(c *Config, count *counters) *intake {
	return &intake{
		table: c.Table, encoder: routes.NewEncoder(c.Table, c.MaxBody), rooms: c.Rooms, keep: c.Keep, tell: c.Tell,
		duplicates: eventlog.NewDuplicates(duplicateWindow), count: count, log: c.Logger,
	}
}

// reset records that entries are of another log from now on.
func (in *intake) reset() {
	in.duplicates.Reset()
	in.given = 0
}

// take delivers an entry to its rooms. The error is a *routes.Poison: the entry
// can never be delivered.
func (in *intake) take(e *eventlog.Entry, now time.Time) error {
	in.count.received.Add(1)
	if in.history != nil {
		in.history.next()
	}
	err := in.deliver(e, now)
	if in.history != nil {
		in.history.pass(e.Position)
	}
	in.rooms.Passed(uint64(max(e.Position, in.given)))
	in.count.position.Store(uint64(e.Position))
	return err
}

func (in *intake) deliver(e *eventlog.Entry, now time.Time) error {
	r := in.table.Find(e.Key)
	switch {
	case e.Key == "":
		in.count.marks.Add(1)
		return nil
	case r == nil:
		return routes.NoRoute(e.Key)
	}
	published := in.published(e, now)
	in.count.lag.Store(int64(max(now.Sub(published), 0)))
	object, err := in.encoder.Read(r, e.Body)
	if err != nil {
		return err
	}
	if in.repeats(e) {
		in.count.duplicates.Add(1)
		in.repeated.add(e.Position)
		return nil
	}
	if r.IsOrder() {
		return in.order(e, published)
	}
	if err := in.encoder.Address(r); err != nil {
		return err
	}
	if in.history != nil && in.history.keeping && !r.Volatile {
		in.history.keys = in.history.roomKeys(in.encoder, in.history.keys[:0])
		in.history.add(e, published, in.history.keys)
	}
	if e.Position <= in.given || !in.holdsAny() {
		in.count.elsewhere.Add(1)
		return nil
	}
	in.broadcast(rooms.Broadcast{
		Message: in.encoder.Message(r, e.Key, object, published), Position: uint64(e.Position), Shared: len(in.held) > 1,
	})
	in.logEvent(e)
	in.count.delivered.Add(1)
	return nil
}

// repeats reports whether a publisher has published the event before.
func (in *intake) repeats(e *eventlog.Entry) bool {
	return in.duplicates.Repeats(e, messageID(e, in.encoder))
}

// messageID returns the id that a publisher has given the event that an encoder
// has read; nil if there is none.
func messageID(e *eventlog.Entry, encoder *routes.Encoder) []byte {
	if e.MessageID != "" {
		return []byte(e.MessageID)
	}
	return encoder.EventID()
}

func (in *intake) order(e *eventlog.Entry, published time.Time) error {
	o, err := in.encoder.Order(e.Key, published)
	if err != nil {
		return err
	}
	if in.history != nil {
		in.history.keys = in.history.orderKeys(o, in.history.keys[:0])
		in.history.add(e, published, in.history.keys)
	}
	if e.Position <= in.given {
		return nil
	}
	if err := in.rooms.Obey(*o); err != nil {
		return &routes.Poison{Reason: routes.ReasonNoRoom, Detail: err.Error()}
	}
	if in.keep != nil && !o.Until.IsZero() {
		in.keep(*o)
	}
	if in.tell != nil {
		in.tell(*o, e.Position)
	}
	in.logEvent(e)
	in.count.delivered.Add(1)
	return nil
}

// holdsAny finds the event's rooms that this node holds.
func (in *intake) holdsAny() bool {
	in.held = in.held[:0]
	for i := range in.encoder.Rooms() {
		if in.rooms.Holds(in.encoder.Room(i)) {
			in.held = append(in.held, i)
		}
	}
	return len(in.held) > 0
}

func (in *intake) broadcast(b rooms.Broadcast) {
	for _, i := range in.held {
		b.Room = string(in.encoder.Room(i))
		in.rooms.Deliver(b)
	}
	in.count.rooms.Add(int64(len(in.held)))
}

// logEvent writes the one line that an event has in the gateway's log, at
// debug.
func (in *intake) logEvent(e *eventlog.Entry) {
	if !in.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	names := make([]string, 0, len(in.held))
	for _, i := range in.held {
		names = append(names, string(in.encoder.Room(i)))
	}
	logEvent(in.log, e, names)
}

// asPoison returns the *routes.Poison that is the error of take.
func asPoison(err error) *routes.Poison {
	bad, _ := errors.AsType[*routes.Poison](err)
	return bad
}
