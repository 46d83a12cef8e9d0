package sessions

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

func TestLiveNodeIsAskedForTheSession(t *testing.T) {
	w := newCluster(t, "a", "b")
	a, b := w.nodes["a"], w.nodes["b"]
	save(a, record("a", "ann"))
	w.settle()
	ask := w.take(b, "ann")
	if len(a.requests) != 1 || a.requests[0].PID != "p" || a.requests[0].User != "ann" || a.requests[0].Node != "b" {
		t.Fatalf("requests %+v", a.requests)
	}
	if _, done := b.results[ask]; done {
		t.Fatal("the session was taken before node a has answered")
	}
	a.core.Answer(a.requests[0], record("a", "ann"), rooms.RecoveryDone)
	w.settle()
	w.want(b, ask, rooms.RecoveryDone)
}

func TestSessionThatWasGivenAwayIsNotWrittenLater(t *testing.T) {
	for _, inFlight := range []bool{false, true} {
		w := newCluster(t, "a", "b")
		a, b := w.nodes["a"], w.nodes["b"]
		save(a, record("a", "ann"))
		w.settle()
		ask := w.take(b, "ann")
		save(a, record("a", "late"))
		var batch wire.Batch
		if inFlight {
			batch, _ = a.core.Commands(99)
		}
		a.core.Answer(a.requests[0], record("a", "ann"), rooms.RecoveryDone)
		if inFlight { // the answer waits for the write
			w.settle()
			if _, done := b.results[ask]; done {
				t.Error("answered before the write had a reply")
			}
			a.core.Reply(batch.ID, []wire.Reply{{Err: errLost}}, w.now)
		}
		w.settle()
		w.want(b, ask, rooms.RecoveryDone)
		save(b, record("b", "ann"))
		w.settle()
		if r, err := rooms.ParseRecord([]byte(w.redis[names.SessionRecord("p")])); err != nil || r.Node != "b" {
			t.Errorf("write in flight: %v: the record is %+v, %v, want that of node b", inFlight, r, err)
		}
	}
}

// Two nodes take the session of a dead node at the same time. One must get it
// from Redis, and the other must ask the first.
func TestSessionOfADeadNodeIsTakenOnce(t *testing.T) {
	w := newCluster(t, "a", "b", "c")
	a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
	save(a, record("a", "ann"))
	w.settle()
	a.unsubscribed = true
	first, second := b.core.Take("p", "ann", w.now), c.core.Take("p", "ann", w.now)
	w.settle()
	winner, loser := b, c
	if _, done := b.results[first]; !done {
		winner, loser, first, second = c, b, second, first
	}
	w.want(winner, first, rooms.RecoveryDone)
	if !winner.results[first].Record.Orphan {
		t.Error("Orphan is false for a record of a dead node")
	}
	if len(winner.requests) != 1 || loser.results[second].Record != nil {
		t.Fatalf("the first node was asked %d times and the second got %+v, want once and no record yet", len(winner.requests), loser.results[second])
	}
	winner.has, winner.answers = winner.results[first].Record, true
	w.settle()
	w.want(loser, second, rooms.RecoveryDone)
}

// The session has moved from node a to b, or is moving, and either node may be
// dead. A third node must get it, or the reason why there is none.
func TestSessionThatMovesIsFound(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(w *cluster, a, b *node)
		want rooms.RecoveryResult
	}{
		"given to b, which has not written it yet": {func(w *cluster, a, b *node) {
			a.has = record("a", "ann")
			w.take(b, "ann")
			b.has = record("a", "ann")
		}, rooms.RecoveryDone},
		"given to b, which has written it": {func(w *cluster, a, b *node) {
			a.has = record("a", "ann")
			w.take(b, "ann")
			b.has = record("a", "ann")
			save(b, record("b", "ann"))
		}, rooms.RecoveryDone},
		"given to b, which is dead": {func(w *cluster, a, b *node) {
			a.has = record("a", "ann")
			w.take(b, "ann")
			b.unsubscribed = true
		}, rooms.RecoveryDone},
		"given to b, where it is over": {func(w *cluster, a, b *node) {
			a.has = record("a", "ann")
			w.take(b, "ann")
		}, rooms.RecoveryUnknown},
		"given to b and back to a": {func(w *cluster, a, b *node) {
			a.has = record("a", "ann")
			w.take(b, "ann")
			b.has = record("a", "ann")
			w.take(a, "ann")
			a.has = record("a", "ann")
		}, rooms.RecoveryDone},
		"a is dead, b has taken it": {func(w *cluster, a, b *node) {
			a.unsubscribed = true
			w.take(b, "ann")
			b.has = record("a", "ann")
		}, rooms.RecoveryDone},
		"a is dead, b has written it": {func(w *cluster, a, b *node) {
			a.unsubscribed = true
			w.take(b, "ann")
			b.has = record("a", "ann")
			save(b, record("b", "ann"))
		}, rooms.RecoveryDone},
		"a and b are dead, b has taken it": {func(w *cluster, a, b *node) {
			a.unsubscribed = true
			w.take(b, "ann")
			b.unsubscribed = true
		}, rooms.RecoveryDone},
		"a and b are dead, b has written it": {func(w *cluster, a, b *node) {
			a.unsubscribed = true
			w.take(b, "ann")
			save(b, record("b", "ann"))
			w.settle()
			b.unsubscribed = true
		}, rooms.RecoveryDone},
		"a is dead, b has put it back": {func(w *cluster, a, b *node) {
			a.unsubscribed = true
			w.take(b, "ann")
			save(b, record("a", "ann"))
		}, rooms.RecoveryDone},
		"b puts it back when it is asked": {func(w *cluster, a, b *node) {
			save(a, record("b", "ann"))
			w.settle()
			a.unsubscribed = true
			save(b, record("-", "ann"))
		}, rooms.RecoveryDone},
		"a is dead, b has put it back, twice": {func(w *cluster, a, b *node) {
			a.unsubscribed = true
			w.take(b, "ann")
			save(b, record("a", "ann"))
			w.take(b, "ann")
			save(b, record("a", "ann"))
		}, rooms.RecoveryDone},
		"a is dead, b has ended it": {func(w *cluster, a, b *node) {
			a.unsubscribed = true
			w.take(b, "ann")
			b.core.Forget("p", 0)
		}, rooms.RecoveryUnknown},
		"a and b refer to each other": {func(w *cluster, a, b *node) {
			a.core.gave("p", "b")
			b.core.gave("p", "a")
		}, rooms.RecoveryBusy},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCluster(t, "a", "b", "c")
			a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
			for _, n := range w.nodes {
				n.answers = true
			}
			save(a, record("a", "ann"))
			w.settle()
			x.do(w, a, b)
			w.settle()
			w.want(c, w.take(c, "ann"), x.want)
			if x.want != rooms.RecoveryDone {
				return
			}
			save(c, record("c", "ann"))
			w.settle()
			w.want(c, w.take(c, "ann"), rooms.RecoveryUnknown) // the record is its own
		})
	}
}

// A node gives a session away to a node that dies before it has written the
// record. The first node must be able to take the session back.
func TestSessionIsTakenBackFromADeadNode(t *testing.T) {
	w := newCluster(t, "a", "b")
	a, b := w.nodes["a"], w.nodes["b"]
	a.answers, a.has = true, record("a", "ann")
	save(a, record("a", "ann"))
	w.settle()
	w.want(b, w.take(b, "ann"), rooms.RecoveryDone)
	b.unsubscribed = true
	w.want(a, w.take(a, "ann"), rooms.RecoveryDone)
}

// A client returns to a node that has no connection to Redis yet. The node must
// take the session when Redis can be reached.
func TestSessionIsTakenWhenRedisCanBeReached(t *testing.T) {
	w := newCluster(t, "a", "b")
	a, b := w.nodes["a"], w.nodes["b"]
	save(a, record("a", "ann"))
	w.settle()
	a.unsubscribed, w.away = true, true
	ask := w.take(b, "ann")
	if next := b.core.Next(w.now); !next.Equal(w.now.Add(retryTake)) {
		t.Errorf("the next attempt is due at %v, want after retryTake", next)
	}
	w.now = w.now.Add(takeWithin / 2)
	w.settle()
	w.away = false
	w.settle()
	w.want(b, ask, rooms.RecoveryDone)
}

// Two nodes try to take the session of a dead node, and each has the lock for
// which the other waits. One must get the session, and the other must get it
// from that one.
func TestTwoNodesThatWaitForEachOther(t *testing.T) {
	w := newCluster(t, "a", "b", "c")
	a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
	save(a, record("a", "ann"))
	w.settle()
	a.unsubscribed = true
	w.redis[names.SessionLock("p", "a")] = "c"
	w.redis[names.SessionLock("p", "a:c")] = "b"
	first, second := b.core.Take("p", "ann", w.now), c.core.Take("p", "ann", w.now)
	w.settle()
	w.want(c, second, rooms.RecoveryDone)
	c.has, c.answers = c.results[second].Record, true
	w.settle()
	w.want(b, first, rooms.RecoveryDone)
}

// A node remembers the sessions that it gave away up to a limit.
func TestRememberedGivenSessionsAreLimited(t *testing.T) {
	c := New(names, "a")
	for i := range 2 * mostGiven {
		c.gave(fmt.Sprint(i), "b")
		c.gave(fmt.Sprint(i), "c")
	}
	if len(c.given) != mostGiven || len(c.gifts) != mostGiven {
		t.Errorf("%d given sessions and %d receivers are remembered, want %d of each", len(c.given), len(c.gifts), mostGiven)
	}
}

// A process was to replace node a, and a died without a hand-over. The process
// has the same name. It must take the sessions of a from Redis, and must not
// ask itself for them.
func TestSessionOfADeadPredecessorIsTakenFromRedis(t *testing.T) {
	w := newCluster(t, "a")
	a := w.nodes["a"]
	save(a, record("a", "ann"))
	w.settle()
	heir := &node{core: New(names, "a"), name: "a", results: map[uint64]Result{}}
	heir.core.Replace("b")
	w.nodes = map[string]*node{"a": heir} // it receives what is published to a
	first := w.take(heir, "ann")
	w.want(heir, first, rooms.RecoveryDone)
	if x := heir.results[first]; x.Record != nil && !x.Record.Orphan {
		t.Error("Orphan is false for a record of a dead process")
	}
	if len(heir.requests) > 0 {
		t.Errorf("the dead process was asked for the session: %+v", heir.requests)
	}
	save(heir, record("b", "ann"))
	w.settle()
	w.want(heir, w.take(heir, "ann"), rooms.RecoveryUnknown)
}

func TestReasonsWhyASessionIsNotTaken(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(w *cluster, a, b *node)
		user string
		want rooms.RecoveryResult
	}{
		"no record":    {func(w *cluster, _, _ *node) { clear(w.redis) }, "ann", rooms.RecoveryUnknown},
		"forgotten":    {func(w *cluster, a, _ *node) { a.core.Forget("p", 0); w.settle() }, "ann", rooms.RecoveryUnknown},
		"another user": {func(*cluster, *node, *node) {}, "eve", rooms.RecoveryOtherUser},
		"not answered": {func(_ *cluster, a, _ *node) { a.frozen = true }, "ann", rooms.RecoveryBusy},
		"Redis away":   {func(w *cluster, _, _ *node) { w.away = true }, "ann", rooms.RecoveryFailed},
		"garbage":      {func(w *cluster, _, _ *node) { w.redis[names.SessionRecord("p")] = "\x01?" }, "ann", rooms.RecoveryUnknown},
		"its own": {func(w *cluster, _, b *node) {
			save(b, record("b", "ann"))
			w.settle()
		}, "ann", rooms.RecoveryUnknown},
	} {
		w := newCluster(t, "a", "b")
		a, b := w.nodes["a"], w.nodes["b"]
		save(a, record("a", "ann"))
		w.settle()
		x.do(w, a, b)
		ask := w.take(b, x.user)
		w.now = w.now.Add(takeWithin)
		w.settle()
		t.Log(name)
		w.want(b, ask, x.want)
	}
}

func TestElsewhereTellsWhetherAnotherNodeHasTheSession(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(w *cluster, a *node)
		want bool
	}{
		"untouched":       {func(*cluster, *node) {}, true},
		"taken by b":      {func(w *cluster, _ *node) { save(w.nodes["b"], record("b", "ann")); w.settle() }, false},
		"Redis was empty": {func(w *cluster, _ *node) { clear(w.redis) }, true},
		"Redis is away":   {func(w *cluster, _ *node) { w.away = true }, true},
	} {
		w := newCluster(t, "a", "b")
		a := w.nodes["a"]
		save(a, record("a", "ann"))
		w.settle()
		x.do(w, a)
		ask := a.core.Elsewhere("p", w.now)
		w.settle()
		if r, ok := a.results[ask]; !ok || r.Elsewhere == x.want {
			t.Errorf("%s: elsewhere %v (%v), want %v", name, r.Elsewhere, ok, !x.want)
		}
	}
}

func TestFailedWritesAreRepeated(t *testing.T) {
	w := newCluster(t, "a")
	a := w.nodes["a"]
	w.away = true
	save(a, record("a", "ann"))
	w.settle()
	w.away = false
	if a.core.Idle() {
		t.Fatal("Idle is true with a record that could not be written")
	}
	w.settle()
	if !a.core.Idle() || w.redis[names.SessionRecord("p")] == "" {
		t.Errorf("Redis has %q, want the record", w.redis)
	}
}

func TestWritesAreBounded(t *testing.T) {
	c := New(names, "a")
	form := []byte(strings.Repeat("x", 1<<20))
	for i := range 100 {
		c.Save(fmt.Sprint(i), form, time.Minute)
	}
	if c.bytes > maxBytes || c.Dropped() != 36 {
		t.Errorf("%d bytes wait and %d records were dropped, want %d bytes at most and 36", c.bytes, c.Dropped(), maxBytes)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(message{kind: 't', ask: 7, pid: "p", user: "u", node: "n"}.append(nil))
	f.Add(message{kind: 'r', ask: 7, why: rooms.RecoveryBusy, record: []byte("r")}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		if again, err := parseMessage(m.append(nil)); err != nil || fmt.Sprint(again) != fmt.Sprint(m) {
			t.Errorf("%+v was encoded and parsed as %+v, %v", m, again, err)
		}
	})
}

// A hundred clients return in a second while Redis is down. Their commands must
// be tried together once in retryTake, and not one by one.
func TestReturnsAreRetriedTogetherWhileRedisIsDown(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c := New(names, "a")
	batches := 0
	for i := range 100 { // a client each 10 ms
		c.Take(fmt.Sprint("pid", i), "ann", now)
		c.Tick(now)
		for c.Waiting() {
			batches++
			b, _ := c.Commands(uint64(batches))
			lost := make([]wire.Reply, len(b.Commands))
			for i := range lost {
				lost[i].Err = errLost
			}
			c.Reply(b.ID, lost, now)
		}
		now = now.Add(10 * time.Millisecond)
	}
	if most := int(time.Second/retryTake) + 1; batches > most {
		t.Errorf("%d batches in a second, want at most %d", batches, most)
	}
}
