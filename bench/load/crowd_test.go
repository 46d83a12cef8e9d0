package load

import (
	"fmt"
	"testing"
)

// drawn returns a crowd phase with two users who get two events each: user 0 the
// numbers 0 and 2, user 1 the numbers 1 and 3.
func drawn(t *testing.T) (*world, *crowd) {
	w := newWorld(t, 2)
	w.l.sessions = make(sessions)
	for i := range w.l.conns {
		w.l.conns[i].user, w.l.conns[i].room = int32(i), 0
	}
	c := newCrowd(w.l, CrowdArgs{Users: Draw{Events: 4, Groups: 1, Size: 2, Step: 2}, RoomEvents: 2})
	w.l.phase = c
	return w, c
}

func notificationTo(seq int) string {
	return fmt.Sprintf(`42["new_notification",{"message":"#%d@%d#"}]`, seq, clock())
}

// Connection 0 misses events, or gets them twice, in another order, or meant for
// others. The result must have each fault.
func TestEventsOfACrowdAreCheckedByNumberReceiverAndOrder(t *testing.T) {
	for _, tt := range []struct {
		name                           string
		first                          []int // events for users that connection 0 gets
		room                           []int // events of the room that it gets
		lost, doubled, swapped, strays uint64
	}{
		{"all", []int{0, 2}, []int{0, 1}, 0, 0, 0, 0},
		{"one for a user lost", []int{0}, []int{0, 1}, 1, 0, 0, 0},
		{"one for a user doubled", []int{0, 0, 2}, []int{0, 1}, 0, 1, 0, 0},
		{"two for a user swapped", []int{2, 0}, []int{0, 1}, 0, 0, 1, 0},
		{"one for another user", []int{0, 1, 2}, []int{0, 1}, 0, 0, 0, 1},
		{"one that nobody published", []int{0, 2, 4}, []int{0, 1}, 0, 0, 0, 1},
		{"one of the room lost", []int{0, 2}, []int{1}, 1, 0, 1, 0},
		{"one of the room doubled", []int{0, 2}, []int{0, 1, 1}, 0, 1, 0, 0},
	} {
		w, c := drawn(t)
		for _, seq := range tt.first {
			w.hear(0, notificationTo(seq))
		}
		for _, seq := range tt.room {
			w.hear(0, w.message(seq))
		}
		for seq := range 2 {
			w.hear(1, notificationTo(2*seq+1))
			w.hear(1, w.message(seq))
		}
		r := new(Result)
		c.finish(r)
		if r.Lost != tt.lost || r.Doubled != tt.doubled || r.Swapped != tt.swapped || r.Strays != tt.strays {
			t.Errorf("%s: lost %d, doubled %d, swapped %d, strays %d; want %d, %d, %d, %d", tt.name, r.Lost, r.Doubled, r.Swapped, r.Strays, tt.lost, tt.doubled, tt.swapped, tt.strays)
		}
	}
}

// Members of one room connect from different workers, so only their results together
// show whether of each pair at least one got user_joined about the other.
func TestJoinsOfOtherWorkersAreCheckedByPair(t *testing.T) {
	// Two workers with two connections each; connection 0 of each is in the room.
	result := func(self int32, announced ...int32) *Result {
		user := 2 * self
		w := newWorld(t, 2)
		w.l.sessions = make(sessions)
		for i := range w.l.conns {
			w.l.conns[i].user, w.l.conns[i].room = user+int32(i), -1
		}
		g := newGatherer(w.l, GatherArgs{Every: 2, Window: 1, Workers: 2, Group: 2, Self: self, Step: 2})
		w.l.phase = g
		g.acked = 1
		for _, joined := range announced {
			w.hear(0, fmt.Sprintf(`42["user_joined",{"userId":"u%d","room":"conversation:bench-0"}]`, joined))
		}
		r := new(Result)
		g.finish(r)
		return r
	}
	for _, tt := range []struct {
		name          string
		first, second []int32
		unmet, wrong  uint64
	}{
		{"one hears of the other", []int32{2}, nil, 0, 0},
		{"both hear", []int32{2}, []int32{0}, 0, 0},
		{"neither hears", nil, nil, 1, 0},
		{"one hears twice", []int32{2, 2}, nil, 0, 1},
		{"one hears of a connection of another room", []int32{3}, []int32{0}, 0, 1},
		{"one hears of itself", []int32{0}, []int32{0}, 0, 1},
	} {
		results := []*Result{result(0, tt.first...), result(1, tt.second...)}
		pairs, unmet := Unmet(results, 2)
		if wrong := Sum(results).Wrong(); pairs != 1 || unmet != tt.unmet || wrong != tt.wrong {
			t.Errorf("%s: %d pairs, %d unmet, %d wrong", tt.name, pairs, unmet, wrong)
		}
	}
}

func TestRecoverySendsThePidAndTheNewestOffset(t *testing.T) {
	s := make(sessions)
	s.ask(0, 1)
	if got := string(s.appendAuth(nil, 0)); got != `,"recovery":true` {
		t.Errorf("first CONNECT: %s", got)
	}
	if s.answered(0, []byte(`40{"sid":"a","pid":"p"}`)) {
		t.Error("a new session counts as recovered")
	}
	s.note(0, []byte(`42["new_notification",{"title":"x"},"o1"]`))
	s.note(0, []byte(`42["user_joined",{"userId":"u1"}]`))
	if got := string(s.appendAuth(nil, 0)); got != `,"recovery":true,"pid":"p","offset":"o1"` {
		t.Errorf("second CONNECT: %s", got)
	}
	if !s.answered(0, []byte(`40{"sid":"a","pid":"p"}`)) || s.answered(0, []byte(`40{"sid":"b","pid":"q"}`)) {
		t.Error("a session with the same pid must count as recovered, one with another pid must not")
	}
	if got := string(s.appendAuth(nil, 1)); got != "" {
		t.Errorf("CONNECT of a connection that does not ask for recovery: %s, want no fields", got)
	}
}
