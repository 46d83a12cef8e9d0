package rooms

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
)

// forgetSessions empties the node's table of sessions. After that the hub
// stands for another node with the same Redis, or for a node that has
// restarted.
func (w *world) forgetSessions() {
	w.hub.sessions.live = pidTable{}
	clear(w.hub.sessions.ended)
}

func (g *recoveringClient) acks() (n int) {
	for _, packet := range g.inbox {
		if strings.HasPrefix(packet, "43") {
			n++
		}
	}
	return n
}

func TestJoinAndLeaveAreAcknowledgedWhenRedisHasTheRecord(t *testing.T) {
	w, past, redis := newRecordStore(t)
	ann := w.recoveringClient("ann")
	redis.held = true
	for _, event := range []string{"join_room", "join_room", "leave_room", "leave_room"} {
		ann.text("27" + eventText(event, []string{conversation("1")}))
		if n := ann.acks(); n != 0 {
			t.Fatalf("%s was acknowledged before Redis had it", event)
		}
		redis.answer(true)
		w.settle()
		if n := ann.acks(); n != 1 {
			t.Errorf("%d acks of %s after Redis had it, want 1", n, event)
		}
		ann.read()
	}
	bob := w.connect("bob")
	redis.held = true
	bob.ask("join_room", conversation("1")) // a client without recovery is answered at once
	past.publish(w, "user:ann")
	ann.wantGot("e1")
}

// Redis does not confirm the record with a change of rooms, so the change is
// acknowledged without it. If the node is lost then, recovery must fail; it
// must succeed if the node still has the session, or if Redis has got the
// record after all.
func TestRecoveryAfterARoomChangeThatRedisDidNotConfirm(t *testing.T) {
	for name, x := range map[string]struct {
		room, event string
		nodeLost    bool
		later       bool // Redis got the record, but did not confirm it
		want        RecoveryResult
		got         []string
	}{
		"a join":              {"2", "join_room", true, false, RecoveryStale, nil},
		"a leave":             {"1", "leave_room", true, false, RecoveryStale, nil},
		"the node lives":      {"2", "join_room", false, false, RecoveryDone, []string{"e1", "recovery_state", "e2"}},
		"Redis gets it later": {"2", "join_room", true, true, RecoveryDone, []string{"e1", "recovery_state", "e2", "recovery_state"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, past, redis := newRecordStore(t)
			ann := w.recoveringClient("ann")
			ann.join("1")
			past.publish(w, "conversation:1")
			ann.wantGot("e1")
			redis.held = true
			ann.text("27" + eventText(x.event, []string{conversation(x.room)}))
			redis.held = !x.later
			redis.answer(false)
			w.settle()
			if n := ann.acks(); n != 1 {
				t.Fatalf("%d acknowledgements, want 1", n)
			}
			ann.read()
			if x.nodeLost {
				w.forgetSessions()
			} else {
				ann.hangUp()
			}
			past.publish(w, "conversation:"+x.room)
			ann.reconnect(w)
			ann.wantResult(x.want)
			if x.want == RecoveryDone {
				ann.wantGot(x.got...)
			}
		})
	}
}

// Another node recovers a session from its record while this node is thought to
// be dead, and the rooms change there. When the client comes back to this node,
// which still has the old session, recovery must fail.
func TestNodeWhoseSessionWasRecoveredElsewhereCannotRecoverIt(t *testing.T) {
	w, past, redis := newRecordStore(t)
	ann := w.recoveringClient("ann")
	ann.join("1")
	past.publish(w, "conversation:1")
	ann.wantGot("e1")
	before, _ := ParseOffset(ann.offset)
	live := w.hub.sessions.holder(ann.pid)
	w.forgetSessions() // the other node
	past.wanted = false
	ann.reconnect(w)
	ann.wantResult(RecoveryDone)
	if !past.wanted {
		t.Error("the node that recovered the session was not told to keep events")
	}
	ann.join("2") // on the other node
	after, ok := ParseOffset(ann.offset)
	if !ok || after.Fence == before.Fence || after.Position < before.Position {
		t.Fatalf("offset %q, want another fence and a position not below that of the first node", ann.offset)
	}
	ann.hangUp()
	w.forgetSessions()
	delete(redis.records, ann.pid)
	w.hub.sessions.live.put(live) // the first node is back
	ann.reconnect(w)
	ann.wantResult(RecoveryStale)
}

// Events were lost on this node (Hub.Gap). Sessions must not be recovered
// across the gap: neither from the node's table, nor from a record in Redis
// written before it.
func TestNoRecoveryAcrossLostEvents(t *testing.T) {
	w, past, redis := newRecordStore(t)
	ann, bob := w.recoveringClient("ann"), w.recoveringClient("bob")
	ann.join("1")
	bob.join("1")
	past.publish(w, "conversation:1")
	bob.hangUp()
	w.at(w.now.Add(time.Minute))
	kept := *redis.records[ann.pid]
	w.hub.Gap()
	w.settle()
	past.publish(w, "conversation:1")
	ann.wantGot("e1", "e2")
	if redis.records[bob.pid] != nil {
		t.Error("Redis still has the record of a session that ended before the gap")
	}
	w.forgetSessions()
	redis.records[ann.pid] = &kept
	ann.reconnect(w)
	ann.wantResult(RecoveryStale)
	bob.reconnect(w)
	bob.wantResult(RecoveryUnknown)
}

// Redis loses all records while it is unreachable. When it is back, the node
// must write the records of connected clients on each loop, of absent clients
// and of ended sessions.
func TestAllRecordsAreWrittenWhenRedisIsBack(t *testing.T) {
	redis := &recordStore{records: map[string]*Record{}}
	w, _ := newHistoryWorld(t, 2, func(c *Config) { c.Recovery.Remote, c.Recovery.Grace = redis, time.Minute })
	w.hub.Reachable(true, w.now)
	ended := w.recoveringClient("zoe")
	ended.hangUp()
	w.at(w.now.Add(time.Minute))
	clients := []*recoveringClient{w.recoveringClient("ann"), w.recoveringClient("bob"), w.recoveringClient("eve"), w.recoveringClient("joe"), ended}
	clients[0].hangUp()
	loops := make(map[*Shard]bool)
	for _, s := range w.hub.sessions.sockets() {
		loops[s.shard] = true
	}
	if len(loops) != 2 {
		t.Fatalf("sessions on %d loops, want 2", len(loops))
	}
	w.hub.Reachable(false, w.now)
	clear(redis.records)
	w.hub.Reachable(true, w.now)
	w.settle()
	for i, g := range clients {
		if redis.records[g.pid] == nil {
			t.Errorf("Redis has no record of client %d", i)
		}
	}
}

// A client changes a room and comes back before Redis has confirmed the record.
// The session must get a new fence, so that a return with the older record,
// which does not have that fence, fails.
func TestReturnBeforeTheRecordIsSavedGetsANewFence(t *testing.T) {
	for name, answer := range map[string]func(d *recordStore, w *world){
		"not yet": func(*recordStore, *world) {},
		"not in time": func(d *recordStore, w *world) {
			d.answer(false)
			w.settle()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, past, redis := newRecordStore(t)
			ann := w.recoveringClient("ann")
			ann.join("1")
			past.publish(w, "conversation:1")
			ann.wantGot("e1")
			old := *redis.records[ann.pid]
			redis.held = true
			ann.text("27" + eventText("join_room", []string{conversation("2")}))
			ann.hangUp()
			answer(redis, w)
			ann.reconnect(w)
			ann.wantResult(RecoveryDone)
			ann.hangUp()
			w.forgetSessions()
			redis.held, redis.records[ann.pid] = false, &old
			ann.reconnect(w)
			ann.wantResult(RecoveryStale)
		})
	}
}

// A record without positions comes from Redis after the connection of the
// client has ended. It must not be restored: position 0 would mean the position
// at which this node began to read the log.
func TestSessionWithoutPositionsIsNotRestoredOnAnotherNode(t *testing.T) {
	for name, x := range map[string]struct {
		from uint64
		want RecoveryResult
	}{"without": {0, RecoveryUnknown}, "with": {1, RecoveryDone}} {
		t.Run(name, func(t *testing.T) {
			var taken []func(*Record, RecoveryResult)
			redis := &slowRecordStore{recordStore: recordStore{records: map[string]*Record{}}, taken: &taken}
			w, past := newHistoryWorld(t, 1, func(c *Config) { c.Recovery.Remote = redis })
			past.publish(w, "conversation:1")
			rooms := []RoomFrom{{"user:ann", x.from}, {"conversation:1", x.from}}
			r := &Record{PID: "01234567890123456789", ID: "abcdefghijklmnopqrst", User: "ann", Node: "b", Log: logName, Rooms: rooms, Ended: true, At: w.now, Given: 1}
			ann := &recoveringClient{token: "ann", pid: r.PID}
			ann.dial(w)
			ann.hangUp()
			taken[0](r, RecoveryDone)
			w.settle()
			ann.dial(w)
			if len(taken) > 1 {
				taken[1](nil, RecoveryUnknown)
				w.settle()
			}
			ann.readAnswer()
			ann.wantResult(x.want)
		})
	}
}

// A slowRecordStore keeps the callbacks of Take, for the test to call.
type slowRecordStore struct {
	recordStore
	taken *[]func(*Record, RecoveryResult)
}

func (d *slowRecordStore) Take(_, _ string, done func(*Record, RecoveryResult)) {
	*d.taken = append(*d.taken, done)
}

// The record says that the client was sent event 2, but the client got only
// event 1, and this node has not read event 2 yet. The new fence must be sent
// with position 1, and event 2 must be sent afterwards.
func TestFenceIsSentWithAPositionThatTheClientHas(t *testing.T) {
	w, past, redis := newRecordStore(t)
	ann := w.recoveringClient("ann")
	ann.join("1")
	past.publish(w, "conversation:1")
	ann.wantGot("e1")
	r := *redis.records[ann.pid]
	r.Ended, r.At, r.Given, r.Last = true, w.now, 2, 2
	ann.hangUp()
	w.forgetSessions()
	redis.records[ann.pid] = &r
	ann.reconnect(w)
	ann.wantResult(RecoveryDone)
	if o, _ := ParseOffset(ann.offset); o.Position != 1 || o.Fence == 0 {
		t.Errorf("offset %q, want position 1 and a fence", ann.offset)
	}
	past.publish(w, "conversation:1")
	ann.wantGot("e1", "recovery_state", "e2")
}

// During a return the record must stay in Redis, so that the session survives
// the loss of this node. The record must be removed if the client could not be
// recovered.
func TestRecordStaysInRedisDuringAReturn(t *testing.T) {
	redis := &recordStore{records: map[string]*Record{}}
	w, past := newHistoryWorld(t, 1, func(c *Config) { c.Recovery.Remote, c.Recovery.Grace = redis, time.Minute })
	ann := w.recoveringClient("ann")
	pid := ann.pid
	ann.hangUp()
	past.slow = true
	for _, early := range []bool{true, false} {
		ann.dial(w)
		w.settle()
		if r := redis.records[pid]; r == nil || r.Node != "a" {
			t.Errorf("during the return Redis has the record %+v, want one of node a", r)
		}
		if early {
			ann.hangUp()
			w.settle()
		}
	}
	w.hub.Gap()
	w.settle()
	for _, answer := range past.waiting {
		answer()
	}
	w.settle()
	ann.readAnswer()
	ann.wantResult(RecoveryLogShort)
	if redis.records[pid] != nil {
		t.Error("Redis still has the record of a session that cannot be recovered")
	}
}

// A session is taken by another node, and ends before the shard has run the
// task. The session must be taken from the table of ended sessions.
func TestSessionThatEndsWhileItIsTakenIsFound(t *testing.T) {
	w, _ := newHistoryWorld(t, 1)
	ann := w.recoveringClient("ann")
	s := w.hub.sessions.holder(ann.pid)
	s.makeAbsent("", w.now)
	var result RecoveryResult
	var record *Record
	w.hub.takeHere(ann.pid, "ann", nil, w.now, func(x taken) { record, result = x.record, x.why })
	s.depart(w.now) // before the shard runs the task
	w.settle()
	if record == nil || result != RecoveryDone {
		t.Errorf("record %v, result %v, want a record and RecoveryDone", record, result)
	}
}

// A node was cut off, and Redis says that another node has the session by now. The
// node must not write its record, and must forget the session.
func TestRecordOfAnotherNodeIsNotOverwritten(t *testing.T) {
	redis := &otherOwner{recordStore{records: map[string]*Record{}}}
	w, _ := newHistoryWorld(t, 1, func(c *Config) { c.Recovery.Remote = redis })
	w.hub.Reachable(true, w.now)
	ann := w.recoveringClient("ann")
	clear(redis.records)
	w.hub.Reachable(false, w.now)
	w.hub.Reachable(true, w.now)
	w.settle()
	if redis.records[ann.pid] != nil {
		t.Error("the node has written a record for the session of another node")
	}
	if k := w.hub.KeptSessions(); k.Live != 0 {
		t.Errorf("the node still has the session: %+v", k)
	}
}

// An otherOwner says that another node has every session.
type otherOwner struct{ recordStore }

func (*otherOwner) Elsewhere(_ string, done func(uint32, bool)) { done(1, true) }

func TestOffsets(t *testing.T) {
	for text, want := range map[string]Offset{
		"log1.1":       {"log1", 1, 0},
		"log1.zz":      {"log1", 35*36 + 35, 0},
		"log1.1.a":     {"log1", 1, 10},
		"log1.0.a":     {"log1", 0, 10},
		"log1.1z141z3": {"log1", 4294967295, 0},
	} {
		if o, ok := ParseOffset(text); !ok || o != want {
			t.Errorf("%s: %+v %v, want %+v", text, o, ok, want)
		}
	}
	for _, text := range []string{
		"", "log1", ".1", "log1.", "log1.0", "log1.01", "log1.A", "log1.1.", "log1.1.0", "log1.1.01",
		"log1.1.1z141z4", "log1.1.2.3", "log1.zzzzzzzzzzzzz", "log1. 1",
	} {
		if o, ok := ParseOffset(text); ok {
			t.Errorf("%q was parsed as %+v, want an error", text, o)
		}
	}
}

func TestRecordsOfEvictedSessionsAreRemovedFromRedis(t *testing.T) {
	redis := &recordStore{records: map[string]*Record{}}
	w, _ := newHistoryWorld(t, 1, func(c *Config) {
		c.Recovery.Remote, c.Recovery.Grace, c.Recovery.PerUser, c.Recovery.MaxSessions = redis, 0, 3, 5
	})
	for i := range 20 {
		g := w.recoveringClient("user" + strconv.Itoa(i%4))
		g.hangUp()
		w.settle()
	}
	if n := len(redis.records); n != 5 {
		t.Errorf("Redis has %d records, want 5", n)
	}
	w.recoveringClient("ann").text("1") // disconnects by itself
	if n := len(redis.records); n != 5 {
		t.Errorf("Redis has %d records after a client has disconnected by itself, want 5", n)
	}
}

func TestOffsetsOfOnePositionHaveOneLength(t *testing.T) {
	want := len(codec.AppendOffset(nil, "log", 1, firstFence))
	for range 1000 {
		if got := codec.AppendOffset(nil, "log", 1, newFence()); len(got) != want {
			t.Fatalf("offset %s has %d bytes, want %d", got, len(got), want)
		}
	}
}
