package rooms

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Clients connect, join, leave, disconnect and close at random. After each
// check the hub's tables must agree with maps that the test keeps.
func TestRoomsAgreeWithAModel(t *testing.T) {
	for _, shards := range []int{1, 2, 8} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%d shards, seed %d", shards, seed), func(t *testing.T) {
				m := &model{w: newWorld(t, shards), rand: rand.New(rand.NewPCG(seed, 1)), in: map[*client]map[string]bool{}}
				for range 3000 {
					m.step()
				}
				m.check()
				for c := range m.in {
					c.hangUp()
				}
				m.w.wantEmpty()
			})
		}
	}
}

type model struct {
	w    *world
	rand *rand.Rand
	in   map[*client]map[string]bool // rooms of each connected client
}

func (m *model) step() {
	var c *client
	if n := len(m.in); n > 0 {
		all := slices.SortedFunc(maps.Keys(m.in), func(a, b *client) int { return a.index() - b.index() })
		c = all[m.rand.IntN(n)]
		c.inbox = nil
	}
	m.w.log = nil
	number := m.rand.IntN(6)
	name := fmt.Sprint("conversation:", number)
	switch what := m.rand.IntN(100); {
	case c == nil || what < 8:
		c = m.w.connect(fmt.Sprint("user", m.rand.IntN(5)))
		m.in[c] = map[string]bool{"user:" + c.name: true}
	case what < 50:
		c.ask("join_room", conversation(fmt.Sprint(number)))
		m.in[c][name] = true
	case what < 85:
		c.ask("leave_room", conversation(fmt.Sprint(number)))
		delete(m.in[c], name)
	case what < 90:
		c.text("1")
		c.connect(c.name)
		m.in[c] = map[string]bool{"user:" + c.name: true}
	case what < 96:
		c.hangUp()
		delete(m.in, c)
		m.w.clients = slices.DeleteFunc(m.w.clients, func(o *client) bool { return o == c })
	default:
		m.check()
	}
}

func (c *client) index() int { return slices.Index(c.w.clients, c) }

// check compares sockets, rooms, counters, names and the occupancy table with
// the model.
func (m *model) check() {
	t := m.w.t
	t.Helper()
	occupied := map[string]uint64{}
	members := 0
	for c, rooms := range m.in {
		members += len(rooms)
		if c.socket.rooms.len() != len(rooms) {
			t.Fatalf("%s has %d memberships, want %d", c.name, c.socket.rooms.len(), len(rooms))
		}
		for slot, ms := range c.socket.rooms.all() {
			if !rooms[ms.room.name] {
				t.Fatalf("%s is in %s, want it not to be", c.name, ms.room.name)
			}
			if got := ms.room.members.all()[ms.seat]; got != c.socket {
				t.Fatalf("seat %d of %s has another socket than the one with slot %d", ms.seat, ms.room.name, slot)
			}
		}
		for name := range rooms {
			occupied[name] |= 1 << c.shard.index
		}
	}
	seats, rooms := 0, 0
	for _, sh := range m.w.hub.shards {
		r, s := sh.Len()
		rooms, seats = rooms+r, seats+s
		for _, r := range sh.rooms.list() {
			if occupied[r.name]&(1<<sh.index) == 0 {
				t.Fatalf("shard %d has the room %s, which has no members", sh.index, r.name)
			}
			if sh.rooms.get(r.name) != r || r.members.len() == 0 {
				t.Fatalf("room %q has %d members, or the table has another room of that name", r.name, r.members.len())
			}
		}
	}
	if s := m.w.hub.Stats(); seats != members || int(s.Members) != members || int(s.Sockets) != len(m.in) {
		t.Fatalf("%d seats, %d members and %d sockets counted, want %d, %[4]d and %[5]d", seats, s.Members, s.Sockets, members, len(m.in))
	}
	names, total := m.w.hub.Names(1 << 20)
	if total != len(occupied) || len(names) != total {
		t.Fatalf("%d rooms occupied, %d named, want %d", total, len(names), len(occupied))
	}
	for name, shards := range occupied {
		if got := m.w.hub.occupancy.of(name).shards; got != shards {
			t.Fatalf("%s is held by shards %b, want %b", name, got, shards)
		}
	}
}

func TestNamesAreLimitedAndTheTotalIsNot(t *testing.T) {
	w := newWorld(t, 2)
	for i := range 20 {
		w.connect(fmt.Sprint("user", i))
	}
	for _, limit := range []int{0, 1, 7, 20, 100} {
		names, total := w.hub.Names(limit)
		slices.Sort(names)
		if want := min(limit, 20); total != 20 || len(slices.Compact(names)) != want {
			t.Errorf("limit %d: %d different names of %d, want %d of 20", limit, len(names), total, want)
		}
	}
}

// A room of 5,000 members shrinks to one. It must not keep the memory of its
// largest size.
func TestRoomThatShrinksFreesMemory(t *testing.T) {
	w := newWorld(t, 1)
	sh := w.hub.Shard(0)
	var crowd []*Socket
	for range 5000 {
		s := sh.Open(discardSink{}, "", startTime)
		s.Text([]byte(`0{"token":"ann"}`), startTime)
		crowd = append(crowd, s)
	}
	for _, s := range crowd[1:] {
		s.Closed(startTime)
	}
	r := sh.rooms.get("user:ann")
	if r.members.len() != 1 || r.members.all()[0] != crowd[0] || crowd[0].rooms.all()[0].seat != 0 {
		t.Fatalf("members %v, want the first socket in seat 0", r.members)
	}
	if cap(r.members.all()) > 64 {
		t.Errorf("memory for %d members is kept for one, want 64 at most", cap(r.members.all()))
	}
	crowd[0].Closed(startTime)
	w.wantEmpty()
}

// A socket may be in DefaultRooms rooms. One join more is refused, a leave
// makes room for it, and a close leaves all rooms.
func TestSocketJoinsTheMostRoomsAllowed(t *testing.T) {
	w := newWorld(t, 2)
	ann := w.connect("ann")
	for i := range DefaultRooms - 1 { // the room of the user counts
		ann.emit("join_room", conversation(fmt.Sprint(i)))
	}
	if _, members := w.hub.Shard(0).Len(); members != DefaultRooms {
		t.Errorf("%d memberships, want %d", members, DefaultRooms)
	}
	if got, want := ann.ask("join_room", conversation("one more")), fmt.Sprintf(`{"error":"In %d rooms already"}`, DefaultRooms); got != want {
		t.Errorf("join beyond the limit: %s, want %s", got, want)
	}
	const joined = `{"success":true,"message":"Joined room: conversation:%s","members":1}`
	if got, want := ann.ask("join_room", conversation("7")), fmt.Sprintf(joined, "7"); got != want {
		t.Errorf("second join of a room at the limit: %s, want %s", got, want)
	}
	ann.ask("leave_room", conversation("7"))
	if got, want := ann.ask("join_room", conversation("one more")), fmt.Sprintf(joined, "one more"); got != want {
		t.Errorf("join after a leave: %s, want %s", got, want)
	}
	ann.hangUp()
	w.wantEmpty()
	if !ann.socket.Deadline().Equal(time.Time{}) {
		t.Error("a closed socket has a deadline, want none")
	}
}
