package rooms

import (
	"testing"
	"time"
)

// Another node takes the session of a client whose connection here is still
// being closed; a polling client's connection stays until it polls. If a
// hand-over of the process transferred the socket with the connection as well
// as the absent session, it would stay in its rooms for ever. The new process
// must count one member, and none after the grace.
func TestSocketWhoseSessionWasTakenIsHandedOverOnce(t *testing.T) {
	old, past := newHistoryWorld(t, 1)
	past.publish(old, "conversation:1") // so that the session has positions
	ann := old.recoveringClient("ann")
	ann.join("1")
	old.hub.Surrender(ann.pid, "ann", old.now, func(*Record, RecoveryResult) {})
	for _, sh := range old.hub.shards {
		sh.Tasks(old.now)
	}
	connection, err := ann.socket.State(old.now)
	if err != nil {
		t.Fatal(err)
	}
	absent, err := old.hub.Shard(0).Absent(old.now)
	if err != nil || len(absent) != 1 {
		t.Fatalf("absent %+v, %v", absent, err)
	}
	young, _ := newHistoryWorld(t, 1)
	sh := young.hub.Shard(0)
	socket, err := sh.Adopt(nobody{}, &connection, logName, young.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := sh.AdoptAbsent(&absent[0], logName, young.now); err != nil {
		t.Fatal(err)
	}
	if n := young.hub.Members("conversation:1"); n != 1 {
		t.Errorf("%d members, want 1", n)
	}
	socket.Closed(young.now)
	young.at(young.now.Add(time.Minute)) // the grace has passed
	if n := young.hub.Members("conversation:1"); n != 0 {
		t.Errorf("%d members are left after the grace, want none", n)
	}
}

// A service puts a socket into the room of another user. After a hand-over the
// socket must belong to the same user as before.
func TestHandedOverSocketKeepsItsUser(t *testing.T) {
	old := newWorld(t, 1)
	ann := old.connect("ann")
	old.hub.JoinAll(&Selection{Rooms: []string{"user:ann"}}, []string{"user:bob"})
	old.settle()
	state, err := ann.socket.State(old.now)
	if err != nil {
		t.Fatal(err)
	}
	young := newWorld(t, 1)
	socket, err := young.hub.Shard(0).Adopt(discardSink{}, &state, logName, young.now)
	if err != nil {
		t.Fatal(err)
	}
	if socket.UserID() != "ann" || socket.ID() != ann.socket.ID() || socket.rooms.len() != 2 {
		t.Errorf("%q, %q, in %d rooms: want ann, %q, in 2", socket.UserID(), socket.ID(), socket.rooms.len(), ann.socket.ID())
	}
}
