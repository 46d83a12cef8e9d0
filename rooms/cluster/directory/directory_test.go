package directory

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/pace"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const room = "conversation:1"

var (
	startTime = time.Unix(1_800_000_000, 0)
	mine      = wire.Session(7, 1)
	other     = wire.Session(8, 1)
)

// fakeSessions knows which sessions are dead, and records those that were
// suspected.
type fakeSessions struct {
	dead      map[int64]bool
	suspected []int64
}

func (o *fakeSessions) Dead(s int64) bool            { return o.dead[s] }
func (o *fakeSessions) Suspect(s int64, _ time.Time) { o.suspected = append(o.suspected, s) }

// A world is a directory driven by the test, and the sets in Redis.
type world struct {
	*Directory
	t            *testing.T
	fakeSessions *fakeSessions
	sets         map[string][]string
	speaks       map[string]bool
	now          time.Time
	id           uint64
}

func newWorld(t *testing.T) *world {
	o := &fakeSessions{dead: make(map[int64]bool)}
	w := &world{t: t, fakeSessions: o, sets: make(map[string][]string), speaks: make(map[string]bool), now: startTime}
	w.Directory = New(Config{
		Names: wire.NewNames("ws:", 1), Node: 7, Linger: time.Second, Others: o,
		Speaks: func(room string) bool { return w.speaks[room] },
	})
	return w
}

// take returns the next batch and its commands as text, "" if none is due.
func (w *world) take() (b wire.Batch, text string) {
	w.id++
	b, ok := w.Take(w.id, w.now)
	if !ok {
		return b, ""
	}
	var all []string
	for _, c := range b.Commands {
		all = append(all, strings.ReplaceAll(c.String(), "ws:1:in:", ""))
	}
	return b, strings.Join(all, "; ")
}

// execute runs a batch on the sets, as Redis does, and replies.
func (w *world) execute(b wire.Batch) {
	replies := make([]wire.Reply, len(b.Commands))
	for i, c := range b.Commands {
		set := w.sets[c.Keys[0]]
		switch c.Name {
		case "SADD":
			if !slices.Contains(set, c.Args[0]) {
				set = append(set, c.Args...)
			}
		case "SREM":
			set = slices.DeleteFunc(set, func(s string) bool { return slices.Contains(c.Args, s) })
		case "SMEMBERS":
			replies[i].List = slices.Clone(set)
		}
		w.sets[c.Keys[0]] = set
	}
	w.Reply(b.ID, replies, w.now)
}

func (w *world) fail(b wire.Batch) {
	replies := make([]wire.Reply, len(b.Commands))
	replies[len(replies)-1].Err = fmt.Errorf("no")
	w.Reply(b.ID, replies, w.now)
}

// run executes batches until none is due, and returns their commands without
// those of checks.
func (w *world) run() (all []string) {
	for {
		b, text := w.take()
		if text == "" {
			return all
		}
		if b.Kind != wire.Plain || !strings.HasPrefix(text, "SMEMBERS") {
			all = append(all, text)
		}
		w.execute(b)
	}
}

func (w *world) want(want ...string) {
	w.t.Helper()
	if got := w.run(); !slices.Equal(got, want) {
		w.t.Errorf("sent %q, want %q", got, want)
	}
}

// enter adds sessions to the room's set in Redis.
func (w *world) enter(sessions ...int64) {
	for _, s := range sessions {
		key := "ws:1:in:" + room
		w.sets[key] = append(w.sets[key], wire.Decimal(s))
	}
}

func (w *world) elsewhere() string { return fmt.Sprint(w.Elsewhere(room)) }

func TestRoomIsAddedOnceAndRemovedAfterTheLinger(t *testing.T) {
	w := newWorld(t)
	w.Occupied(room, "ann")
	w.want() // no session
	w.Session(mine, nil, w.now)
	w.Occupied(room, "bob")
	w.want("SADD " + room + " " + wire.Decimal(mine))
	if !w.Registered() {
		t.Error("Registered is false after all rooms were written")
	}
	w.Vacated(room, w.now)
	w.Occupied(room, "ann")
	w.now = w.now.Add(900 * time.Millisecond)
	w.Vacated(room, w.now)
	w.now = w.now.Add(900 * time.Millisecond)
	w.Tick(w.now)
	w.want() // vacant for 0.9 s since the last member
	w.now = w.now.Add(100 * time.Millisecond)
	w.Tick(w.now)
	b, text := w.take()
	for strings.HasPrefix(text, "SMEMBERS") {
		w.execute(b)
		b, text = w.take()
	}
	if want := "SREM " + room + " " + wire.Decimal(mine); text != want {
		t.Fatalf("sent %q, want %q", text, want)
	}
	w.Occupied(room, "ann") // before the reply to SREM
	w.execute(b)
	w.want("SADD " + room + " " + wire.Decimal(mine))
}

func TestRoomStaysWhileAMessageToItWaits(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.Occupied(room, "ann")
	w.want("SADD " + room + " " + wire.Decimal(mine))
	w.Vacated(room, w.now)
	w.speaks[room] = true // user_left of ann waits
	for range 3 {
		w.now = w.now.Add(time.Second)
		w.Tick(w.now)
		w.want()
	}
	w.speaks[room] = false
	w.now = w.now.Add(time.Second)
	w.Tick(w.now)
	w.want("SREM " + room + " " + wire.Decimal(mine))
}

func TestRoomIsReadAfterItIsWritten(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.enter(other)
	w.Occupied(room, "ann")
	if _, ok := w.Holders(room); ok {
		t.Error("the holders of a room are known before it was read")
	}
	w.want("SADD "+room+" "+wire.Decimal(mine), "SMEMBERS "+room)
	if got, ok := w.Holders(room); !ok || !slices.Equal(got, []int64{other}) || !slices.Equal(w.Seen(), []string{room}) {
		t.Errorf("holders %v (known: %v), want the other node", got, ok)
	}
	if !slices.Equal(w.fakeSessions.suspected, []int64{other}) {
		t.Errorf("suspected sessions %v, want the other node's", w.fakeSessions.suspected)
	}
}

// Elsewhere must be true unless the node has read that no live session of
// another node holds the room, and nothing has changed since.
func TestElsewhere(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(w *world)
		want string
	}{
		"never read":            {func(w *world) {}, "true"},
		"read, no holder":       {func(w *world) { w.Holders(room); w.run() }, "false"},
		"read, a live holder":   {func(w *world) { w.enter(other); w.Holders(room); w.run() }, "true"},
		"read, a dead holder":   {func(w *world) { w.enter(other); w.Holders(room); w.run(); w.fakeSessions.dead[other] = true }, "false"},
		"changed since":         {func(w *world) { w.Holders(room); w.run(); w.Changed(room) }, "true"},
		"changed, read again":   {func(w *world) { w.Holders(room); w.run(); w.Changed(room); w.run() }, "false"},
		"changed while reading": {func(w *world) { w.Holders(room); b, _ := w.take(); w.Changed(room); w.execute(b) }, "true"},
		"a new session":         {func(w *world) { w.Holders(room); w.run(); w.Session(mine+1, []int64{mine}, w.now) }, "true"},
		"reading failed":        {func(w *world) { w.Holders(room); b, _ := w.take(); w.fail(b) }, "true"},
	} {
		w := newWorld(t)
		w.Session(mine, nil, w.now)
		w.Occupied(room, "ann")
		w.run()
		x.do(w)
		if got := w.elsewhere(); got != x.want {
			t.Errorf("%s: elsewhere %s, want %s", name, got, x.want)
		}
	}
}

func TestNewSessionRegistersAllRooms(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.Occupied(room, "ann")
	w.Holders(room)
	w.enter(other)
	w.run()
	w.Session(0, nil, w.now)
	if got, ok := w.Holders(room); !ok || len(got) != 1 {
		t.Errorf("holders after the end of the session: %v (known: %v), want them kept", got, ok)
	}
	w.Session(mine+1, []int64{mine}, w.now)
	if w.Registered() {
		t.Error("Registered is true before the rooms were written")
	}
	w.want(fmt.Sprintf("SADD %s %d; SREM %s %d", room, mine+1, room, mine), "SMEMBERS "+room)
	if !w.Registered() {
		t.Error("Registered is false after all rooms were written")
	}
}

func TestFailedWriteIsRepeatedAfterAPause(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.Occupied(room, "ann")
	b, text := w.take()
	w.fail(b)
	w.want()
	w.now = w.Next()
	w.want(text)
}

func TestLostKeysAreWrittenAgain(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.Occupied(room, "ann")
	w.Occupied("user:ann", "ann")
	w.run()
	clear(w.sets)
	w.now = w.Next()
	w.run()
	for _, r := range []string{room, "user:ann"} {
		if len(w.sets["ws:1:in:"+r]) != 1 {
			t.Errorf("%s is not in Redis, want it written again", r)
		}
	}
	if w.Stats.Healed != 2 {
		t.Errorf("%d rooms healed, want 2", w.Stats.Healed)
	}
}

// A room was handed over to this process, and the message of another node that
// joined it was lost. The periodic check must find that the node holds the
// room, and its members be asked.
func TestCheckFindsOtherHoldersOfAnUnreadRoom(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.Occupied(room, "ann")
	w.Occupied("user:ann", "ann")
	w.run()
	w.enter(other)
	w.now = w.Next()
	w.want("SMEMBERS " + room)
	if got := w.Sessions(room); !slices.Equal(got, []int64{other}) || !slices.Equal(w.Seen(), []string{room}) {
		t.Errorf("holders %v, want the other node, and the room seen", got)
	}
}

func TestDeadSessionsAreRemovedFromRooms(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.enter(other)
	w.fakeSessions.dead[other] = true
	w.Occupied(room, "ann")
	w.Holders(room)
	w.run()
	if got := w.sets["ws:1:in:"+room]; !slices.Equal(got, []string{wire.Decimal(mine)}) {
		t.Errorf("the sessions %v hold the room in Redis, want only this node's", got)
	}
}

// One user joins thousands of rooms before another user joins one. The first
// batch must have a room of each.
func TestUsersTakeTurns(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	for i := range 10 * writeBatch {
		w.Occupied(fmt.Sprint("conversation:many ", i), "eve")
	}
	w.Occupied(room, "ann")
	if _, text := w.take(); !strings.Contains(text, " "+room+" ") {
		t.Error("the first batch does not contain the second user's room")
	}
}

// The number of commands in flight must be small at first, grow to its limit
// while Redis is fast, and be small again when Redis is slow.
func TestCommandsInFlightDependOnReplyTimes(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	for i := range 100 * mostUnderWay {
		w.Occupied(fmt.Sprint("user:", i), "")
	}
	exchange := func(took time.Duration) (inFlight int) {
		var batches []wire.Batch
		for {
			b, text := w.take()
			if text == "" {
				break
			}
			if len(b.Commands) > writeBatch {
				t.Errorf("%d commands in a batch, want %d at most", len(b.Commands), writeBatch)
			}
			inFlight += len(b.Commands)
			batches = append(batches, b)
		}
		w.now = w.now.Add(took)
		for _, b := range batches {
			w.Reply(b.ID, make([]wire.Reply, len(b.Commands)), w.now)
		}
		return inFlight
	}
	if n := exchange(0); n != pace.Least {
		t.Errorf("%d commands are in flight at first, want %d", n, pace.Least)
	}
	for range 30 {
		exchange(0)
	}
	if n := exchange(0); n != mostUnderWay {
		t.Errorf("%d commands are in flight while Redis is fast, want %d", n, mostUnderWay)
	}
	for range 20 {
		exchange(2 * pace.Late)
	}
	if n := exchange(0); n > pace.Least+checkMost {
		t.Errorf("%d commands are in flight when Redis is slow, want %d and those of checks at most", n, pace.Least)
	}
}

// Many rooms wait to be written. A room must still be read without waiting for
// them, because a message to the room waits for that.
func TestReadsDoNotWaitForAllWrites(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.Occupied(room, "ann")
	w.run()
	for i := range mostUnderWay {
		w.Occupied(fmt.Sprint("conversation:many ", i), "eve")
	}
	w.Holders(room)
	for range mostUnderWay { // without a reply in between
		b, text := w.take()
		if b.Kind == wire.Tracked {
			return
		}
		if text == "" {
			break
		}
	}
	t.Error("the room was not read while others wait to be written")
}

func TestLeavingRemovesAllRooms(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	for i := range 1000 {
		w.Occupied(fmt.Sprint("conversation:", i), "ann")
	}
	b, _ := w.take() // in flight when the node leaves
	w.Leave()
	w.Occupied("conversation:late", "ann")
	w.Vacated("conversation:5", w.now)
	w.execute(b)
	w.run()
	for key, set := range w.sets {
		if len(set) > 0 {
			t.Fatalf("the set %s has %v, want it empty", key, set)
		}
	}
	if !w.Left() {
		t.Errorf("%d rooms are left, want none", w.Len())
	}
}
