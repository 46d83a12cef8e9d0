package rooms

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Stats.RoomBytes must be at least the heap that rooms and memberships use, and at
// most three times as much. The test has no cluster, whose directory would hold
// each name once more.
func TestRoomBytesMatchTheHeap(t *testing.T) {
	const rooms, sockets = 20_000, 20
	for _, length := range []int{16, 256} {
		w := newWorld(t, 1, func(c *Config) { c.Limits.Rooms = rooms })
		w.live = true
		var all []*Socket
		for i := range sockets {
			s := w.hub.Shard(0).Open(discardSink{}, "", w.now)
			s.text(fmt.Sprintf(`0{"token":"user%d"}`, i), w)
			all = append(all, s)
		}
		before := liveHeap()
		for i := range rooms {
			id := fmt.Sprintf("%0*d", length, i)
			all[i%sockets].text(`2["join_room",{"roomType":"conversation","roomId":"`+id+`"}]`, w)
		}
		grown, counted := liveHeap()-before, w.hub.Stats().RoomBytes
		if counted == 0 || grown > counted || counted > 3*grown {
			t.Errorf("ids of %d bytes: %d bytes of heap a room, RoomBytes counts %d; want at least as many, and 3 times at most", length, grown/rooms, counted/rooms)
		}
		for _, s := range all {
			s.Closed(w.now)
		}
		if n := w.hub.Stats().RoomBytes; n != 0 {
			t.Errorf("RoomBytes is %d without sockets, want 0", n)
		}
		for i := range w.hub.bounds.stripes {
			if n := len(w.hub.bounds.stripes[i].users); n != 0 {
				t.Errorf("%d users are counted without sockets, want none", n)
			}
		}
		t.Logf("ids of %d bytes: %d bytes of heap a room, RoomBytes counts %d", length, grown/rooms, counted/rooms)
	}
}

func (s *Socket) text(packet string, w *world) { s.Text([]byte(packet), w.now) }

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The limit UserRooms counts the rooms of all sockets of a user, on all shards.
func TestRoomsOfOneUserAreLimited(t *testing.T) {
	const most = 10
	w := limited(t, 3, func(l *Limits) { l.UserRooms = most })
	sockets := []*client{w.connect("eve"), w.connect("eve"), w.connect("eve")}
	ann := w.connect("ann")
	for i := range most {
		if got := sockets[i%3].ask("join_room", conversation(fmt.Sprint(i))); !strings.HasPrefix(got, `{"success":true`) {
			t.Fatalf("got %s, want success", got)
		}
	}
	for _, eve := range sockets {
		if got := eve.ask("join_room", conversation("one more")); got != `{"error":"User in 10 rooms already"}` {
			t.Errorf("got %s, want %s", got, `{"error":"User in 10 rooms already"}`)
		}
	}
	if got := sockets[0].ask("join_room", conversation("0")); !strings.HasPrefix(got, `{"success":true`) {
		t.Errorf("joining a room that the socket is in: got %s, want success", got)
	}
	if got := ann.ask("join_room", conversation("1")); !strings.HasPrefix(got, `{"success":true`) {
		t.Errorf("join by another user: got %s, want success", got)
	}
	for _, c := range w.clients {
		c.inbox = nil // user_joined
	}
	sockets[0].ask("leave_room", conversation("0"))
	if got := sockets[2].ask("join_room", conversation("one more")); !strings.HasPrefix(got, `{"success":true`) {
		t.Errorf("join after a leave: got %s, want success", got)
	}
	sockets[1].hangUp()
	for _, c := range w.clients {
		c.inbox = nil
	}
	for i := range 3 {
		if got := sockets[2].ask("join_room", conversation(fmt.Sprint("new", i))); !strings.HasPrefix(got, `{"success":true`) {
			t.Errorf("join after another socket has disconnected: got %s, want success", got)
		}
	}
	if s := w.hub.Stats(); s.JoinsOverUser != 3 || s.JoinsOverNode != 0 {
		t.Errorf("%d joins refused for the user, %d for the node; want 3 and 0", s.JoinsOverUser, s.JoinsOverNode)
	}
}

// When the node's limit of room bytes is near, joins of users and anonymous
// sockets that hold much are refused. A user with few rooms can still connect and
// join, and the limit is not exceeded.
func TestRoomBytesOfANodeAreLimited(t *testing.T) {
	const most = 4 << 20
	w := newWorld(t, 2, func(c *Config) {
		c.Limits.RoomBytes, c.Limits.Rooms, c.AllowAnonymous = most, 100_000, true
	})
	id := func(i int) string { return fmt.Sprintf("%0200d", i) }
	next := 0
	fill := func(c *client) (joined int) {
		for {
			next++
			got := c.ask("join_room", conversation(id(next)))
			if got == `{"error":"Too many rooms here, try again later"}` {
				return joined
			}
			if !strings.HasPrefix(got, `{"success":true`) {
				t.Fatalf("got %s, want success", got)
			}
			joined++
		}
	}
	cost := int(joinCost(len("conversation:") + 200))
	for i := range 30 {
		eve := w.open("")
		if i%2 == 0 {
			eve.connect(fmt.Sprint("eve", i))
		} else {
			eve.text("0")
			eve.wantConnected()
		}
		if n := fill(eve); n < roomLittle/cost || n > most/roomShare/cost {
			t.Errorf("attacker %d is in %d rooms, want %d to %d", i, n, roomLittle/cost, most/roomShare/cost)
		}
		if n := w.hub.roomBytes(); n > most {
			t.Fatalf("rooms take %d bytes, the limit is %d", n, most)
		}
	}
	ann := w.connect("ann")
	for i := range 50 {
		if got := ann.ask("join_room", conversation(fmt.Sprint("of ann ", i))); !strings.HasPrefix(got, `{"success":true`) {
			t.Fatalf("join %d by a user with few rooms: got %s, want success", i, got)
		}
	}
	if s := w.hub.Stats(); s.JoinsOverNode == 0 || s.JoinsOverUser == 0 {
		t.Errorf("%d joins refused for the node, %d for the user, want some of each", s.JoinsOverNode, s.JoinsOverUser)
	}
}

func TestJoinsAreRefusedWhileMemoryIsShort(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann")
	ann.ask("join_room", conversation("1"))
	w.hub.MemoryIsShort(true)
	if got := ann.ask("join_room", conversation("2")); got != `{"error":"Too many rooms here, try again later"}` {
		t.Errorf("join while memory is short: got %s, want %s", got, `{"error":"Too many rooms here, try again later"}`)
	}
	if got := ann.ask("typing", conversation("1")); got != success {
		t.Errorf("typing in a room that the socket is in: got %s, want success", got)
	}
	w.connect("bob")
	w.hub.MemoryIsShort(false)
	if got := ann.ask("join_room", conversation("2")); !strings.HasPrefix(got, `{"success":true`) {
		t.Errorf("join when memory is available again: got %s, want success", got)
	}
}

// A user joins and leaves new rooms until a join is refused. The rooms that it left
// stay in the cluster's directory for Linger and must count towards its limit until
// then. Joining such a room again must cost one membership only.
func TestVacatedRoomsCountUntilTheDirectoryForgetsThem(t *testing.T) {
	const most, linger = 4 << 20, 30 * time.Second
	w := limited(t, 2, func(l *Limits) { l.RoomBytes, l.Linger = most, linger })
	eve := w.connect("eve")
	id := func(i int) string { return conversation(fmt.Sprintf("%0200d", i)) }
	flood := func(from int) (joined int) {
		for {
			if got := eve.ask("join_room", id(from+joined)); !strings.HasPrefix(got, `{"success":true`) {
				return joined
			}
			eve.ask("leave_room", id(from+joined))
			joined++
		}
	}
	cost := int(roomCost(len("conversation:") + 200))
	n := flood(0)
	if most := int(w.hub.largestShare())/cost + 100; n < 10 || n > most {
		t.Fatalf("%d rooms could be joined and left, want 10 to %d", n, most)
	}
	before := w.hub.Stats().RoomBytes
	w.now = w.now.Add(linger / 2)
	w.connect("ann").ask("join_room", id(0))
	if got := w.hub.Stats().RoomBytes - before; got != membershipBytes {
		t.Errorf("joining a vacated room again costs %d bytes, want those of a membership", got)
	}
	w.now = w.now.Add(linger)
	if again := flood(1_000_000); again < n-1 {
		t.Errorf("%d rooms could be joined and left after the linger time, want %d", again, n)
	}
	w.now = w.now.Add(linger)
	w.hub.Forget(w.now)
	if n := len(w.hub.vacant.users) + len(w.hub.vacant.rooms) + len(w.hub.vacant.queue); n != 0 || w.hub.vacant.bytes.Load() != 0 {
		t.Errorf("%d vacated rooms with %d bytes are still counted, want none", n, w.hub.vacant.bytes.Load())
	}
}

// A socket sends a second join of a room before the first was authorized. Both are
// acknowledged, and one membership is counted.
func TestTwoPendingJoinsOfOneRoomCountOnce(t *testing.T) {
	w, d := guarded(t, 1)
	w.hub.limits().UserRooms = 1
	d.slow = true
	ann := w.connect("ann")
	for ack := range 2 {
		ann.text(fmt.Sprintf(`2%d["join_room",%s]`, ack, conversation("1")))
	}
	d.answer(w)
	for range 2 {
		if got := ann.next(); !strings.Contains(got, `"success":true`) {
			t.Errorf("got %s, want success", got)
		}
	}
	if held := w.hub.bounds.of("ann"); held.memberships != 1 {
		t.Errorf("%d memberships are counted, want 1", held.memberships)
	}
}
