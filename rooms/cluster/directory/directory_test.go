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
	dawn  = time.Unix(1_800_000_000, 0)
	mine  = wire.Session(7, 1)
	other = wire.Session(8, 1)
)

// others are what is known of sessions.
type others struct {
	dead      map[int64]bool
	suspected []int64
}

func (o *others) Dead(s int64) bool            { return o.dead[s] }
func (o *others) Suspect(s int64, _ time.Time) { o.suspected = append(o.suspected, s) }

// world is a directory that is stepped by hand, and the sets in Redis.
type world struct {
	*Directory
	t      *testing.T
	others *others
	sets   map[string][]string
	speaks map[string]bool
	now    time.Time
	id     uint64
}

func newWorld(t *testing.T) *world {
	o := &others{dead: make(map[int64]bool)}
	w := &world{t: t, others: o, sets: make(map[string][]string), speaks: make(map[string]bool), now: dawn}
	w.Directory = New(Config{
		Names: wire.NewNames("ws:", 1), Node: 7, Linger: time.Second, Others: o,
		Speaks: func(room string) bool { return w.speaks[room] },
	})
	return w
}

// take returns the next batch, "" when there is none.
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

// execute is Redis.
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

// run executes until nothing is left, and returns what there was but checks.
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

// holders puts other nodes into a room in Redis.
func (w *world) enter(sessions ...int64) {
	for _, s := range sessions {
		key := "ws:1:in:" + room
		w.sets[key] = append(w.sets[key], wire.Decimal(s))
	}
}

func (w *world) elsewhere() string { return fmt.Sprint(w.Elsewhere(room)) }

func TestRoomIsEnteredOnceAndTakenOutAfterAWhile(t *testing.T) {
	w := newWorld(t)
	w.Occupied(room, "ann")
	w.want() // no session
	w.Session(mine, nil, w.now)
	w.Occupied(room, "bob")
	w.want("SADD " + room + " " + wire.Decimal(mine))
	if !w.Registered() {
		t.Error("not registered")
	}
	w.Vacated(room, w.now)
	w.Occupied(room, "ann")
	w.now = w.now.Add(900 * time.Millisecond)
	w.Vacated(room, w.now)
	w.now = w.now.Add(900 * time.Millisecond)
	w.Tick(w.now)
	w.want() // vacant since 0.9 s, and somebody was there meanwhile
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
	w.Occupied(room, "ann") // while it is under way
	w.execute(b)
	w.want("SADD " + room + " " + wire.Decimal(mine))
}

func TestRoomStaysWhileSomethingSaidToItWaits(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.Occupied(room, "ann")
	w.want("SADD " + room + " " + wire.Decimal(mine))
	w.Vacated(room, w.now)
	w.speaks[room] = true // that ann has left
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

func TestReadingComesBehindEntering(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.enter(other)
	w.Occupied(room, "ann")
	if _, ok := w.Holders(room); ok {
		t.Error("holders are known although nobody has looked")
	}
	w.want("SADD "+room+" "+wire.Decimal(mine), "SMEMBERS "+room)
	if got, ok := w.Holders(room); !ok || !slices.Equal(got, []int64{other}) || !slices.Equal(w.Seen(), []string{room}) {
		t.Errorf("holders %v, %v", got, ok)
	}
	if !slices.Equal(w.others.suspected, []int64{other}) {
		t.Errorf("suspected %v", w.others.suspected)
	}
}

// TestElsewhere: when a node may take a room for its own alone.
func TestElsewhere(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(w *world)
		want string
	}{
		"never read":            {func(w *world) {}, "true"},
		"read, nobody":          {func(w *world) { w.Holders(room); w.run() }, "false"},
		"read, somebody":        {func(w *world) { w.enter(other); w.Holders(room); w.run() }, "true"},
		"read, somebody dead":   {func(w *world) { w.enter(other); w.Holders(room); w.run(); w.others.dead[other] = true }, "false"},
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

func TestNewSessionRegistersAnew(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.Occupied(room, "ann")
	w.Holders(room)
	w.enter(other)
	w.run()
	w.Session(0, nil, w.now)
	if got, ok := w.Holders(room); !ok || len(got) != 1 {
		t.Errorf("what was known of a room is gone with the session: %v, %v", got, ok)
	}
	w.Session(mine+1, []int64{mine}, w.now)
	if w.Registered() {
		t.Error("registered before anything was sent")
	}
	w.want(fmt.Sprintf("SADD %s %d; SREM %s %d", room, mine+1, room, mine), "SMEMBERS "+room)
	if !w.Registered() {
		t.Error("not registered")
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
			t.Errorf("%s is not in Redis", r)
		}
	}
	if w.Stats.Healed != 2 {
		t.Errorf("%d healed", w.Stats.Healed)
	}
}

// TestARoomThatNobodyAskedForIsReadWhenOthersAreInIt: it was handed over to this
// process, and what the other node said when it came was lost.
func TestARoomThatNobodyAskedForIsReadWhenOthersAreInIt(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.Occupied(room, "ann")
	w.Occupied("user:ann", "ann")
	w.run()
	w.enter(other)
	w.now = w.Next()
	w.want("SMEMBERS " + room)
	if got := w.Sessions(room); !slices.Equal(got, []int64{other}) || !slices.Equal(w.Seen(), []string{room}) {
		t.Errorf("holders %v", got)
	}
}

func TestDeadSessionsAreBuried(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.enter(other)
	w.others.dead[other] = true
	w.Occupied(room, "ann")
	w.Holders(room)
	w.run()
	if got := w.sets["ws:1:in:"+room]; !slices.Equal(got, []string{wire.Decimal(mine)}) {
		t.Errorf("%v hold the room", got)
	}
}

// TestUsersTakeTurns: one user's thousands of rooms are not in front of another
// user's room.
func TestUsersTakeTurns(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	for i := range 10 * writeBatch {
		w.Occupied(fmt.Sprint("conversation:many ", i), "eve")
	}
	w.Occupied(room, "ann")
	if _, text := w.take(); !strings.Contains(text, " "+room+" ") {
		t.Error("the first batch does not have the other user's room")
	}
}

// TestCommandsUnderWayFollowHowLateRedisIs: few at first, up to a limit while it is
// quick, and few again when it is late.
func TestCommandsUnderWayFollowHowLateRedisIs(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	for i := range 100 * mostUnderWay {
		w.Occupied(fmt.Sprint("user:", i), "")
	}
	exchange := func(took time.Duration) (underWay int) {
		var batches []wire.Batch
		for {
			b, text := w.take()
			if text == "" {
				break
			}
			if len(b.Commands) > writeBatch {
				t.Errorf("%d commands in a batch", len(b.Commands))
			}
			underWay += len(b.Commands)
			batches = append(batches, b)
		}
		w.now = w.now.Add(took)
		for _, b := range batches {
			w.Reply(b.ID, make([]wire.Reply, len(b.Commands)), w.now)
		}
		return underWay
	}
	if n := exchange(0); n != pace.Least {
		t.Errorf("%d commands are under way at first, want %d", n, pace.Least)
	}
	for range 30 {
		exchange(0)
	}
	if n := exchange(0); n != mostUnderWay {
		t.Errorf("%d commands are under way while Redis is quick, want %d", n, mostUnderWay)
	}
	for range 20 {
		exchange(2 * pace.Late)
	}
	if n := exchange(0); n > pace.Least+checkMost {
		t.Errorf("%d commands are under way when Redis is late, want %d", n, pace.Least)
	}
}

// TestReadsDoNotWaitUntilAllRoomsAreWritten: a message to a room waits for a read.
func TestReadsDoNotWaitUntilAllRoomsAreWritten(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	w.Occupied(room, "ann")
	w.run()
	for i := range mostUnderWay {
		w.Occupied(fmt.Sprint("conversation:many ", i), "eve")
	}
	w.Holders(room)
	for range mostUnderWay { // Redis replies to nothing meanwhile
		b, text := w.take()
		if b.Kind == wire.Tracked {
			return
		}
		if text == "" {
			break
		}
	}
	t.Error("the room is not read while others wait to be written")
}

func TestLeavingTakesEverythingOut(t *testing.T) {
	w := newWorld(t)
	w.Session(mine, nil, w.now)
	for i := range 1000 {
		w.Occupied(fmt.Sprint("conversation:", i), "ann")
	}
	b, _ := w.take() // under way while it leaves
	w.Leave()
	w.Occupied("conversation:late", "ann")
	w.Vacated("conversation:5", w.now)
	w.execute(b)
	w.run()
	for key, set := range w.sets {
		if len(set) > 0 {
			t.Fatalf("%s has %v", key, set)
		}
	}
	if !w.Left() {
		t.Errorf("%d rooms are left", w.Len())
	}
}
