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
	if w.Silent(w.now, noSession) != 0 {
		t.Error("removed at once")
	}
	if got := w.Silent(w.now.Add(length), noSession); got != dead {
		t.Errorf("%d is to be removed, want %d", got, dead)
	}
	w.leases[wire.Session(9, 4)] = wire.Lease{}.String() // it is back
	w.now = w.Next()
	if w.run(); w.Gone(9) {
		t.Error("a node that is back is gone")
	}
}

func TestSweep(t *testing.T) {
	names := wire.NewNames("ws:", 1)
	s := NewSweep(names, lives)
	dead := wire.Session(9, 1)
	var sent []string
	step := func(replies ...wire.Reply) {
		t.Helper()
		b, ok := s.Take(uint64(len(sent)+1), dead, wire.Session(7, 1), dawn)
		if !ok {
			t.Fatalf("nothing is sent after %q", sent)
		}
		sent = append(sent, b.Commands[0].Name)
		s.Reply(b.ID, replies, dawn)
	}
	step(wire.Reply{Text: "OK"}, wire.Reply{Text: wire.Decimal(wire.Session(7, 1))})
	step(wire.Reply{List: []string{"ws:1:in:a", "ws:1:in:b"}, Next: "17"})
	step(wire.Reply{Int: 1}, wire.Reply{Int: 0})
	step(wire.Reply{Next: "0"})
	step(wire.Reply{List: []string{"ws:1:in:c"}, Next: "0"}) // another server's
	step(wire.Reply{Int: 1})
	step(wire.Reply{Nil: true}) // there are no more
	step(wire.Reply{}, wire.Reply{})
	if want := []string{"SET", "SCAN", "SREM", "SCAN", "SCAN", "SREM", "SCAN", "SREM"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	if session, rooms := s.Done(); session != dead || rooms != 2 {
		t.Errorf("removed %d from %d rooms", session, rooms)
	}
	if _, ok := s.Take(99, dead, wire.Session(7, 1), dawn); ok {
		t.Error("begins again at once")
	}
}

func TestSweepIsLeftToWhoHasTheLock(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), lives)
	b, _ := s.Take(1, wire.Session(9, 1), wire.Session(7, 1), dawn)
	s.Reply(b.ID, []wire.Reply{{Nil: true}, {Text: wire.Decimal(wire.Session(8, 1))}}, dawn)
	if b, ok := s.Take(2, wire.Session(9, 1), wire.Session(7, 1), dawn); ok {
		t.Errorf("sends %v without the lock", b)
	}
}

// TestALockOfADeadNodeIsTakenOver: it would last for minutes.
func TestALockOfADeadNodeIsTakenOver(t *testing.T) {
	s := NewSweep(wire.NewNames("ws:", 1), noSession)
	step := func(id uint64, args string, replies ...wire.Reply) {
		t.Helper()
		b, ok := s.Take(id, wire.Session(9, 1), wire.Session(7, 1), dawn)
		if !ok || strings.Join(b.Commands[0].Args, " ") != args {
			t.Fatalf("sends %v, want arguments %s", b, args)
		}
		if replies != nil {
			s.Reply(b.ID, replies, dawn)
		}
	}
	own := wire.Decimal(wire.Session(7, 1))
	step(1, own+" NX PX 300000", wire.Reply{Nil: true}, wire.Reply{Text: wire.Decimal(wire.Session(8, 1))})
	step(2, own+" PX 300000", wire.Reply{Text: "OK"}, wire.Reply{Text: own})
	step(3, "0 MATCH ws:1:in:* COUNT 512")
}

func noSession(int64) bool { return false }

func lives(int64) bool { return true }

// TestASessionThatAnotherNodeRemovesHoldsUpNoOther.
func TestASessionThatAnotherNodeRemovesHoldsUpNoOther(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := NewSweep(wire.NewNames("ws:", 0), lives)
	if _, ok := s.Take(1, 7, 1, now); !ok {
		t.Fatal("no command for a dead session")
	}
	s.Reply(1, []wire.Reply{{Nil: true}, {Text: "12"}}, now)
	if !s.Elsewhere(7, now) || s.Elsewhere(8, now) {
		t.Error("the session is not left to the other node, or another one is")
	}
	if s.Elsewhere(7, now.Add(elsewherePause)) {
		t.Error("it is left to the other node for ever")
	}
}
