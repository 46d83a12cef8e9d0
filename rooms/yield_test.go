package rooms

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A delayedRecordStore returns records when the test calls give.
type delayedRecordStore struct {
	recordStore
	taking []func()
}

func (d *delayedRecordStore) Take(pid, user string, done func(*Record, RecoveryResult)) {
	d.taking = append(d.taking, func() { d.recordStore.Take(pid, user, done) })
}

func (d *delayedRecordStore) give() {
	list := d.taking
	d.taking = nil
	for _, give := range list {
		give()
	}
}

// A delayedAuthorizer allows every join: at once or, if slow, when the test
// calls the functions in waiting.
type delayedAuthorizer struct {
	slow    bool
	waiting []func(error)
}

func (p *delayedAuthorizer) Authorize(_ Identity, _ string, done func(error)) {
	if !p.slow {
		done(nil)
		return
	}
	p.waiting = append(p.waiting, done)
}

// A client returns a second time while its first return is in progress. The
// second return must get the session, in each phase of the first one, and
// whether or not its connection was closed.
func TestLaterReturnGetsTheSession(t *testing.T) {
	for _, phase := range []string{"its record is taken", "its rooms are asked for", "its history is read"} {
		for _, given := range []string{"closed", "still open"} {
			for _, shards := range []int{1, 3} {
				t.Run(phase+", "+given, func(t *testing.T) {
					redis, policy := &delayedRecordStore{recordStore: recordStore{records: map[string]*Record{}}}, &delayedAuthorizer{}
					w, past := newHistoryWorld(t, shards, func(c *Config) { c.Recovery.Remote, c.Authorizer = redis, policy })
					bob, ann := w.connect("bob"), w.recoveringClient("ann")
					bob.emit("join_room", conversation("1"))
					ann.join("1")
					past.publish(w, "conversation:1")
					ann.wantGot("e1")
					ann.hangUp()
					past.publish(w, "conversation:1")
					switch phase {
					case "its record is taken":
						w.hub.sessions.live = pidTable{} // as if only Redis had the session
					case "its rooms are asked for":
						policy.slow = true
					default:
						past.slow = true
					}
					ann.dial(w)
					first := ann.client
					w.settle()
					if given == "closed" {
						ann.hangUp()
					}
					ann.dial(w)
					w.settle()
					past.publish(w, "conversation:1")
					policy.slow, past.slow = false, false
					redis.give()
					w.settle()
					for _, done := range policy.waiting {
						done(nil)
					}
					for _, answer := range past.waiting {
						answer()
					}
					w.settle()
					ann.readAnswer()
					ann.wantResult(RecoveryDone)
					past.publish(w, "conversation:1")
					ann.read()
					ann.got = slices.DeleteFunc(ann.got, func(name string) bool { return name == eventRecoveryState })
					ann.wantGot("e1", "e2", "e3", "e4")
					if len(first.inbox) > 0 || given != "closed" && (first.reason == nil || *first.reason != ReasonTakenOver) {
						t.Errorf("the first return got %q and was closed for %v, want nothing and ReasonTakenOver", first.inbox, first.reason)
					}
					if r := w.hub.Recoveries(); r[RecoveryDone] != 1 {
						t.Errorf("recoveries counted by result: %v, want one that was done", r)
					}
					if n := len(w.hub.sessions.coming); n > 0 {
						t.Errorf("%d returns are in progress, want none", n)
					}
					if n := w.hub.Members("conversation:1"); n != 2 && phase != "its record is taken" {
						t.Errorf("%d members, want 2", n)
					}
					for _, packet := range bob.inbox {
						if strings.Contains(packet, "user_left") {
							t.Errorf("bob got %s, want no user_left", packet)
						}
					}
				})
			}
		}
	}
}

// A client returns eight times before the first return has finished. The last
// one must get the session, and the others must be closed.
func TestNewestOfManyReturnsGetsTheSession(t *testing.T) {
	w, past := newHistoryWorld(t, 3)
	ann := w.recoveringClient("ann")
	ann.join("1")
	ann.hangUp()
	past.publish(w, "conversation:1")
	past.slow = true
	var earlier []*client
	for range 7 {
		ann.dial(w)
		earlier = append(earlier, ann.client)
	}
	ann.dial(w)
	w.settle()
	for len(past.waiting) > 0 {
		answer := past.waiting[0]
		past.waiting = past.waiting[1:]
		answer()
		w.settle()
	}
	ann.readAnswer()
	ann.wantResult(RecoveryDone)
	ann.wantGot("e1")
	for i, c := range earlier {
		if c.reason == nil || *c.reason != ReasonTakenOver {
			t.Errorf("return %d was closed for %v, want ReasonTakenOver", i, c.reason)
		}
	}
}

// Another user tries to return with the pid of a client whose return is in
// progress. It must be refused, and the client must be recovered.
func TestReturnInProgressIsNotEndedByAnotherUser(t *testing.T) {
	w, past := newHistoryWorld(t, 2)
	ann := w.recoveringClient("ann")
	ann.join("1")
	ann.hangUp()
	past.publish(w, "conversation:1")
	past.slow = true
	ann.dial(w)
	eve := &recoveringClient{token: "eve", pid: ann.pid}
	eve.reconnect(w)
	eve.wantResult(RecoveryOtherUser)
	for _, answer := range past.waiting {
		answer()
	}
	w.settle()
	ann.readAnswer()
	ann.wantResult(RecoveryDone)
	ann.wantGot("e1")
	eve.wantGot()
}

// Another node takes the session of a client whose return is in progress here.
// The return must end, and the node must get the record. The members leave when
// the session is dissolved here.
func TestReturnInProgressEndsWhenAnotherNodeTakesTheSession(t *testing.T) {
	w, past, _ := newRecordStore(t)
	w.hub.Reachable(true, w.now)
	ann := w.recoveringClient("ann")
	ann.join("1")
	id := ann.id
	ann.hangUp()
	past.slow = true
	ann.dial(w)
	w.settle()
	var record *Record
	w.hub.Surrender(ann.pid, "ann", w.now, func(r *Record, _ RecoveryResult) { record = r })
	w.settle()
	if record == nil || record.ID != id || len(record.Rooms) != 2 {
		t.Fatalf("the other node got the record %+v, want that of the session with 2 rooms", record)
	}
	if ann.client.reason == nil || *ann.client.reason != ReasonTakenOver {
		t.Errorf("the return was closed for %v, want ReasonTakenOver", ann.client.reason)
	}
	if w.hub.Dissolve(ann.pid); w.hub.Members("conversation:1") != 1 {
		t.Errorf("%d members before the shard runs the task, want 1, the absent socket", w.hub.Members("conversation:1"))
	}
	w.settle()
	if n := w.hub.Members("conversation:1"); n != 0 {
		t.Errorf("%d members are left, want none", n)
	}
	w.at(w.now.Add(time.Minute))
}
