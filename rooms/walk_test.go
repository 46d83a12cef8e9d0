package rooms

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hometrip/gateway/codec"
)

// A counter is a sink that remembers which messages it was sent, by their
// places in the test's list, and who was sent something since the last look.
type counter struct {
	of  *many
	got []*codec.Message
}

func (c *counter) Send(m *codec.Message) {
	c.of.sends++
	c.got = append(c.got, m)
}
func (c *counter) Close(Reason)   {}
func (c *counter) Wake()          {}
func (c *counter) Source() uint64 { return 0 }

// A many is a shard with many sockets.
type many struct {
	*world
	shard *Shard
	sends int // since the last look
}

func newMany(t *testing.T) *many {
	w := newWorld(t, 1)
	return &many{world: w, shard: w.hub.Shard(0)}
}

// add makes a connected socket that is in a room.
func (c *many) add(room string) *Socket {
	sink := &counter{of: c}
	s := c.shard.Open(sink, "", c.now)
	s.phase = phaseConnected
	c.shard.join(s, []byte(room), false)
	return s
}

func (s *Socket) got() []*codec.Message { return s.sink.(*counter).got }

// drain takes turns until nothing is left, and says in how many.
func (c *many) drain(between func()) (turns int) {
	for more := true; more; turns++ {
		c.sends = 0
		left := c.shard.Drain(1 << 20)
		if c.sends > portion {
			c.t.Fatalf("%d sends in one turn, want at most %d", c.sends, portion)
		}
		if more = left == 0 || c.shard.Walking(); more {
			between()
		}
	}
	return turns
}

func messages(n int) (list []*codec.Message) {
	for i := range n {
		list = append(list, codec.NewText(fmt.Appendf(nil, `42["e",%d]`, i)))
	}
	return list
}

// TestAHugeRoomIsToldInPortions: no turn gives messages to more members than a
// portion, whoever the message comes from; the order is kept.
func TestAHugeRoomIsToldInPortions(t *testing.T) {
	const members = 200_000
	c := newMany(t)
	var all []*Socket
	for range members {
		all = append(all, c.add("conversation:all"))
	}
	m := messages(5)
	speaker := all[members/2]
	say := func(m *codec.Message) {
		r := c.shard.rooms.get("conversation:all")
		c.shard.broadcast(r, c.hub.occupancy.of(r.name), speaker, func() *codec.Message { return m })
	}
	c.hub.Deliver(Broadcast{Room: "conversation:all", Message: m[0], Position: 1})
	say(m[1])
	say(m[2])
	c.hub.Deliver(Broadcast{Room: "conversation:all", Message: m[3], Position: 2, Shared: true})
	c.hub.Emit(&Selection{Rooms: []string{"conversation:all"}}, m[4])
	turns := c.drain(func() {})
	if least := 5 * members / portion; turns < least || turns > least+5 {
		t.Errorf("%d turns, want about %d", turns, least)
	}
	for i, s := range all {
		said := []*codec.Message{m[1], m[2]}
		if s == speaker {
			said = nil
		}
		var fromSaid, fromLog []*codec.Message
		for _, one := range s.got() {
			if one == m[1] || one == m[2] {
				fromSaid = append(fromSaid, one)
			} else {
				fromLog = append(fromLog, one)
			}
		}
		if !slices.Equal(fromSaid, said) || !slices.Equal(fromLog, []*codec.Message{m[0], m[3], m[4]}) {
			t.Fatalf("member %d got %d messages, or not in order", i, len(s.got()))
		}
	}
	if n := c.shard.stats.Deliveries.Load(); n != 5*members-2 {
		t.Errorf("%d deliveries counted, want %d", n, 5*members-2)
	}
}

// TestNothingStaysInTheMailbox behind broadcasts that use a portion up, whole or
// all but a member of it.
func TestNothingStaysInTheMailbox(t *testing.T) {
	for _, members := range []int{1, portion/2 - 1, portion / 2, portion - 2, portion - 1, portion, portion + 1, 2 * portion} {
		c := newMany(t)
		var last *Socket
		for range members {
			last = c.add("conversation:all")
		}
		m := messages(5)
		next := 0
		deliver := func() {
			if next < len(m) {
				c.hub.Deliver(Broadcast{Room: "conversation:all", Message: m[next], Position: uint64(next + 1)})
				next++
				c.hub.Passed(uint64(next))
			}
		}
		for range 4 {
			deliver()
		}
		c.drain(deliver) // the last one when the others are under way
		if c.shard.Pending() != 0 || !slices.Equal(last.got(), m[:next]) || c.shard.Position() != uint64(next) {
			t.Errorf("%d members: %d pending, the last has got %d of %d messages, position %d",
				members, c.shard.Pending(), len(last.got()), next, c.shard.Position())
		}
	}
}

// TestMembersComeAndGoDuringAWalk: who was there when it began and still is when
// its turn comes gets the message, once.
func TestMembersComeAndGoDuringAWalk(t *testing.T) {
	const members = 5 * portion / 2
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 0))
		c := newMany(t)
		in := make(map[*Socket]bool)
		leave := func(s *Socket) {
			c.shard.leave(s, 0, c.now)
			delete(in, s)
		}
		var list, late []*Socket
		for range members {
			list = append(list, c.add("conversation:all"))
			in[list[len(list)-1]] = true
		}
		m := messages(1)[0]
		c.hub.Deliver(Broadcast{Room: "conversation:all", Message: m})
		gone := make(map[*Socket]int) // messages that a member had when it left
		c.drain(func() {
			for range 2000 {
				if random.IntN(2) == 0 {
					late = append(late, c.add("conversation:all"))
					continue
				}
				from := list
				if len(late) > 0 && random.IntN(4) == 0 {
					from = late
				}
				if s := from[random.IntN(len(from))]; s.rooms.len() > 0 {
					gone[s] = len(s.got())
					leave(s)
				}
			}
		})
		for _, s := range list {
			want, left := gone[s]
			if !left {
				want = 1
			}
			if len(s.got()) != want {
				t.Fatalf("seed %d: a member got %d messages, want %d", seed, len(s.got()), want)
			}
		}
		for _, s := range late {
			if len(s.got()) != 0 {
				t.Fatalf("seed %d: who came later got %d messages", seed, len(s.got()))
			}
		}
		for i, member := range c.shard.rooms.get("conversation:all").members.all() {
			if at := member.rooms.all()[member.in(c.shard.rooms.get("conversation:all"))]; int(at.seat) != i {
				t.Fatalf("seed %d: the member in seat %d believes to be in %d", seed, i, at.seat)
			}
		}
	}
}

// TestARoomEndsDuringAWalk, and one of the same name begins.
func TestARoomEndsDuringAWalk(t *testing.T) {
	c := newMany(t)
	var list []*Socket
	for range portion + 10 {
		list = append(list, c.add("conversation:all"))
	}
	m := messages(2)
	c.hub.Deliver(Broadcast{Room: "conversation:all", Message: m[0]})
	c.hub.Deliver(Broadcast{Room: "conversation:all", Message: m[1]})
	c.shard.Drain(1 << 20)
	for _, s := range list {
		c.shard.leave(s, 0, c.now)
	}
	heir := c.add("conversation:all")
	c.drain(func() {})
	if !slices.Equal(heir.got(), m[1:]) {
		t.Errorf("the new room's member got %d messages, want the second one", len(heir.got()))
	}
}

// TestAShardIsNotFurtherThanItsWalk: a client that is cut off comes back to an
// event that it was not given.
func TestAShardIsNotFurtherThanItsWalk(t *testing.T) {
	c := newMany(t)
	for range portion + 10 {
		c.add("conversation:all")
	}
	c.hub.Deliver(Broadcast{Room: "conversation:all", Message: messages(1)[0], Position: 7})
	c.hub.Passed(7)
	c.shard.Drain(1 << 20)
	if p := c.shard.Position(); p != 6 {
		t.Errorf("at %d during the walk of 7, want 6", p)
	}
	if c.shard.Pending() == 0 {
		t.Error("nothing is pending during a walk")
	}
	c.drain(func() {})
	if p := c.shard.Position(); p != 7 {
		t.Errorf("at %d after the walk of 7", p)
	}
}
