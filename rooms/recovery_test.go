package rooms

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestAClientComesBackToWhatItMissed(t *testing.T) {
	for _, shards := range []int{1, 3} {
		w, past := newPast(t, shards)
		ann, bob := w.recoveringClient("ann"), w.connect("bob")
		past.publish(w, "conversation:1") // before the join
		ann.join("1")
		bob.emit("join_room", conversation("1"))
		past.publish(w, "conversation:1")
		ann.wantGot("e2")
		id := ann.id
		ann.hangUp()
		past.publish(w, "conversation:1")
		past.publish(w, "conversation:2")
		past.publish(w, "user:ann")
		ann.comeOn(w)
		ann.wantResult(RecoveryDone)
		if ann.id != id || ann.socket.ID() != id {
			t.Errorf("id %q, want %q", ann.id, id)
		}
		past.publish(w, "conversation:1")
		ann.wantGot("e2", "e3", "e5", "e6")
		if n := w.hub.Members("conversation:1"); n != 2 {
			t.Errorf("%d members, want 2", n)
		}
		for _, packet := range bob.inbox {
			if strings.Contains(packet, "user_left") || strings.Contains(packet, "user_joined") {
				t.Errorf("bob was told %s", packet)
			}
		}
	}
}

func TestEachReasonNotToRecover(t *testing.T) {
	forbid := map[string]bool{}
	for name, x := range map[string]struct {
		away func(w *world, past *pastLog, ann *recoveringClient)
		want RecoveryResult
	}{
		"nobody knows the pid": {func(_ *world, _ *pastLog, ann *recoveringClient) { ann.pid = strings.Repeat("x", 20) }, RecoveryUnknown},
		"another user":         {func(_ *world, _ *pastLog, ann *recoveringClient) { ann.token = "eve" }, RecoveryOtherUser},
		"the window is over":   {func(w *world, _ *pastLog, _ *recoveringClient) { w.at(w.now.Add(3 * time.Minute)) }, RecoveryUnknown},
		"garbage offset":       {func(_ *world, _ *pastLog, ann *recoveringClient) { ann.offset = "hello" }, RecoveryOffset},
		"an offset beyond":     {func(_ *world, _ *pastLog, ann *recoveringClient) { ann.offset = logName + ".zz" }, RecoveryOffset},
		"another log":          {func(_ *world, _ *pastLog, ann *recoveringClient) { ann.offset = "log2.1" }, RecoveryOtherLog},
		"the log is another":   {func(w *world, _ *pastLog, _ *recoveringClient) { w.hub.Anew("log2", 0); w.settle() }, RecoveryOtherLog},
		"the log is too short": {func(_ *world, past *pastLog, _ *recoveringClient) { past.short = 100 }, RecoveryLogShort},
		"too much": {func(w *world, past *pastLog, _ *recoveringClient) {
			for range 12 {
				past.publish(w, "conversation:1")
			}
		}, RecoveryTooMuch},
		"an order while it was there": {func(w *world, _ *pastLog, _ *recoveringClient) {
			_ = w.hub.Obey(Order{User: "ann", Reason: "gone"})
			w.settle()
		}, RecoveryUnknown},
		"an order while it was away": {func(w *world, past *pastLog, _ *recoveringClient) {
			w.at(w.now.Add(10 * time.Second))
			past.passed++
			past.entries = append(past.entries, pastEntry{position: past.passed, order: &Order{User: "ann"}})
			past.hub.Passed(past.passed)
		}, RecoveryOrder},
		"events were lost": {func(w *world, _ *pastLog, _ *recoveringClient) { w.hub.Gap(); w.settle() }, RecoveryLogShort},
	} {
		t.Run(name, func(t *testing.T) {
			w, past := newPast(t, 1, func(c *Config) { c.Recovery.MaxEvents = 10 })
			_ = forbid
			ann := w.recoveringClient("ann")
			ann.join("1")
			past.publish(w, "conversation:1")
			ann.wantGot("e1")
			ann.hangUp()
			pid := ann.pid
			x.away(w, past, ann)
			ann.comeOn(w)
			ann.wantResult(x.want)
			ann.wantGot("e1") // nothing is replayed
			if x.want != RecoveryOtherUser {
				return
			}
			ann.hangUp()
			ann.token, ann.pid = "ann", pid
			ann.comeOn(w)
			ann.wantResult(RecoveryDone) // the record is still its owner's
		})
	}
}

func TestEventsThatComeWhileTheHistoryIsReadComeOnce(t *testing.T) {
	w, past := newPast(t, 2)
	ann := w.recoveringClient("ann")
	ann.join("1")
	past.publish(w, "conversation:1")
	ann.read()
	ann.hangUp()
	past.publish(w, "conversation:1")
	past.slow = true
	ann.dial(w)
	past.publish(w, "conversation:1")
	if len(ann.inbox) > 0 {
		t.Fatalf("got %v before the answer", ann.inbox)
	}
	past.waiting[0]()
	w.settle()
	ann.answered()
	past.publish(w, "conversation:1")
	ann.wantResult(RecoveryDone)
	ann.wantGot("e1", "e2", "e3", "e4")
}

func TestAReturnThatIsCutOffLeavesTheSessionToTheNextOne(t *testing.T) {
	for name, late := range map[string]time.Duration{"within the grace": 0, "behind the grace": 10 * time.Second} {
		w, past := newPast(t, 2)
		bob := w.connect("bob")
		bob.emit("join_room", conversation("1"))
		ann := w.recoveringClient("ann")
		ann.join("1")
		past.publish(w, "conversation:1")
		ann.read()
		ann.hangUp()
		past.publish(w, "conversation:1")
		past.slow = true
		ann.dial(w)
		ann.hangUp()
		for _, answer := range past.waiting {
			answer()
		}
		past.slow = false
		w.at(w.now.Add(late))
		ann.comeOn(w)
		ann.wantResult(RecoveryDone)
		ann.wantGot("e1", "e2")
		if n := w.hub.Members("conversation:1"); n != 2 {
			t.Errorf("%s: %d members, want 2", name, n)
		}
		if r := w.hub.Recoveries(); r[RecoveryDone] != 1 {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestWhoComesBackBeforeItsConnectionIsNoticedTakesItOver(t *testing.T) {
	for _, shards := range []int{1, 2} {
		w, past := newPast(t, shards)
		ann := w.recoveringClient("ann")
		ann.join("1")
		past.publish(w, "conversation:1")
		old := ann.client
		ann.read()
		past.publish(w, "conversation:1") // written to a connection that is dead
		ann.comeOn(w)
		w.settle()
		ann.wantResult(RecoveryDone)
		ann.wantGot("e1", "e2")
		if old.reason == nil || *old.reason != ReasonTakenOver {
			t.Errorf("the old connection ended with %v", old.reason)
		}
		if s := w.hub.Stats(); s.Sockets != 1 || s.Absent != 0 || s.Members != 2 {
			t.Errorf("%+v", s)
		}
	}
}

func TestPresenceWaitsForWhoMayComeBack(t *testing.T) {
	w, _ := newPast(t, 1)
	bob, ann := w.connect("bob"), w.recoveringClient("ann")
	bob.emit("join_room", conversation("1"))
	ann.join("1")
	bob.wantAbout("user_joined", ann.client, "conversation:1")
	ann.hangUp()
	w.at(w.now.Add(4 * time.Second))
	w.hub.Shard(0).Expire(w.now)
	w.settle()
	bob.wantNothing()
	w.at(w.now.Add(2 * time.Second))
	bob.wantAbout("user_left", ann.client, "conversation:1")
	ann.comeOn(w) // later than the grace
	ann.wantResult(RecoveryDone)
	bob.wantAbout("user_joined", ann.client, "conversation:1")
	ann.text("1") // says goodbye: nobody waits
	bob.wantAbout("user_left", ann.client, "conversation:1")
}

func TestRoomsAreAskedForAgain(t *testing.T) {
	var answer error
	w, past := newPast(t, 1, func(c *Config) {
		c.Authorizer = authorizerFunc(func(_ Identity, room string, done func(error)) {
			if room == "conversation:2" {
				done(answer)
				return
			}
			done(nil)
		})
	})
	ann := w.recoveringClient("ann")
	ann.join("1")
	ann.join("2")
	past.publish(w, "conversation:1")
	ann.read()
	ann.hangUp()
	past.publish(w, "conversation:2")
	past.publish(w, "conversation:1")
	answer = ErrNotAllowed
	ann.dial(w)
	if len(ann.inbox) < 2 || !strings.Contains(ann.inbox[1], `["room_revoked",{"room":"conversation:2"`) {
		t.Fatalf("got %v", ann.inbox)
	}
	ann.answered()
	ann.wantGot("e1", "e3")
	ann.hangUp()
	answer = nil
	ann.comeOn(w)
	ann.wantGot("e1", "e3") // it does not come back into the room
	if n := w.hub.Members("conversation:2"); n != 0 {
		t.Errorf("%d members", n)
	}
}

// TestARoomThatWasWithdrawnWhileTheClientWasAway: nobody was there to be told
// when the right was withdrawn, so the client is told when it comes back.
func TestARoomThatWasWithdrawnWhileTheClientWasAway(t *testing.T) {
	var answer error
	w, past := newPast(t, 1, func(c *Config) {
		c.Authorizer = authorizerFunc(func(_ Identity, _ string, done func(error)) { done(answer) })
	})
	ann := w.recoveringClient("ann")
	ann.join("1")
	past.publish(w, "conversation:1")
	ann.read()
	ann.hangUp()
	answer = ErrNotAllowed
	w.hub.Expel("conversation:1", []string{"ann"}, "no longer a member")
	w.settle()
	past.publish(w, "conversation:1")
	ann.dial(w)
	if len(ann.inbox) < 2 || !strings.Contains(ann.inbox[1], `["room_revoked",{"room":"conversation:1"`) {
		t.Fatalf("got %v, want room_revoked behind the answer", ann.inbox)
	}
	ann.answered()
	ann.wantGot("e1")
	if n := w.hub.Members("conversation:1"); n != 0 {
		t.Errorf("%d members of the room, want none", n)
	}
}

func TestWhoDoesNotAskSeesNoDifference(t *testing.T) {
	w, past := newPast(t, 1)
	bob, ann := w.connect("bob"), w.recoveringClient("ann")
	ann.join("1")
	bob.emit("join_room", conversation("1"))
	past.publish(w, "conversation:1")
	bob.want("e1", "{}")
	ann.wantGot("e1")
	if !strings.HasSuffix(string(ann.last.AppendPayload(nil)), `,{},"log1.1"]`) {
		t.Errorf("sent %s", ann.last.AppendPayload(nil))
	}
}

func TestSessionsAreBounded(t *testing.T) {
	w, _ := newPast(t, 1, func(c *Config) {
		c.Recovery.Grace, c.Recovery.PerUser, c.Recovery.MaxSessions = 0, 3, 5
	})
	for i := range 20 {
		w.recoveringClient("user" + strconv.Itoa(i%2)).hangUp()
	}
	if k := w.hub.KeptSessions(); k.Ended != 5 || k.Evicted == 0 || k.Live != 0 {
		t.Errorf("%+v", k)
	}
	w.hub.Shard(0).Expire(w.now.Add(DefaultWindow + time.Second))
	if k := w.hub.KeptSessions(); k.Ended != 0 || k.Bytes != 0 || len(w.hub.sessions.users) != 0 {
		t.Errorf("%+v", k)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(AppendRecord(nil, &Record{PID: "p", ID: "i", User: "u", Node: "n", Log: "l", Token: 7, Issued: 9,
		Rooms: []RoomFrom{{"user:u", 3}, {"conversation:1", 5}}, Ended: true, At: dawn, Given: 8, Last: 7, Left: true}))
	f.Add(AppendRecord(nil, &Record{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			return
		}
		again, err := ParseRecord(AppendRecord(nil, r))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(r) {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}

type authorizerFunc func(who Identity, room string, done func(error))

func (f authorizerFunc) Authorize(who Identity, room string, done func(error)) { f(who, room, done) }

// TestOneUserDoesNotDriveOutTheSessionsOfOthers, whatever its records hold.
func TestOneUserDoesNotDriveOutTheSessionsOfOthers(t *testing.T) {
	const share = 3000 // bytes
	w, _ := newPast(t, 1, func(c *Config) { c.Recovery.Grace, c.Recovery.MaxMemory = 0, userShare*share })
	ann := w.recoveringClient("ann")
	ann.hangUp()
	for range 200 {
		eve := w.recoveringClient("eve")
		for room := range 20 {
			eve.join(strings.Repeat("x", 40) + strconv.Itoa(room))
		}
		eve.hangUp()
	}
	if k := w.hub.KeptSessions(); k.Bytes > 2*share || k.Evicted < 190 {
		t.Errorf("%+v", k)
	}
	ann.comeOn(w)
	ann.wantResult(RecoveryDone)
}

// TestRedisHasOneRecordOfASession, which the bounds of the node limit that has
// it: N nodes have N times as many of one user.
func TestRedisHasOneRecordOfASession(t *testing.T) {
	const nodes, most = 3, 4
	redis := &recordStore{records: map[string]*Record{}}
	for range nodes {
		w, _ := newPast(t, 1, func(c *Config) {
			c.Recovery.Remote, c.Recovery.Grace, c.Recovery.PerUser = redis, 0, most
		})
		for range 5 * most {
			eve := w.recoveringClient("eve")
			eve.join("1")
			eve.hangUp()
			if w.hub.KeptSessions().Ended > 1 { // and comes back to one of them
				eve.comeOn(w)
				eve.hangUp()
			}
		}
	}
	if n := len(redis.records); n != nodes*most {
		t.Errorf("Redis has %d records, want %d", n, nodes*most)
	}
}

func TestAClientCatchesUpWithARoom(t *testing.T) {
	w, past := newPast(t, 1)
	for range 3 {
		past.publish(w, "conversation:1")
	}
	ann, bob := w.recoveringClient("ann"), w.connect("bob")
	ask := func(c *client, offset string) string {
		return c.ask("catch_up", fmt.Sprintf(`{"roomType":"conversation","roomId":"1","offset":%q}`, offset))
	}
	if got := ask(ann.client, "log1.1"); got != `{"error":"Not in room"}` {
		t.Error(got)
	}
	ann.join("1")
	bob.emit("join_room", conversation("1"))
	ann.inbox, bob.inbox = nil, nil
	for _, x := range []struct {
		c            *client
		offset, want string
	}{
		{ann.client, "log1.1", `{"success":true,"events":[["e2",{},"log1.2"],["e3",{},"log1.3"]]}`},
		{ann.client, "log1.3", `{"success":true,"events":[]}`},
		{ann.client, "log2.3", `{"error":"Events are not kept that long"}`},
		{ann.client, "3", `{"error":"Invalid offset"}`},
		{bob, "log1.1", `{"error":"Recovery was not asked for"}`},
	} {
		if got := ask(x.c, x.offset); got != x.want {
			t.Errorf("offset %s: %s, want %s", x.offset, got, x.want)
		}
	}
	past.short = 2
	if got := ask(ann.client, "log1.1"); got != `{"error":"Events are not kept that long"}` {
		t.Error(got)
	}
}
