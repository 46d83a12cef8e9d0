package lease

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

var dawn = time.Unix(1_800_000_000, 0)

const length = 5 * time.Second

// world is a lease that is stepped by hand, and what Redis says.
type world struct {
	*Lease
	t          *testing.T
	now        time.Time
	id         uint64
	leases     map[int64]string // of other nodes; "" for a session without one
	expired    bool             // this node's lease
	registered bool
}

func newWorld(t *testing.T) *world {
	l := New(Config{Names: wire.NewNames("ws:", 1), Node: 7, Lease: length, Answer: 2 * time.Second})
	return &world{Lease: l, t: t, now: dawn, leases: make(map[int64]string)}
}

// run sends what is to be sent, and returns the first command's names.
func (w *world) run() (all []string) {
	for {
		w.id++
		b, ok := w.Take(w.id, wire.Lease{}, w.now)
		if !ok {
			return all
		}
		all = append(all, b.Commands[0].Name)
		w.Reply(b.ID, w.answer(b), w.registered, w.now)
	}
}

func (w *world) answer(b wire.Batch) []wire.Reply {
	replies := make([]wire.Reply, len(b.Commands))
	for i, c := range b.Commands {
		switch c.Name {
		case "SET":
			replies[i].Nil = w.expired && slices.Contains(c.Args, "XX")
		case "SMEMBERS":
			for s := range w.leases {
				replies[i].List = append(replies[i].List, wire.Decimal(s))
			}
		case "MGET":
			for _, key := range c.Keys {
				for s, text := range w.leases {
					if strings.HasSuffix(key, ":"+wire.Decimal(s)) {
						replies[i].List = append(replies[i].List, text)
					}
				}
			}
		}
	}
	return replies
}

// fail answers what is sent with an error.
func (w *world) fail() {
	w.id++
	b, ok := w.Take(w.id, wire.Lease{}, w.now)
	if !ok {
		w.t.Fatal("nothing is sent")
	}
	replies := make([]wire.Reply, len(b.Commands))
	replies[0].Err = errors.New("READONLY You can't write against a read only replica.")
	w.Reply(b.ID, replies, w.registered, w.now)
}

// begin has the first session begin.
func begin(t *testing.T) *world {
	w := newWorld(t)
	w.Subscribed(true, w.now)
	w.run()
	if s, _ := w.Session(); s != wire.Session(7, 1) || !w.Begun() || w.Begun() {
		t.Fatalf("session %d", s)
	}
	return w
}

func TestNoSessionWithoutSubscription(t *testing.T) {
	w := newWorld(t)
	if got := w.run(); !slices.Equal(got, []string{"SMEMBERS"}) || !w.Reached() || w.Begun() {
		t.Errorf("sent %v, want a look whether Redis answers", got)
	}
	w.now = w.Next()
	if w.fail(); !w.Away() {
		t.Error("not away")
	}
	w.Subscribed(true, w.now)
	if w.run(); !w.Begun() {
		t.Error("no session with a subscription")
	}
}

func TestLeaseIsRenewedInTime(t *testing.T) {
	w := begin(t)
	if got := w.Next().Sub(w.now); got != length/renewalsPerLease {
		t.Errorf("renewed after %v", got)
	}
	w.now = w.Next()
	if got := w.run(); !slices.Equal(got, []string{"SET"}) {
		t.Errorf("sent %v", got)
	}
}

// TestNewSession: after whatever may have had Redis forget.
func TestNewSession(t *testing.T) {
	for name, lose := range map[string]func(*world){
		"the lease has ended":  func(w *world) { w.expired = true; w.now = w.Next(); w.run() },
		"a lost connection":    func(w *world) { w.Lose("lost", w.now) },
		"lost while it renews": func(w *world) { w.now = w.Next(); w.Take(99, wire.Lease{}, w.now); w.Lose("lost", w.now) },
	} {
		w := begin(t)
		lose(w)
		w.expired = false
		if s, _ := w.Session(); s != 0 || w.Ended() == "" {
			t.Errorf("%s: session %d goes on", name, s)
		}
		w.now = w.Next()
		w.run()
		s, former := w.Session()
		if s != wire.Session(7, 2) || !slices.Equal(former, []int64{wire.Session(7, 1)}) || !w.Begun() {
			t.Errorf("%s: session %d after %v", name, s, former)
		}
		w.Reply(99, make([]wire.Reply, 3), false, w.now) // late
		w.registered, w.now = true, w.Next()
		if got := w.run(); !slices.Contains(got, "SREM") {
			t.Errorf("%s: the former session is not removed: %v", name, got)
		}
		if _, former := w.Session(); former != nil {
			t.Errorf("%s: former %v", name, former)
		}
	}
}

// TestErrorsBeyondALeaseWantAnotherConnection, and not sooner.
func TestErrorsBeyondALeaseWantAnotherConnection(t *testing.T) {
	w := begin(t)
	first := w.Next()
	for w.now = first; w.now.Sub(first) < length; w.now = w.Next() {
		w.fail()
		if w.Redial() {
			t.Fatalf("another connection after %v", w.now.Sub(first))
		}
	}
	w.fail()
	if !w.Away() || !w.Redial() || w.Redial() {
		t.Errorf("away %v, and no wish for one other connection", w.Away())
	}
	w.now = w.Next()
	if w.run(); w.Away() || w.Trouble() != nil {
		t.Errorf("away when all is well: %v", w.Trouble())
	}
}

func TestLateAnswerMeansAway(t *testing.T) {
	w := begin(t)
	w.now = w.Next()
	b, _ := w.Take(50, wire.Lease{}, w.now)
	w.now = w.Next()
	if w.Tick(w.now); !w.Away() {
		t.Error("not away")
	}
	w.Reply(50, w.answer(b), false, w.now)
	if s, _ := w.Session(); w.Away() || s == 0 {
		t.Errorf("away %v, session %d", w.Away(), s)
	}
}

func TestPeersAndTheDead(t *testing.T) {
	w := begin(t)
	live, dead, suspect := wire.Session(8, 1), wire.Session(9, 3), wire.Session(10, 1)
	w.leases[live], w.leases[dead] = wire.Lease{Sockets: 5}.String(), ""
	w.Suspect(suspect, w.now)
	w.now = w.Next()
	w.run()
	if got := w.Peers(); len(got) != 1 || got[0] != (Peer{8, 5, 0}) {
		t.Errorf("peers %v", got)
	}
	if !w.Dead(dead) || !w.Dead(suspect) || w.Dead(live) || !w.Gone(9) || w.Gone(8) || w.Gone(11) {
		t.Error("who is dead")
	}
	if w.Silent(w.now) != nil {
		t.Error("removed at once")
	}
	if got := w.Silent(w.now.Add(length)); !slices.Equal(got, []int64{dead}) {
		t.Errorf("%d is to be removed, want %d", got, dead)
	}
	w.leases[wire.Session(9, 4)] = wire.Lease{}.String() // it is back
	w.now = w.Next()
	if w.run(); w.Gone(9) {
		t.Error("a node that is back is gone")
	}
}

// TestAFormerSessionIsLeftToItsNode: for the length of a lease after the next one
// has all its rooms in the directory.
func TestAFormerSessionIsLeftToItsNode(t *testing.T) {
	w := begin(t)
	former, next := wire.Session(9, 3), wire.Session(9, 4)
	w.leases[former], w.leases[next] = "", wire.Lease{}.String()
	for range 10 * renewalsPerLease {
		w.now = w.Next()
		w.run()
	}
	if w.Dead(former) || w.Silent(w.now) != nil {
		t.Error("a session is dead before the next one has its rooms in the directory")
	}
	w.leases[next] = wire.Lease{Registered: true}.String()
	w.now = w.Next()
	if w.run(); !w.Dead(former) || w.Silent(w.now) != nil {
		t.Errorf("dead %v, to be removed %d", w.Dead(former), w.Silent(w.now))
	}
	if got := w.Silent(w.now.Add(length)); !slices.Equal(got, []int64{former}) {
		t.Errorf("%d are to be removed", got)
	}
}

func TestNodesThatDiedTogetherAreRemovedTogether(t *testing.T) {
	w := begin(t)
	first, second := wire.Session(8, 1), wire.Session(9, 1)
	w.leases[first], w.leases[second] = "", wire.Lease{}.String()
	w.now = w.Next()
	w.run()
	w.leases[second] = ""
	w.now = w.Next()
	w.run()
	if got := w.Silent(w.now.Add(length - length/renewalsPerLease)); !slices.Equal(got, []int64{first, second}) {
		t.Errorf("%d are to be removed", got)
	}
}

// TestALateReplyMakesRenewalsNoRarer: the pause is counted from when a renewal was
// sent, and the leases of others are read in the same exchange.
func TestALateReplyMakesRenewalsNoRarer(t *testing.T) {
	w := begin(t)
	w.leases[wire.Session(8, 1)] = wire.Lease{}.String()
	w.now = w.Next()
	w.run() // finds the other node
	for range 10 {
		w.now = w.Next()
		w.id++
		b, ok := w.Take(w.id, wire.Lease{}, w.now)
		if !ok || b.Commands[0].Name != "SET" || b.Commands[len(b.Commands)-1].Name != "MGET" {
			t.Fatalf("sends %v, want a renewal that reads the other's lease", b.Commands)
		}
		sent := w.now
		w.now = w.now.Add(900 * time.Millisecond)
		w.Reply(b.ID, w.answer(b), w.registered, w.now)
		if pause := w.Next().Sub(sent); pause != length/renewalsPerLease {
			t.Fatalf("the next renewal is sent %v after the last one", pause)
		}
	}
}

func TestSweep(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), lives)
	dead := []int64{wire.Session(9, 1), wire.Session(10, 1)}
	var sent []string
	now := dawn
	step := func(replies ...wire.Reply) {
		t.Helper()
		b, ok := s.Take(uint64(len(sent)+1), dead, wire.Session(7, 1), now)
		if !ok {
			t.Fatalf("nothing is sent after %q", sent)
		}
		text := b.Commands[0].Name
		if text == "SREM" {
			text += " " + strings.Join(b.Commands[0].Args, " ")
		}
		sent = append(sent, text)
		s.Reply(b.ID, replies, now)
	}
	step(acquired(dead...)...)
	step(wire.Reply{List: []string{"ws:1:in:a", "ws:1:in:b"}, Next: "17"})
	step(wire.Reply{Int: 1}, wire.Reply{Int: 0}, wire.Reply{Text: "OK"})
	step(wire.Reply{Next: "0"})
	step(wire.Reply{List: []string{"ws:1:in:c"}, Next: "0"}) // another server's
	step(wire.Reply{Int: 2}, wire.Reply{Text: "OK"})
	step(wire.Reply{Nil: true}) // there are no more
	step(wire.Reply{}, wire.Reply{})
	both := "SREM " + wire.Decimal(dead[0]) + " " + wire.Decimal(dead[1])
	if want := []string{"SET", "SCAN", both, "SCAN", "SCAN", both, "SCAN", both}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	if sessions, removed := s.Done(); len(sessions) != 2 || removed != 3 {
		t.Errorf("removed %q %d times", sessions, removed)
	}
	if _, ok := s.Take(99, dead, wire.Session(7, 1), now); ok {
		t.Error("begins again at once")
	}
}

// TestASweepLeavesRedisTimeForOthers: it pauses for longer than Redis took.
func TestASweepLeavesRedisTimeForOthers(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), lives)
	dead, own, now := []int64{wire.Session(9, 1)}, wire.Session(7, 1), dawn
	for id, took := range []time.Duration{time.Millisecond, 100 * time.Millisecond, time.Minute} {
		b, ok := s.Take(uint64(id+1), dead, own, now)
		if !ok {
			t.Fatal("nothing is sent")
		}
		now = now.Add(took)
		replies := acquired(dead...)
		replies[0].Next = "17"
		s.Reply(b.ID, replies, now)
		pause := min(restShare*took, restMost)
		if _, ok := s.Take(99, dead, own, now.Add(pause-1)); ok || !s.Next().Equal(now.Add(pause)) {
			t.Errorf("no pause of %v after %v", pause, took)
		}
		now = now.Add(pause)
	}
}

// TestALargePageIsRemovedInParts: Redis may return more than was asked for.
func TestALargePageIsRemovedInParts(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), lives)
	dead, own := []int64{wire.Session(9, 1)}, wire.Session(7, 1)
	send := func(id uint64) wire.Batch {
		b, ok := s.Take(id, dead, own, dawn)
		if !ok {
			t.Fatal("nothing is sent")
		}
		return b
	}
	s.Reply(send(1).ID, acquired(dead...), dawn)
	s.Reply(send(2).ID, []wire.Reply{{List: make([]string, 2*scanCount+1), Next: "0"}}, dawn)
	for id, want := range []int{scanCount, scanCount, 1} {
		b := send(uint64(id + 3))
		if got := len(b.Commands) - 1; got != want {
			t.Errorf("%d rooms in a batch, want %d", got, want)
		}
		s.Reply(b.ID, make([]wire.Reply, len(b.Commands)), dawn)
	}
	if b := send(9); b.Kind != wire.Scan {
		t.Errorf("sends %v after the last part", b.Commands)
	}
}

// acquired are the replies to a node that gets the lock while listed are in the set
// of nodes.
func acquired(listed ...int64) []wire.Reply {
	var texts []string
	for _, session := range listed {
		texts = append(texts, wire.Decimal(session))
	}
	return []wire.Reply{{Text: "OK"}, {Text: wire.Decimal(wire.Session(7, 1))}, {List: texts}}
}

// TestSessionsThatAnotherNodeHasRemovedAreNotRemovedAgain: a node learns of that
// with its next renewal, and may get the lock before.
func TestSessionsThatAnotherNodeHasRemovedAreNotRemovedAgain(t *testing.T) {
	first, second, own := wire.Session(9, 1), wire.Session(10, 1), wire.Session(7, 1)
	for _, c := range []struct {
		name   string
		listed []int64
		want   string // the removal, or the end
	}{
		{"one of two", []int64{own, second}, "SREM ws:1:in:a " + wire.Decimal(second)},
		{"both", []int64{own}, "DEL ws:1:{fleet}:sweep"},
	} {
		s := NewSweep(wire.NewNames("ws:", 1), lives)
		var b wire.Batch
		for id, replies := range [][]wire.Reply{acquired(c.listed...), {{List: []string{"ws:1:in:a"}, Next: "0"}}, nil} {
			b, _ = s.Take(uint64(id+1), []int64{first, second}, own, dawn)
			if b.Kind != wire.Scan && id > 0 {
				break
			}
			s.Reply(b.ID, replies, dawn)
		}
		if got := strings.Join(slices.Concat([]string{b.Commands[0].Name}, b.Commands[0].Keys, b.Commands[0].Args), " "); got != c.want {
			t.Errorf("%s: sends %q, want %q", c.name, got, c.want)
		}
		if len(c.listed) > 1 {
			continue
		}
		if s.Reply(b.ID, []wire.Reply{{Int: 1}}, dawn); s.done != nil {
			t.Errorf("%s: reports %q as removed", c.name, s.done)
		}
	}
}

// TestASweepBeginsAnewInANewSession: after a failover, the cursor is one of
// another server, whose rooms would be left out.
func TestASweepBeginsAnewInANewSession(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), lives)
	dead, own := []int64{wire.Session(9, 1)}, wire.Session(7, 1)
	for id, replies := range [][]wire.Reply{acquired(dead...), {{Next: "17"}}} {
		b, _ := s.Take(uint64(id+1), dead, own, dawn)
		s.Reply(b.ID, replies, dawn)
	}
	if b, ok := s.Take(3, dead, own+1, dawn); !ok || b.Commands[0].Name != "SET" || b.Commands[0].Args[0] != wire.Decimal(own+1) {
		t.Errorf("sends %v, want the lock of the new session", b.Commands)
	}
}

// TestTheLockIsWrittenAgainWhenPagesHaveNoRooms: Redis may have many other keys.
func TestTheLockIsWrittenAgainWhenPagesHaveNoRooms(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), lives)
	dead, own, now := []int64{wire.Session(9, 1)}, wire.Session(7, 1), dawn
	locked := now
	for id := range 200 {
		b, ok := s.Take(uint64(id+1), dead, own, now)
		if !ok {
			t.Fatal("nothing is sent")
		}
		if b.Commands[0].Name == "SET" {
			locked = now
		}
		now = now.Add(time.Second)
		if now.Sub(locked) > sweepTime/2 {
			t.Fatalf("the lock was not written for %v", now.Sub(locked))
		}
		replies := []wire.Reply{{Next: "17"}}
		if id == 0 {
			replies = acquired(dead...)
		}
		s.Reply(b.ID, replies, now)
		now = now.Add(restMost)
	}
}

func TestSweepIsLeftToWhoHasTheLock(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), lives)
	dead := []int64{wire.Session(9, 1)}
	b, _ := s.Take(1, dead, wire.Session(7, 1), dawn)
	s.Reply(b.ID, []wire.Reply{{Nil: true}, {Text: wire.Decimal(wire.Session(8, 1))}, {}}, dawn)
	if b, ok := s.Take(2, dead, wire.Session(7, 1), dawn); ok {
		t.Errorf("sends %v without the lock", b)
	}
	if b, ok := s.Take(2, dead, wire.Session(7, 1), dawn.Add(elsewherePause)); !ok || b.Commands[0].Name != "SET" {
		t.Errorf("does not ask for the lock again: %v", b)
	}
}

// TestALockOfADeadNodeIsTakenOver: it would last for a minute.
func TestALockOfADeadNodeIsTakenOver(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), noSession)
	step := func(id uint64, args string, replies ...wire.Reply) {
		t.Helper()
		b, ok := s.Take(id, []int64{wire.Session(9, 1)}, wire.Session(7, 1), dawn)
		if !ok || strings.Join(b.Commands[0].Args, " ") != args {
			t.Fatalf("sends %v, want arguments %s", b, args)
		}
		if replies != nil {
			s.Reply(b.ID, replies, dawn)
		}
	}
	own := wire.Decimal(wire.Session(7, 1))
	step(1, own+" NX PX 60000", wire.Reply{Nil: true}, wire.Reply{Text: wire.Decimal(wire.Session(8, 1))}, wire.Reply{})
	step(2, own+" XX PX 60000", acquired(wire.Session(9, 1))...)
	step(3, "0 MATCH ws:1:in:* COUNT 512")
}

func noSession(int64) bool { return false }

func lives(int64) bool { return true }
