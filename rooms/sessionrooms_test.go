package rooms

import (
	"fmt"
	"testing"
	"time"
)

// A session's record must have the position at which each room was joined, also
// after rooms were left and others have taken their slots.
func TestRecordHasThePositionOfEachJoin(t *testing.T) {
	w, past := newHistoryWorld(t, 1)
	ann := w.recoveringClient("ann")
	joined := map[string]uint64{"user:ann": 0}
	check := func(what string) {
		t.Helper()
		for _, room := range ann.socket.record().Rooms {
			if want, in := joined[room.Name]; !in || room.From != want {
				t.Errorf("%s: %s was joined at %d, want %d (%v)", what, room.Name, room.From, want, in)
			}
		}
		if got := len(ann.socket.record().Rooms); got != len(joined) {
			t.Errorf("%s: %d rooms, want %d", what, got, len(joined))
		}
	}
	join := func(n int) {
		name := fmt.Sprint(n)
		position := past.publish(w, "user:ann")
		ann.join(name)
		joined["conversation:"+name] = position
		check("joined " + name)
	}
	for n := range 6 {
		join(n)
	}
	for _, n := range []int{0, 5, 2, 4, 1} {
		ann.emit("leave_room", conversation(fmt.Sprint(n)))
		delete(joined, fmt.Sprint("conversation:", n))
		check(fmt.Sprint("left ", n))
	}
	if ann.socket.session.more != nil {
		t.Errorf("an idle session in two rooms has the extra memory %+v, want none", ann.socket.session.more)
	}
	for n := range 3 {
		join(10 + n)
	}
	ann.hangUp()
	ann.reconnect(w)
	ann.wantResult(RecoveryDone)
	check("back")
}

// A client refreshes its token and closes. An order that names the second token
// must apply to its session while it is absent; one that names the first token
// must not.
func TestOrderAppliesToTheLastTokenOfAnAbsentClient(t *testing.T) {
	for order, want := range map[string]RecoveryResult{"t1": RecoveryDone, "t2": RecoveryOrder} {
		w, past := newHistoryWorld(t, 1, func(c *Config) {
			c.Auth = authFunc(func(token string, now time.Time, done func(Identity, error)) {
				done(Identity{UserID: "ann", TokenID: token, Expires: now.Add(time.Hour)}, nil)
			})
		})
		ann := w.recoveringClient("t1")
		past.publish(w, "user:ann")
		ann.read()
		ann.emit("refresh_token", tokenArg("t2"))
		ann.hangUp()
		past.passed++
		past.entries = append(past.entries, historyEntry{position: past.passed, order: &Order{User: "ann", TokenID: order}})
		past.hub.Passed(past.passed)
		ann.token = "t3"
		ann.reconnect(w)
		ann.wantResult(want)
	}
}
