package rooms

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestReturningClientGetsMissedEvents(t *testing.T) {
	for _, shards := range []int{1, 3} {
		w, past := newHistoryWorld(t, shards)
		ann, bob := w.recoveringClient("ann"), w.connect("bob")
		past.publish(w, "conversation:1") // before the join, so it is not for ann
		ann.join("1")
		bob.emit("join_room", conversation("1"))
		past.publish(w, "conversation:1")
		ann.wantGot("e2")
		id := ann.id
		ann.hangUp()
		past.publish(w, "conversation:1")
		past.publish(w, "conversation:2")
		past.publish(w, "user:ann")
		ann.reconnect(w)
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
				t.Errorf("bob got %s, want no user_joined or user_left of a client that recovers", packet)
			}
		}
	}
}

func TestEachReasonNotToRecover(t *testing.T) {
	for name, x := range map[string]struct {
		away func(w *world, past *fakeHistory, ann *recoveringClient)
		want RecoveryResult
	}{
		"unknown pid":          {func(_ *world, _ *fakeHistory, ann *recoveringClient) { ann.pid = strings.Repeat("x", 20) }, RecoveryUnknown},
		"another user":         {func(_ *world, _ *fakeHistory, ann *recoveringClient) { ann.token = "eve" }, RecoveryOtherUser},
		"the window is over":   {func(w *world, _ *fakeHistory, _ *recoveringClient) { w.at(w.now.Add(3 * time.Minute)) }, RecoveryUnknown},
		"garbage offset":       {func(_ *world, _ *fakeHistory, ann *recoveringClient) { ann.offset = "hello" }, RecoveryOffset},
		"an offset beyond":     {func(_ *world, _ *fakeHistory, ann *recoveringClient) { ann.offset = logName + ".zz" }, RecoveryOffset},
		"another log":          {func(_ *world, _ *fakeHistory, ann *recoveringClient) { ann.offset = "log2.1" }, RecoveryOtherLog},
		"the log is another":   {func(w *world, _ *fakeHistory, _ *recoveringClient) { w.hub.Anew("log2", 0); w.settle() }, RecoveryOtherLog},
		"the log is too short": {func(_ *world, past *fakeHistory, _ *recoveringClient) { past.short = 100 }, RecoveryLogShort},
		"too much": {func(w *world, past *fakeHistory, _ *recoveringClient) {
			for range 12 {
				past.publish(w, "conversation:1")
			}
		}, RecoveryTooMuch},
		"an order during the grace": {func(w *world, _ *fakeHistory, _ *recoveringClient) {
			_ = w.hub.Obey(Order{User: "ann", Reason: "gone"})
			w.settle()
		}, RecoveryUnknown},
		"an order after the grace": {func(w *world, past *fakeHistory, _ *recoveringClient) {
			w.at(w.now.Add(10 * time.Second))
			past.passed++
			past.entries = append(past.entries, historyEntry{position: past.passed, order: &Order{User: "ann"}})
			past.hub.Passed(past.passed)
		}, RecoveryOrder},
		"events were lost": {func(w *world, _ *fakeHistory, _ *recoveringClient) { w.hub.Gap(); w.settle() }, RecoveryLogShort},
	} {
		t.Run(name, func(t *testing.T) {
			w, past := newHistoryWorld(t, 1, func(c *Config) { c.Recovery.MaxEvents = 10 })
			ann := w.recoveringClient("ann")
			ann.join("1")
			past.publish(w, "conversation:1")
			ann.wantGot("e1")
			ann.hangUp()
			pid := ann.pid
			x.away(w, past, ann)
			ann.reconnect(w)
			ann.wantResult(x.want)
			ann.wantGot("e1") // no missed event is sent
			if x.want != RecoveryOtherUser {
				return
			}
			ann.hangUp()
			ann.token, ann.pid = "ann", pid
			ann.reconnect(w)
			ann.wantResult(RecoveryDone) // the owner can still recover the session
		})
	}
}

func TestEventsDuringTheReplayAreSentOnce(t *testing.T) {
	w, past := newHistoryWorld(t, 2)
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
		t.Fatalf("got %v before the answer to CONNECT, want nothing", ann.inbox)
	}
	past.waiting[0]()
	w.settle()
	ann.readAnswer()
	past.publish(w, "conversation:1")
	ann.wantResult(RecoveryDone)
	ann.wantGot("e1", "e2", "e3", "e4")
}

func TestClientRecoversAfterAnInterruptedReturn(t *testing.T) {
	for name, late := range map[string]time.Duration{"within the grace": 0, "after the grace": 10 * time.Second} {
		w, past := newHistoryWorld(t, 2)
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
		ann.reconnect(w)
		ann.wantResult(RecoveryDone)
		ann.wantGot("e1", "e2")
		if n := w.hub.Members("conversation:1"); n != 2 {
			t.Errorf("%s: %d members, want 2", name, n)
		}
		if r := w.hub.Recoveries(); r[RecoveryDone] != 1 {
			t.Errorf("%s: recoveries counted by result: %v, want one that was done", name, r)
		}
	}
}

func TestReturnClosesTheOldConnection(t *testing.T) {
	for _, shards := range []int{1, 2} {
		w, past := newHistoryWorld(t, shards)
		ann := w.recoveringClient("ann")
		ann.join("1")
		past.publish(w, "conversation:1")
		old := ann.client
		ann.read()
		past.publish(w, "conversation:1") // sent on the old connection, which is dead
		ann.reconnect(w)
		w.settle()
		ann.wantResult(RecoveryDone)
		ann.wantGot("e1", "e2")
		if old.reason == nil || *old.reason != ReasonTakenOver {
			t.Errorf("the old connection was closed for %v, want ReasonTakenOver", old.reason)
		}
		if s := w.hub.Stats(); s.Sockets != 1 || s.Absent != 0 || s.Members != 2 {
			t.Errorf("stats %+v, want 1 socket, none absent, 2 members", s)
		}
	}
}

func TestUserLeftIsAnnouncedAfterTheGrace(t *testing.T) {
	w, _ := newHistoryWorld(t, 1)
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
	ann.reconnect(w) // after the grace
	ann.wantResult(RecoveryDone)
	bob.wantAbout("user_joined", ann.client, "conversation:1")
	ann.text("1") // disconnects by itself, so there is no grace
	bob.wantAbout("user_left", ann.client, "conversation:1")
}

func TestRoomsAreAuthorizedAgainAtARecovery(t *testing.T) {
	var answer error
	w, past := newHistoryWorld(t, 1, func(c *Config) {
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
		t.Fatalf("got %v, want room_revoked after the answer to CONNECT", ann.inbox)
	}
	ann.readAnswer()
	ann.wantGot("e1", "e3")
	ann.hangUp()
	answer = nil
	ann.reconnect(w)
	ann.wantGot("e1", "e3") // the room is not joined again
	if n := w.hub.Members("conversation:2"); n != 0 {
		t.Errorf("%d members of conversation:2, want none", n)
	}
}

// The client's right to a room is withdrawn while the client is absent, so it
// cannot be told then. It must be told when it comes back, and get no events of
// the room.
func TestReturningClientIsToldOfARoomThatWasRevoked(t *testing.T) {
	var answer error
	w, past := newHistoryWorld(t, 1, func(c *Config) {
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
		t.Fatalf("got %v, want room_revoked after the answer to CONNECT", ann.inbox)
	}
	ann.readAnswer()
	ann.wantGot("e1")
	if n := w.hub.Members("conversation:1"); n != 0 {
		t.Errorf("%d members of the room, want none", n)
	}
}

func TestOnlyClientsThatAskForRecoveryGetOffsets(t *testing.T) {
	w, past := newHistoryWorld(t, 1)
	bob, ann := w.connect("bob"), w.recoveringClient("ann")
	ann.join("1")
	bob.emit("join_room", conversation("1"))
	past.publish(w, "conversation:1")
	bob.want("e1", "{}")
	ann.wantGot("e1")
	if !strings.HasSuffix(string(ann.last.AppendPayload(nil)), `,{},"log1.1"]`) {
		t.Errorf("the client with recovery was sent %s, want the offset as the last argument", ann.last.AppendPayload(nil))
	}
}

func TestSessionsAreBounded(t *testing.T) {
	w, _ := newHistoryWorld(t, 1, func(c *Config) {
		c.Recovery.Grace, c.Recovery.PerUser, c.Recovery.MaxSessions = 0, 3, 5
	})
	for i := range 20 {
		w.recoveringClient("user" + strconv.Itoa(i%2)).hangUp()
	}
	if k := w.hub.KeptSessions(); k.Ended != 5 || k.Evicted == 0 || k.Live != 0 {
		t.Errorf("kept sessions %+v, want 5 ended ones, and some evicted", k)
	}
	w.hub.Shard(0).Expire(w.now.Add(DefaultWindow + time.Second))
	if k := w.hub.KeptSessions(); k.Ended != 0 || k.Bytes != 0 || len(w.hub.sessions.users) != 0 {
		t.Errorf("kept sessions after the window: %+v, want none", k)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(AppendRecord(nil, &Record{PID: "p", ID: "i", User: "u", Node: "n", Log: "l", Token: 7, Issued: 9,
		Rooms: []RoomFrom{{"user:u", 3}, {"conversation:1", 5}}, Ended: true, At: startTime, Given: 8, Last: 7, Left: true}))
	f.Add(AppendRecord(nil, &Record{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			return
		}
		again, err := ParseRecord(AppendRecord(nil, r))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(r) {
			t.Errorf("%+v was encoded and parsed as %+v, %v", r, again, err)
		}
	})
}

type authorizerFunc func(who Identity, room string, done func(error))

func (f authorizerFunc) Authorize(who Identity, room string, done func(error)) { f(who, room, done) }

// A user with many sessions in many rooms reaches its share of the memory for
// ended sessions. Its own sessions must be evicted then, and not the session of
// another user.
func TestSessionsOfOneUserDoNotEvictThoseOfOthers(t *testing.T) {
	const share = 3000 // bytes
	w, _ := newHistoryWorld(t, 1, func(c *Config) { c.Recovery.Grace, c.Recovery.MaxMemory = 0, userShare*share })
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
		t.Errorf("kept sessions %+v, want few bytes, and most sessions of eve evicted", k)
	}
	ann.reconnect(w)
	ann.wantResult(RecoveryDone)
}

// A user connects to three nodes with the same Redis, many times. A session has
// one record, which the limit PerUser of its node removes; so Redis may have
// PerUser records for each node, and no more.
func TestRecordsOfAUserInRedisAreLimitedForEachNode(t *testing.T) {
	const nodes, most = 3, 4
	redis := &recordStore{records: map[string]*Record{}}
	for range nodes {
		w, _ := newHistoryWorld(t, 1, func(c *Config) {
			c.Recovery.Remote, c.Recovery.Grace, c.Recovery.PerUser = redis, 0, most
		})
		for range 5 * most {
			eve := w.recoveringClient("eve")
			eve.join("1")
			eve.hangUp()
			if w.hub.KeptSessions().Ended > 1 { // and returns to one of them
				eve.reconnect(w)
				eve.hangUp()
			}
		}
	}
	if n := len(redis.records); n != nodes*most {
		t.Errorf("Redis has %d records, want %d", n, nodes*most)
	}
}

func TestCatchUpReturnsTheEventsOfARoom(t *testing.T) {
	w, past := newHistoryWorld(t, 1)
	for range 3 {
		past.publish(w, "conversation:1")
	}
	ann, bob := w.recoveringClient("ann"), w.connect("bob")
	ask := func(c *client, offset string) string {
		return c.ask("catch_up", fmt.Sprintf(`{"roomType":"conversation","roomId":"1","offset":%q}`, offset))
	}
	if got := ask(ann.client, "log1.1"); got != `{"error":"Not in room"}` {
		t.Errorf("before the join: got %s, want an error", got)
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
		t.Errorf("with events removed from the log: got %s, want an error", got)
	}
}
