package rooms

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/codec"
)

// dies has the node forget its sessions, as if it were another one with the
// same Redis.
func (w *world) dies() {
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

func TestAChangeOfRoomsIsAcknowledgedWhenRedisHasIt(t *testing.T) {
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
			t.Errorf("%d acknowledgements of %s, want 1", n, event)
		}
		ann.read()
	}
	bob := w.connect("bob")
	redis.held = true
	bob.ask("join_room", conversation("1")) // who did not ask for recovery does not wait
	past.publish(w, "user:ann")
	ann.wantGot("e1")
}

// TestAChangeThatRedisDoesNotKnowIsNotForgottenInSilence when the node dies.
func TestAChangeThatRedisDoesNotKnowIsNotForgottenInSilence(t *testing.T) {
	for name, x := range map[string]struct {
		room, event string
		dies        bool
		later       bool // Redis has the record in the end
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
			if x.dies {
				w.dies()
			} else {
				ann.hangUp()
			}
			past.publish(w, "conversation:"+x.room)
			ann.comeOn(w)
			ann.wantResult(x.want)
			if x.want == RecoveryDone {
				ann.wantGot(x.got...)
			}
		})
	}
}

// TestANodeThatWasTakenForDeadDoesNotKnowTheSessionAnyMore.
func TestANodeThatWasTakenForDeadDoesNotKnowTheSessionAnyMore(t *testing.T) {
	w, past, redis := newRecordStore(t)
	ann := w.recoveringClient("ann")
	ann.join("1")
	past.publish(w, "conversation:1")
	ann.wantGot("e1")
	before, _ := ParseOffset(ann.offset)
	live := w.hub.sessions.holder(ann.pid)
	w.dies() // the other node
	past.wanted = false
	ann.comeOn(w)
	ann.wantResult(RecoveryDone)
	if !past.wanted {
		t.Error("a node that has just started goes on keeping no events")
	}
	ann.join("2") // there
	after, ok := ParseOffset(ann.offset)
	if !ok || after.Fence == before.Fence || after.Position < before.Position {
		t.Fatalf("offset %q", ann.offset)
	}
	ann.hangUp()
	w.dies()
	delete(redis.records, ann.pid)
	w.hub.sessions.live.put(live) // the first node, which is back
	ann.comeOn(w)
	ann.wantResult(RecoveryStale)
}

// TestNobodyRecoversOverEventsThatWereLost from a record in Redis either.
func TestNobodyRecoversOverEventsThatWereLost(t *testing.T) {
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
		t.Error("the record of an ended session is still in Redis")
	}
	w.dies()
	redis.records[ann.pid] = &kept
	ann.comeOn(w)
	ann.wantResult(RecoveryStale)
	bob.comeOn(w)
	bob.wantResult(RecoveryUnknown)
}

// TestARedisThatIsBackGetsAllRecords of connected clients on each loop, of absent
// ones, and of those that have ended.
func TestARedisThatIsBackGetsAllRecords(t *testing.T) {
	redis := &recordStore{records: map[string]*Record{}}
	w, _ := newPast(t, 2, func(c *Config) { c.Recovery.Remote, c.Recovery.Grace = redis, time.Minute })
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
			t.Errorf("the record of recoveringClient %d is lost", i)
		}
	}
}

// TestASessionThatIsTakenBeforeRedisHasItsRoomsGetsAnotherFence, which the
// record that Redis has does not have.
func TestASessionThatIsTakenBeforeRedisHasItsRoomsGetsAnotherFence(t *testing.T) {
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
			ann.comeOn(w)
			ann.wantResult(RecoveryDone)
			ann.hangUp()
			w.dies()
			redis.held, redis.records[ann.pid] = false, &old
			ann.comeOn(w)
			ann.wantResult(RecoveryStale)
		})
	}
}

// TestASessionWithoutPositionsIsNotPutBackOnAnotherNode when its client's
// connection has ended before the record came: 0 would mean where this node
// began to read the log.
func TestASessionWithoutPositionsIsNotPutBackOnAnotherNode(t *testing.T) {
	for name, x := range map[string]struct {
		from uint64
		want RecoveryResult
	}{"without": {0, RecoveryUnknown}, "with": {1, RecoveryDone}} {
		t.Run(name, func(t *testing.T) {
			var taken []func(*Record, RecoveryResult)
			redis := &slowRecordStore{recordStore: recordStore{records: map[string]*Record{}}, taken: &taken}
			w, past := newPast(t, 1, func(c *Config) { c.Recovery.Remote = redis })
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
			ann.answered()
			ann.wantResult(x.want)
		})
	}
}

// A slowRecordStore answers when the test says so.
type slowRecordStore struct {
	recordStore
	taken *[]func(*Record, RecoveryResult)
}

func (d *slowRecordStore) Take(_, _ string, done func(*Record, RecoveryResult)) {
	*d.taken = append(*d.taken, done)
}

// TestTheFenceOfAReturnIsNotToldWithAnEventThatTheClientDoesNotHave: the node
// before has sent it in vain, and this one has not read it yet.
func TestTheFenceOfAReturnIsNotToldWithAnEventThatTheClientDoesNotHave(t *testing.T) {
	w, past, redis := newRecordStore(t)
	ann := w.recoveringClient("ann")
	ann.join("1")
	past.publish(w, "conversation:1")
	ann.wantGot("e1")
	r := *redis.records[ann.pid]
	r.Ended, r.At, r.Given, r.Last = true, w.now, 2, 2
	ann.hangUp()
	w.dies()
	redis.records[ann.pid] = &r
	ann.comeOn(w)
	ann.wantResult(RecoveryDone)
	if o, _ := ParseOffset(ann.offset); o.Position != 1 || o.Fence == 0 {
		t.Errorf("offset %q, want position 1 and a fence", ann.offset)
	}
	past.publish(w, "conversation:1")
	ann.wantGot("e1", "recovery_state", "e2")
}

// TestTheRecordOfAReturnUnderWayStaysInRedis, so that the session outlives the
// node, and goes when the client was not recovered.
func TestTheRecordOfAReturnUnderWayStaysInRedis(t *testing.T) {
	redis := &recordStore{records: map[string]*Record{}}
	w, past := newPast(t, 1, func(c *Config) { c.Recovery.Remote, c.Recovery.Grace = redis, time.Minute })
	ann := w.recoveringClient("ann")
	pid := ann.pid
	ann.hangUp()
	past.slow = true
	for _, early := range []bool{true, false} {
		ann.dial(w)
		w.settle()
		if r := redis.records[pid]; r == nil || r.Node != "a" {
			t.Errorf("while it is under way Redis has %+v", r)
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
	ann.answered()
	ann.wantResult(RecoveryLogShort)
	if redis.records[pid] != nil {
		t.Error("a session to which nobody can come back is still in Redis")
	}
}

// TestASessionThatDepartsWhileItIsTakenIsFound in its record.
func TestASessionThatDepartsWhileItIsTakenIsFound(t *testing.T) {
	w, _ := newPast(t, 1)
	ann := w.recoveringClient("ann")
	s := w.hub.sessions.holder(ann.pid)
	s.makeAbsent("", w.now)
	var result RecoveryResult
	var record *Record
	w.hub.takeHere(ann.pid, "ann", nil, w.now, func(x taken) { record, result = x.record, x.why })
	s.depart(w.now) // the shard has not come to the question yet
	w.settle()
	if record == nil || result != RecoveryDone {
		t.Errorf("record %v, %v", record, result)
	}
}

// TestASessionThatAnotherNodeHasIsNotWrittenOver by a node that was cut off.
func TestASessionThatAnotherNodeHasIsNotWrittenOver(t *testing.T) {
	redis := &otherOwner{recordStore{records: map[string]*Record{}}}
	w, _ := newPast(t, 1, func(c *Config) { c.Recovery.Remote = redis })
	w.hub.Reachable(true, w.now)
	ann := w.recoveringClient("ann")
	clear(redis.records)
	w.hub.Reachable(false, w.now)
	w.hub.Reachable(true, w.now)
	w.settle()
	if redis.records[ann.pid] != nil {
		t.Error("the record of another node was written over")
	}
	if k := w.hub.KeptSessions(); k.Live != 0 {
		t.Errorf("the session is still known: %+v", k)
	}
}

// An otherOwner says that all sessions are another node's.
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
			t.Errorf("%q is %+v", text, o)
		}
	}
}

func TestWhatIsForgottenIsForgottenInRedis(t *testing.T) {
	redis := &recordStore{records: map[string]*Record{}}
	w, _ := newPast(t, 1, func(c *Config) {
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
	w.recoveringClient("ann").text("1") // says goodbye
	if n := len(redis.records); n != 5 {
		t.Errorf("Redis has %d records after a goodbye, want 5", n)
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
