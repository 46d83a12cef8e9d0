package rooms

import (
	"testing"
	"time"
)

// A client recovers here from a record of another node. Then Redis returns to
// an older state, with that node's record. The session must stay here, and its
// newer record must be written again.
func TestOutdatedRecordInRedisDoesNotEndTheSession(t *testing.T) {
	w, past, redis := newRecordStore(t)
	past.publish(w, "conversation:1") // so that the session has positions
	ann := w.recoveringClient("ann")
	ann.join("1")
	old := *redis.records[ann.pid]
	old.Node = "b"
	w.forgetSessions()
	first := old
	redis.records[ann.pid] = &first // node b is dead; its session is recovered here
	ann.reconnect(w)
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
		t.Errorf("Redis has %+v, want a record of node a with 1 move and 3 rooms", r)
	}
}

// Redis refuses this node's record because another node has taken the session. The
// node must remove the session, unless the session has come back since.
func TestDisplacedSessionIsRemoved(t *testing.T) {
	for _, ended := range []bool{false, true} {
		w, past, redis := newRecordStore(t)
		past.publish(w, "conversation:1") // so that the session has positions
		ann := w.recoveringClient("ann")
		if ended {
			ann.hangUp()
			w.at(w.now.Add(time.Minute)) // its grace has passed
		}
		w.hub.Displace(ann.pid, 0)
		w.settle()
		if k := w.hub.KeptSessions(); k.Live+k.Ended != 0 {
			t.Errorf("ended %v: the node still has the session: %+v", ended, k)
		}
		redis.records[ann.pid] = &Record{PID: ann.pid, User: "ann", Node: "b", Log: logName, Moves: 1, Rooms: []RoomFrom{{"user:ann", 1}}}
		ann.offset = ""
		ann.reconnect(w)
		w.hub.Displace(ann.pid, 0)
		w.settle()
		if k := w.hub.KeptSessions(); k.Live != 1 {
			t.Errorf("ended %v: the session that came back was removed: %+v", ended, k)
		}
	}
}

// Another node has taken the session, and this node does not know it when the
// log is created again. The client has the fence of the other node, so recovery
// must fail here even though the log is another one.
func TestFenceIsCheckedWhenTheLogIsAnother(t *testing.T) {
	w, past, _ := newRecordStore(t)
	ann := w.recoveringClient("ann")
	ann.join("1")
	past.publish(w, "conversation:1")
	ann.wantGot("e1")
	ann.offset += ".7" // the fence of the node that has taken the session
	w.hub.Anew("log2", 0)
	w.settle()
	ann.reconnect(w)
	ann.wantResult(RecoveryStale)
}

// The client was sent an event that did not arrive, and then the log was
// created again. Recovery must fail, because the event cannot be read any more.
func TestNoRecoveryWithoutEventsOfTheEarlierLog(t *testing.T) {
	for _, published := range []bool{false, true} {
		w, past, _ := newRecordStore(t)
		ann := w.recoveringClient("ann")
		ann.join("1")
		past.publish(w, "conversation:1")
		ann.offset = "" // the event did not arrive
		w.hub.Anew("log2", 0)
		w.settle()
		if published {
			past.publish(w, "conversation:1")
			ann.offset = ""
		}
		ann.reconnect(w)
		ann.wantResult(RecoveryStale)
	}
}
