package rooms

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestRoomsCostWhatIsCounted: on this node alone. The directory of a cluster
// holds each name once more.
func TestRoomsCostWhatIsCounted(t *testing.T) {
	const rooms, sockets = 20_000, 20
	for _, length := range []int{16, 256} {
		w := newWorld(t, 1, func(c *Config) { c.Limits.Rooms = rooms })
		w.live = true
		var all []*Socket
		for i := range sockets {
			s := w.hub.Shard(0).Open(deaf{}, "", w.now)
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
			t.Errorf("ids of %d bytes: %d bytes a room, counted as %d", length, grown/rooms, counted/rooms)
		}
		for _, s := range all {
			s.Closed(w.now)
		}
		if n := w.hub.Stats().RoomBytes; n != 0 {
			t.Errorf("%d bytes are counted when nobody is there", n)
		}
		for i := range w.hub.bounds.stripes {
			if n := len(w.hub.bounds.stripes[i].users); n != 0 {
				t.Errorf("%d users are counted when nobody is there", n)
			}
		}
		t.Logf("ids of %d bytes: %d bytes a room, counted as %d", length, grown/rooms, counted/rooms)
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

// TestRoomsOfOneUser: the bound is for all sockets of a user together, on all
// event loops.
func TestRoomsOfOneUser(t *testing.T) {
	const most = 10
	w := limited(t, 3, func(l *Limits) { l.UserRooms = most })
	sockets := []*client{w.connect("eve"), w.connect("eve"), w.connect("eve")}
	ann := w.connect("ann")
	for i := range most {
		if got := sockets[i%3].ask("join_room", conversation(fmt.Sprint(i))); !strings.HasPrefix(got, `{"success":true`) {
			t.Fatal(got)
		}
	}
	for _, eve := range sockets {
		if got := eve.ask("join_room", conversation("one more")); got != `{"error":"User in 10 rooms already"}` {
			t.Error(got)
		}
	}
	if got := sockets[0].ask("join_room", conversation("0")); !strings.HasPrefix(got, `{"success":true`) {
		t.Errorf("a room the socket is in: %s", got)
	}
	if got := ann.ask("join_room", conversation("1")); !strings.HasPrefix(got, `{"success":true`) {
		t.Errorf("somebody else: %s", got)
	}
	for _, c := range w.clients {
		c.inbox = nil // user_joined
	}
	sockets[0].ask("leave_room", conversation("0"))
	if got := sockets[2].ask("join_room", conversation("one more")); !strings.HasPrefix(got, `{"success":true`) {
		t.Errorf("after a leave: %s", got)
	}
	sockets[1].hangUp()
	for _, c := range w.clients {
		c.inbox = nil
	}
	for i := range 3 {
		if got := sockets[2].ask("join_room", conversation(fmt.Sprint("new", i))); !strings.HasPrefix(got, `{"success":true`) {
			t.Errorf("after a disconnect: %s", got)
		}
	}
	if s := w.hub.Stats(); s.JoinsOverUser != 3 || s.JoinsOverNode != 0 {
		t.Errorf("%d joins refused for the user, %d for the node", s.JoinsOverUser, s.JoinsOverNode)
	}
}

// TestRoomsOfANode: who holds much is refused before who holds little, users
// and nobodies alike, and sockets go on connecting.
func TestRoomsOfANode(t *testing.T) {
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
				t.Fatal(got)
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
			t.Fatalf("%d bytes are held, the bound is %d", n, most)
		}
	}
	ann := w.connect("ann")
	for i := range 50 {
		if got := ann.ask("join_room", conversation(fmt.Sprint("of ann ", i))); !strings.HasPrefix(got, `{"success":true`) {
			t.Fatalf("somebody with few rooms: join %d: %s", i, got)
		}
	}
	if s := w.hub.Stats(); s.JoinsOverNode == 0 || s.JoinsOverUser == 0 {
		t.Errorf("%d joins refused for the node, %d for the user", s.JoinsOverNode, s.JoinsOverUser)
	}
}

func TestJoinsAreRefusedWhileMemoryIsShort(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.connect("ann")
	ann.ask("join_room", conversation("1"))
	w.hub.MemoryIsShort(true)
	if got := ann.ask("join_room", conversation("2")); got != `{"error":"Too many rooms here, try again later"}` {
		t.Error(got)
	}
	if got := ann.ask("typing", conversation("1")); got != success {
		t.Errorf("in a room it is in: %s", got)
	}
	w.connect("bob")
	w.hub.MemoryIsShort(false)
	if got := ann.ask("join_room", conversation("2")); !strings.HasPrefix(got, `{"success":true`) {
		t.Error(got)
	}
}

// TestRoomsThatTheDirectoryKeepsCount: who joins and leaves without end does not
// pass the bound, and joining a room again costs nothing more.
func TestRoomsThatTheDirectoryKeepsCount(t *testing.T) {
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
		t.Fatalf("%d rooms were made and left, want %d at most", n, most)
	}
	before := w.hub.Stats().RoomBytes
	w.now = w.now.Add(linger / 2)
	w.connect("ann").ask("join_room", id(0))
	if got := w.hub.Stats().RoomBytes - before; got != membershipBytes {
		t.Errorf("a room that is occupied again costs %d bytes more, want a membership", got)
	}
	w.now = w.now.Add(linger)
	if again := flood(1_000_000); again < n-1 {
		t.Errorf("%d rooms after the directory has forgotten the old, want %d", again, n)
	}
	w.now = w.now.Add(linger)
	w.hub.Forget(w.now)
	if n := len(w.hub.vacant.users) + len(w.hub.vacant.rooms) + len(w.hub.vacant.queue); n != 0 || w.hub.vacant.bytes.Load() != 0 {
		t.Errorf("%d vacancies, %d bytes are left", n, w.hub.vacant.bytes.Load())
	}
}

// TestTwoJoinsOfOneRoomCountOnce: though both were under way at once.
func TestTwoJoinsOfOneRoomCountOnce(t *testing.T) {
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
			t.Error(got)
		}
	}
	if held := w.hub.bounds.of("ann"); held.memberships != 1 {
		t.Errorf("%d memberships are counted", held.memberships)
	}
}
