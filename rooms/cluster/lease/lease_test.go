package lease

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

var startTime = time.Unix(1_800_000_000, 0)

const length = 5 * time.Second

// A world is a lease driven by the test, and the leases of other nodes in Redis.
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
	return &world{Lease: l, t: t, now: startTime, leases: make(map[int64]string)}
}

// run sends all batches that are due, and returns the name of each one's first
// command.
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

// fail replies to the next batch with an error.
func (w *world) fail() {
	w.id++
	b, ok := w.Take(w.id, wire.Lease{}, w.now)
	if !ok {
		w.t.Fatal("no batch is due")
	}
	replies := make([]wire.Reply, len(b.Commands))
	replies[0].Err = errors.New("READONLY You can't write against a read only replica.")
	w.Reply(b.ID, replies, w.registered, w.now)
}

// begin returns a world whose first session has begun.
func begin(t *testing.T) *world {
	w := newWorld(t)
	w.Subscribed(true, w.now)
	w.run()
	if s, _ := w.Session(); s != wire.Session(7, 1) || !w.Begun() || w.Begun() {
		t.Fatalf("session %d, want the first one of node 7, begun once", s)
	}
	return w
}

func TestNoSessionWithoutSubscription(t *testing.T) {
	w := newWorld(t)
	if got := w.run(); !slices.Equal(got, []string{"SMEMBERS"}) || !w.Reached() || w.Begun() {
		t.Errorf("sent %v, want only a read that shows whether Redis answers", got)
	}
	w.now = w.Next()
	if w.fail(); !w.Away() {
		t.Error("Away is false after an error")
	}
	w.Subscribed(true, w.now)
	if w.run(); !w.Begun() {
		t.Error("no session has begun with a subscription")
	}
}

func TestLeaseIsRenewedInTime(t *testing.T) {
	w := begin(t)
	if got := w.Next().Sub(w.now); got != length/renewalsPerLease {
		t.Errorf("the next renewal is after %v, want %v", got, length/renewalsPerLease)
	}
	w.now = w.Next()
	if got := w.run(); !slices.Equal(got, []string{"SET"}) {
		t.Errorf("sent %v, want SET", got)
	}
}

// When the lease has ended or the connection was lost, the session ends. The
// next one begins, and the former one is removed from Redis once the rooms are
// registered.
func TestNewSessionAfterALoss(t *testing.T) {
	for name, lose := range map[string]func(*world){
		"the lease has ended":  func(w *world) { w.expired = true; w.now = w.Next(); w.run() },
		"a lost connection":    func(w *world) { w.Lose("lost", w.now) },
		"lost while it renews": func(w *world) { w.now = w.Next(); w.Take(99, wire.Lease{}, w.now); w.Lose("lost", w.now) },
	} {
		w := begin(t)
		lose(w)
		w.expired = false
		if s, _ := w.Session(); s != 0 || w.Ended() == "" {
			t.Errorf("%s: session %d has not ended", name, s)
		}
		w.now = w.Next()
		w.run()
		s, former := w.Session()
		if s != wire.Session(7, 2) || !slices.Equal(former, []int64{wire.Session(7, 1)}) || !w.Begun() {
			t.Errorf("%s: session %d with the former sessions %v, want the second with the first", name, s, former)
		}
		w.Reply(99, make([]wire.Reply, 3), false, w.now) // a late reply must have no effect
		w.registered, w.now = true, w.Next()
		if got := w.run(); !slices.Contains(got, "SREM") {
			t.Errorf("%s: sent %v, want SREM of the former session", name, got)
		}
		if _, former := w.Session(); former != nil {
			t.Errorf("%s: former sessions %v after the removal, want none", name, former)
		}
	}
}

// If all commands fail for the length of a lease, the lease must ask for
// another connection, once. It must not do so earlier.
func TestConnectionIsReplacedAfterALeaseOfErrors(t *testing.T) {
	w := begin(t)
	first := w.Next()
	for w.now = first; w.now.Sub(first) < length; w.now = w.Next() {
		w.fail()
		if w.Redial() {
			t.Fatalf("another connection is wanted after %v, want it after a lease", w.now.Sub(first))
		}
	}
	w.fail()
	if !w.Away() || !w.Redial() || w.Redial() {
		t.Errorf("after a lease of errors: away %v, want true and another connection wanted once", w.Away())
	}
	w.now = w.Next()
	if w.run(); w.Away() || w.Trouble() != nil {
		t.Errorf("away after a successful reply, trouble %v", w.Trouble())
	}
}

func TestLateReplyCountsAsAway(t *testing.T) {
	w := begin(t)
	w.now = w.Next()
	b, _ := w.Take(50, wire.Lease{}, w.now)
	w.now = w.Next()
	if w.Tick(w.now); !w.Away() {
		t.Error("Away is false although no reply has come in time")
	}
	w.Reply(50, w.answer(b), false, w.now)
	if s, _ := w.Session(); w.Away() || s == 0 {
		t.Errorf("after a late reply: away %v, session %d; want the session to go on", w.Away(), s)
	}
}

func TestPeersAndDeadSessions(t *testing.T) {
	w := begin(t)
	live, dead, suspect := wire.Session(8, 1), wire.Session(9, 3), wire.Session(10, 1)
	w.leases[live], w.leases[dead] = wire.Lease{Sockets: 5}.String(), ""
	w.Suspect(suspect, w.now)
	w.now = w.Next()
	w.run()
	if got := w.Peers(); len(got) != 1 || got[0] != (Peer{8, 5, 0}) {
		t.Errorf("peers %v, want node 8 with 5 sockets", got)
	}
	if !w.Dead(dead) || !w.Dead(suspect) || w.Dead(live) || !w.Gone(9) || w.Gone(8) || w.Gone(11) {
		t.Error("Dead or Gone is wrong for the live, the dead or the suspected session")
	}
	if w.Silent(w.now) != nil {
		t.Error("a dead session is to be removed at once, want after the length of a lease")
	}
	if got := w.Silent(w.now.Add(length)); !slices.Equal(got, []int64{dead}) {
		t.Errorf("%d is to be removed, want %d", got, dead)
	}
	w.leases[wire.Session(9, 4)] = wire.Lease{}.String() // node 9 is back
	w.now = w.Next()
	if w.run(); w.Gone(9) {
		t.Error("Gone is true for a node that is back")
	}
}

// A node has begun a new session. Its former session must not be removed by
// others until the length of a lease after the new one has registered all
// rooms.
func TestFormerSessionIsNotRemovedBeforeTheNextHasRegistered(t *testing.T) {
	w := begin(t)
	former, next := wire.Session(9, 3), wire.Session(9, 4)
	w.leases[former], w.leases[next] = "", wire.Lease{}.String()
	for range 10 * renewalsPerLease {
		w.now = w.Next()
		w.run()
	}
	if w.Dead(former) || w.Silent(w.now) != nil {
		t.Error("the former session is dead before the next one has registered its rooms")
	}
	w.leases[next] = wire.Lease{Registered: true}.String()
	w.now = w.Next()
	if w.run(); !w.Dead(former) || w.Silent(w.now) != nil {
		t.Errorf("dead %v, to be removed %d; want dead and not to be removed yet", w.Dead(former), w.Silent(w.now))
	}
	if got := w.Silent(w.now.Add(length)); !slices.Equal(got, []int64{former}) {
		t.Errorf("%d are to be removed, want the former session", got)
	}
}

func TestSessionsThatDiedTogetherAreRemovedTogether(t *testing.T) {
	w := begin(t)
	first, second := wire.Session(8, 1), wire.Session(9, 1)
	w.leases[first], w.leases[second] = "", wire.Lease{}.String()
	w.now = w.Next()
	w.run()
	w.leases[second] = ""
	w.now = w.Next()
	w.run()
	if got := w.Silent(w.now.Add(length - length/renewalsPerLease)); !slices.Equal(got, []int64{first, second}) {
		t.Errorf("%d are to be removed, want both sessions", got)
	}
}

// Replies take 900 ms. The time of the next renewal must be counted from when
// the last one was sent, and each renewal must also read the leases of other
// nodes.
func TestLateRepliesDoNotDelayRenewals(t *testing.T) {
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
			t.Fatalf("the next renewal is %v after the last one, want length/renewalsPerLease", pause)
		}
	}
}

func TestSweep(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), alwaysLives)
	dead := []int64{wire.Session(9, 1), wire.Session(10, 1)}
	var sent []string
	now := startTime
	step := func(replies ...wire.Reply) {
		t.Helper()
		b, ok := s.Take(uint64(len(sent)+1), dead, wire.Session(7, 1), now)
		if !ok {
			t.Fatalf("no batch is due after %q", sent)
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
	step(wire.Reply{List: []string{"ws:1:in:c"}, Next: "0"}) // of another server
	step(wire.Reply{Int: 2}, wire.Reply{Text: "OK"})
	step(wire.Reply{Nil: true}) // there are no more
	step(wire.Reply{}, wire.Reply{})
	both := "SREM " + wire.Decimal(dead[0]) + " " + wire.Decimal(dead[1])
	if want := []string{"SET", "SCAN", both, "SCAN", "SCAN", both, "SCAN", both}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	if sessions, removed := s.Done(); len(sessions) != 2 || removed != 3 {
		t.Errorf("sessions %q are removed from %d rooms, want two from 3", sessions, removed)
	}
	if _, ok := s.Take(99, dead, wire.Session(7, 1), now); ok {
		t.Error("another sweep begins at once")
	}
}

// After each reply the sweep must pause for longer than the reply took, up to a
// maximum.
func TestSweepPausesForLongerThanRedisTook(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), alwaysLives)
	dead, own, now := []int64{wire.Session(9, 1)}, wire.Session(7, 1), startTime
	for id, took := range []time.Duration{time.Millisecond, 100 * time.Millisecond, time.Minute} {
		b, ok := s.Take(uint64(id+1), dead, own, now)
		if !ok {
			t.Fatal("no batch is due")
		}
		now = now.Add(took)
		replies := acquired(dead...)
		replies[0].Next = "17"
		s.Reply(b.ID, replies, now)
		pause := min(restShare*took, restMost)
		if _, ok := s.Take(99, dead, own, now.Add(pause-1)); ok || !s.Next().Equal(now.Add(pause)) {
			t.Errorf("want a pause of %v after a reply that took %v", pause, took)
		}
		now = now.Add(pause)
	}
}

// SCAN may return more keys than requested. They must be removed in batches of
// scanCount.
func TestLargePageIsRemovedInBatches(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), alwaysLives)
	dead, own := []int64{wire.Session(9, 1)}, wire.Session(7, 1)
	send := func(id uint64) wire.Batch {
		b, ok := s.Take(id, dead, own, startTime)
		if !ok {
			t.Fatal("no batch is due")
		}
		return b
	}
	s.Reply(send(1).ID, acquired(dead...), startTime)
	s.Reply(send(2).ID, []wire.Reply{{List: make([]string, 2*scanCount+1), Next: "0"}}, startTime)
	for id, want := range []int{scanCount, scanCount, 1} {
		b := send(uint64(id + 3))
		if got := len(b.Commands) - 1; got != want {
			t.Errorf("%d rooms in a batch, want %d", got, want)
		}
		s.Reply(b.ID, make([]wire.Reply, len(b.Commands)), startTime)
	}
	if b := send(9); b.Kind != wire.Scan {
		t.Errorf("sent %v after the last batch, want the next SCAN", b.Commands)
	}
}

// acquired returns the replies to a node that gets the lock while the listed
// sessions are in the set of nodes.
func acquired(listed ...int64) []wire.Reply {
	var texts []string
	for _, session := range listed {
		texts = append(texts, wire.Decimal(session))
	}
	return []wire.Reply{{Text: "OK"}, {Text: wire.Decimal(wire.Session(7, 1))}, {List: texts}}
}

// A node gets the lock before it knows that another node has removed some of
// the dead sessions. It must remove only those that are still in the set of
// nodes.
func TestSweepSkipsSessionsThatAnotherNodeHasRemoved(t *testing.T) {
	first, second, own := wire.Session(9, 1), wire.Session(10, 1), wire.Session(7, 1)
	for _, c := range []struct {
		name   string
		listed []int64
		want   string // command after the first page
	}{
		{"one of two", []int64{own, second}, "SREM ws:1:in:a " + wire.Decimal(second)},
		{"both", []int64{own}, "DEL ws:1:{fleet}:sweep"},
	} {
		s := NewSweep(wire.NewNames("ws:", 1), alwaysLives)
		var b wire.Batch
		for id, replies := range [][]wire.Reply{acquired(c.listed...), {{List: []string{"ws:1:in:a"}, Next: "0"}}, nil} {
			b, _ = s.Take(uint64(id+1), []int64{first, second}, own, startTime)
			if b.Kind != wire.Scan && id > 0 {
				break
			}
			s.Reply(b.ID, replies, startTime)
		}
		if got := strings.Join(slices.Concat([]string{b.Commands[0].Name}, b.Commands[0].Keys, b.Commands[0].Args), " "); got != c.want {
			t.Errorf("%s: sent %q, want %q", c.name, got, c.want)
		}
		if len(c.listed) > 1 {
			continue
		}
		if s.Reply(b.ID, []wire.Reply{{Int: 1}}, startTime); s.done != nil {
			t.Errorf("%s: reports %q as removed", c.name, s.done)
		}
	}
}

// A node that begins a new session during a sweep may have another server now,
// for which the cursor means nothing. The sweep must begin again with the lock.
func TestSweepStartsAgainInANewSession(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), alwaysLives)
	dead, own := []int64{wire.Session(9, 1)}, wire.Session(7, 1)
	for id, replies := range [][]wire.Reply{acquired(dead...), {{Next: "17"}}} {
		b, _ := s.Take(uint64(id+1), dead, own, startTime)
		s.Reply(b.ID, replies, startTime)
	}
	if b, ok := s.Take(3, dead, own+1, startTime); !ok || b.Commands[0].Name != "SET" || b.Commands[0].Args[0] != wire.Decimal(own+1) {
		t.Errorf("sent %v, want SET of the lock by the new session", b.Commands)
	}
}

// Many keys in Redis are not rooms, so many pages are empty. The lock must be
// renewed meanwhile.
func TestLockIsRenewedDuringPagesWithoutRooms(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), alwaysLives)
	dead, own, now := []int64{wire.Session(9, 1)}, wire.Session(7, 1), startTime
	locked := now
	for id := range 200 {
		b, ok := s.Take(uint64(id+1), dead, own, now)
		if !ok {
			t.Fatal("no batch is due")
		}
		if b.Commands[0].Name == "SET" {
			locked = now
		}
		now = now.Add(time.Second)
		if now.Sub(locked) > sweepTime/2 {
			t.Fatalf("the lock was not renewed for %v", now.Sub(locked))
		}
		replies := []wire.Reply{{Next: "17"}}
		if id == 0 {
			replies = acquired(dead...)
		}
		s.Reply(b.ID, replies, now)
		now = now.Add(restMost)
	}
}

func TestSweepWaitsWhileAnotherNodeHasTheLock(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), alwaysLives)
	dead := []int64{wire.Session(9, 1)}
	b, _ := s.Take(1, dead, wire.Session(7, 1), startTime)
	s.Reply(b.ID, []wire.Reply{{Nil: true}, {Text: wire.Decimal(wire.Session(8, 1))}, {}}, startTime)
	if b, ok := s.Take(2, dead, wire.Session(7, 1), startTime); ok {
		t.Errorf("sent %v without the lock, want nothing", b)
	}
	if b, ok := s.Take(2, dead, wire.Session(7, 1), startTime.Add(elsewherePause)); !ok || b.Commands[0].Name != "SET" {
		t.Errorf("sent %v after the pause, want SET of the lock", b)
	}
}

// The lock is held by a node without a session. It must be taken over, instead
// of waiting a minute until it expires.
func TestLockOfADeadNodeIsTakenOver(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), noSession)
	step := func(id uint64, args string, replies ...wire.Reply) {
		t.Helper()
		b, ok := s.Take(id, []int64{wire.Session(9, 1)}, wire.Session(7, 1), startTime)
		if !ok || strings.Join(b.Commands[0].Args, " ") != args {
			t.Fatalf("sent %v, want the arguments %s", b, args)
		}
		if replies != nil {
			s.Reply(b.ID, replies, startTime)
		}
	}
	own := wire.Decimal(wire.Session(7, 1))
	step(1, own+" NX PX 60000", wire.Reply{Nil: true}, wire.Reply{Text: wire.Decimal(wire.Session(8, 1))}, wire.Reply{})
	step(2, own+" XX PX 60000", acquired(wire.Session(9, 1))...)
	step(3, "0 MATCH ws:1:in:* COUNT 512")
}

func noSession(int64) bool { return false }

func alwaysLives(int64) bool { return true }
