package rooms

import (
	"testing"
	"time"
)

// TestASocketIsHandedOverOnce: its client has gone to another node, and its
// connection is still being closed, which for a polling client takes until it
// polls. Handed over with the connection, too, it would stay in its rooms for
// ever.
func TestASocketIsHandedOverOnce(t *testing.T) {
	old, past := newPast(t, 1)
	past.publish(old, "conversation:1") // positions are known
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
	young, _ := newPast(t, 1)
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
	young.at(young.now.Add(time.Minute)) // the grace is over
	if n := young.hub.Members("conversation:1"); n != 0 {
		t.Errorf("%d members are left", n)
	}
}

// A service may put a socket into the room of another user: it is handed over as
// the user's that it was.
func TestASocketInTheRoomOfAnotherUserStaysItsUsers(t *testing.T) {
	old := newWorld(t, 1)
	ann := old.connect("ann")
	old.hub.JoinAll(&Selection{Rooms: []string{"user:ann"}}, []string{"user:bob"})
	old.settle()
	state, err := ann.socket.State(old.now)
	if err != nil {
		t.Fatal(err)
	}
	young := newWorld(t, 1)
	socket, err := young.hub.Shard(0).Adopt(deaf{}, &state, logName, young.now)
	if err != nil {
		t.Fatal(err)
	}
	if socket.UserID() != "ann" || socket.ID() != ann.socket.ID() || socket.rooms.len() != 2 {
		t.Errorf("%q, %q, in %d rooms: want ann, %q, in 2", socket.UserID(), socket.ID(), socket.rooms.len(), ann.socket.ID())
	}
}
