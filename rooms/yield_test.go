package rooms

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A delayedRecordStore returns records when the test says so.
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

// A delayedAuthorizer allows everything, when the test says so.
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

// TestALaterReturnOfAClientGetsTheSession, however far the first one is, and
// whether or not this node knows that the client has given it up.
func TestALaterReturnOfAClientGetsTheSession(t *testing.T) {
	for _, phase := range []string{"its record is taken", "its rooms are asked for", "its history is read"} {
		for _, given := range []string{"given up", "given up in silence"} {
			for _, shards := range []int{1, 3} {
				t.Run(phase+", "+given, func(t *testing.T) {
					redis, policy := &delayedRecordStore{recordStore: recordStore{records: map[string]*Record{}}}, &delayedAuthorizer{}
					w, past := newPast(t, shards, func(c *Config) { c.Recovery.Remote, c.Authorizer = redis, policy })
					bob, ann := w.connect("bob"), w.recoveringClient("ann")
					bob.emit("join_room", conversation("1"))
					ann.join("1")
					past.publish(w, "conversation:1")
					ann.wantGot("e1")
					ann.hangUp()
					past.publish(w, "conversation:1")
					switch phase {
					case "its record is taken":
						w.hub.sessions.live = pidTable{} // as if Redis had it alone
					case "its rooms are asked for":
						policy.slow = true
					default:
						past.slow = true
					}
					ann.dial(w)
					first := ann.client
					w.settle()
					if given == "given up" {
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
					ann.answered()
					ann.wantResult(RecoveryDone)
					past.publish(w, "conversation:1")
					ann.read()
					ann.got = slices.DeleteFunc(ann.got, func(name string) bool { return name == eventRecoveryState })
					ann.wantGot("e1", "e2", "e3", "e4")
					if len(first.inbox) > 0 || given != "given up" && (first.reason == nil || *first.reason != ReasonTakenOver) {
						t.Errorf("the first return got %q and ended with %v", first.inbox, first.reason)
					}
					if r := w.hub.Recoveries(); r[RecoveryDone] != 1 {
						t.Errorf("counted %v", r)
					}
					if n := len(w.hub.sessions.coming); n > 0 {
						t.Errorf("%d returns are still under way", n)
					}
					if n := w.hub.Members("conversation:1"); n != 2 && phase != "its record is taken" {
						t.Errorf("%d members, want 2", n)
					}
					for _, packet := range bob.inbox {
						if strings.Contains(packet, "user_left") {
							t.Errorf("bob was told %s", packet)
						}
					}
				})
			}
		}
	}
}

// TestTheNewestOfManyReturnsGetsTheSession: the others end.
func TestTheNewestOfManyReturnsGetsTheSession(t *testing.T) {
	w, past := newPast(t, 3)
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
	ann.answered()
	ann.wantResult(RecoveryDone)
	ann.wantGot("e1")
	for i, c := range earlier {
		if c.reason == nil || *c.reason != ReasonTakenOver {
			t.Errorf("return %d ended with %v", i, c.reason)
		}
	}
}

// TestAReturnUnderWayYieldsToNobodyElse: the pid is worth nothing to another
// user.
func TestAReturnUnderWayYieldsToNobodyElse(t *testing.T) {
	w, past := newPast(t, 2)
	ann := w.recoveringClient("ann")
	ann.join("1")
	ann.hangUp()
	past.publish(w, "conversation:1")
	past.slow = true
	ann.dial(w)
	eve := &recoveringClient{token: "eve", pid: ann.pid}
	eve.comeOn(w)
	eve.wantResult(RecoveryOtherUser)
	for _, answer := range past.waiting {
		answer()
	}
	w.settle()
	ann.answered()
	ann.wantResult(RecoveryDone)
	ann.wantGot("e1")
	eve.wantGot()
}

// TestAReturnUnderWayYieldsToAnotherNode.
func TestAReturnUnderWayYieldsToAnotherNode(t *testing.T) {
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
		t.Fatalf("record %+v", record)
	}
	if ann.client.reason == nil || *ann.client.reason != ReasonTakenOver {
		t.Errorf("the return ended with %v", ann.client.reason)
	}
	if w.hub.Dissolve(ann.pid); w.hub.Members("conversation:1") != 1 {
		t.Errorf("%d members, want the absent one", w.hub.Members("conversation:1"))
	}
	w.settle()
	if n := w.hub.Members("conversation:1"); n != 0 {
		t.Errorf("%d members are left", n)
	}
	w.at(w.now.Add(time.Minute))
}
