package rooms

import (
	"testing"
	"time"
)

// TestRedisThatWasSetBackDoesNotTakeASessionAway: its record is of the node that
// had the session before.
func TestRedisThatWasSetBackDoesNotTakeASessionAway(t *testing.T) {
	w, past, redis := newRecordStore(t)
	past.publish(w, "conversation:1") // positions are known
	ann := w.recoveringClient("ann")
	ann.join("1")
	old := *redis.records[ann.pid]
	old.Node = "b"
	w.dies()
	first := old
	redis.records[ann.pid] = &first // b is dead, and its session comes here
	ann.comeOn(w)
	ann.wantResult(RecoveryDone)
	ann.join("2")
	redis.records[ann.pid] = &old
	w.hub.Reachable(true, w.now)
	w.hub.Reachable(false, w.now)
	w.hub.Reachable(true, w.now)
	w.settle()
	past.publish(w, "conversation:2")
	ann.wantGot("recovery_state", "e2")
	if r := redis.records[ann.pid]; r.Node != "a" || r.Moves != 1 || len(r.Rooms) != 3 {
		t.Errorf("Redis has %+v", r)
	}
}

// TestASessionThatAnotherNodeHasTakenIsGivenUp when Redis does not take its
// record, unless it has come back since.
func TestASessionThatAnotherNodeHasTakenIsGivenUp(t *testing.T) {
	for _, ended := range []bool{false, true} {
		w, past, redis := newRecordStore(t)
		past.publish(w, "conversation:1") // positions are known
		ann := w.recoveringClient("ann")
		if ended {
			ann.hangUp()
			w.at(w.now.Add(time.Minute)) // its grace is over
		}
		w.hub.Displace(ann.pid, 0)
		w.settle()
		if k := w.hub.KeptSessions(); k.Live+k.Ended != 0 {
			t.Errorf("ended %v: the session is still known: %+v", ended, k)
		}
		redis.records[ann.pid] = &Record{PID: ann.pid, User: "ann", Node: "b", Log: logName, Moves: 1, Rooms: []RoomFrom{{"user:ann", 1}}}
		ann.offset = ""
		ann.comeOn(w)
		w.hub.Displace(ann.pid, 0)
		w.settle()
		if k := w.hub.KeptSessions(); k.Live != 1 {
			t.Errorf("ended %v: the session that came back was given up: %+v", ended, k)
		}
	}
}

// TestTheFenceCountsInAnotherLogToo: the node had lost the session, and did not
// know it, when the log was made anew.
func TestTheFenceCountsInAnotherLogToo(t *testing.T) {
	w, past, _ := newRecordStore(t)
	ann := w.recoveringClient("ann")
	ann.join("1")
	past.publish(w, "conversation:1")
	ann.wantGot("e1")
	ann.offset += ".7" // that of the node which has taken the session
	w.hub.Anew("log2", 0)
	w.settle()
	ann.comeOn(w)
	ann.wantResult(RecoveryStale)
}

// TestEventsOfTheLogBeforeThatDidNotArriveAreNotForgotten: the client was sent
// one, and did not get it, when the log was made anew.
func TestEventsOfTheLogBeforeThatDidNotArriveAreNotForgotten(t *testing.T) {
	for _, published := range []bool{false, true} {
		w, past, _ := newRecordStore(t)
		ann := w.recoveringClient("ann")
		ann.join("1")
		past.publish(w, "conversation:1")
		ann.offset = "" // it did not arrive
		w.hub.Anew("log2", 0)
		w.settle()
		if published {
			past.publish(w, "conversation:1")
			ann.offset = ""
		}
		ann.comeOn(w)
		ann.wantResult(RecoveryStale)
	}
}
