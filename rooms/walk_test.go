package rooms

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hometrip/gateway/codec"
)

// A recordingSink is a Sink that records the messages it is sent, and counts
// them for its shard.
type recordingSink struct {
	of  *crowdedShard
	got []*codec.Message
}

func (c *recordingSink) Send(m *codec.Message) {
	c.of.sends++
	c.got = append(c.got, m)
}
func (c *recordingSink) Close(Reason)   {}
func (c *recordingSink) Wake()          {}
func (c *recordingSink) Source() uint64 { return 0 }

// A crowdedShard is a shard with many sockets.
type crowdedShard struct {
	*world
	shard *Shard
	sends int // in the current turn
}

func newCrowdedShard(t *testing.T) *crowdedShard {
	w := newWorld(t, 1)
	return &crowdedShard{world: w, shard: w.hub.Shard(0)}
}

// add returns a connected socket that is in a room.
func (c *crowdedShard) add(room string) *Socket {
	sink := &recordingSink{of: c}
	s := c.shard.Open(sink, "", c.now)
	s.phase = phaseConnected
	c.shard.join(s, []byte(room), false)
	return s
}

func (s *Socket) got() []*codec.Message { return s.sink.(*recordingSink).got }

// drain runs turns until nothing is left, and returns their number. It calls
// between after each turn but the last.
func (c *crowdedShard) drain(between func()) (turns int) {
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

// A broadcast to a large room is a walk over its members, at most a portion of
// them in a turn, whether a service or a client sends it. The order of messages
// must be kept.
func TestBroadcastToALargeRoomIsSplitIntoPortions(t *testing.T) {
	const members = 200_000
	c := newCrowdedShard(t)
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
			t.Fatalf("member %d got %d messages, want those of the log and those of the client, each in order", i, len(s.got()))
		}
	}
	if n := c.shard.stats.Deliveries.Load(); n != 5*members-2 {
		t.Errorf("%d deliveries counted, want %d", n, 5*members-2)
	}
}

// Broadcasts use up a turn's portion exactly, or all but a member or two. The
// mailbox must be empty afterwards, including a message that was delivered
// during the last walk.
func TestMailboxIsEmptyAfterFullPortions(t *testing.T) {
	for _, members := range []int{1, portion/2 - 1, portion / 2, portion - 2, portion - 1, portion, portion + 1, 2 * portion} {
		c := newCrowdedShard(t)
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
		c.drain(deliver) // the last message is delivered during the walks of the others
		if c.shard.Pending() != 0 || !slices.Equal(last.got(), m[:next]) || c.shard.Position() != uint64(next) {
			t.Errorf("%d members: %d pending, the last has got %d of %d messages, position %d",
				members, c.shard.Pending(), len(last.got()), next, c.shard.Position())
		}
	}
}

// Members join and leave during a walk. A socket that was a member when the
// walk began, and still is when its turn comes, must get the message once. One
// that joined later must not get it.
func TestMembersComeAndGoDuringAWalk(t *testing.T) {
	const members = 5 * portion / 2
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 0))
		c := newCrowdedShard(t)
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
				t.Fatalf("seed %d: a member that joined during the walk got %d messages, want none", seed, len(s.got()))
			}
		}
		for i, member := range c.shard.rooms.get("conversation:all").members.all() {
			if at := member.rooms.all()[member.in(c.shard.rooms.get("conversation:all"))]; int(at.seat) != i {
				t.Fatalf("seed %d: the member in seat %d has recorded seat %d", seed, i, at.seat)
			}
		}
	}
}

// All members leave during a walk, and another socket joins a room of the same
// name. It must get only the broadcast whose walk had not begun.
func TestRoomEndsDuringAWalk(t *testing.T) {
	c := newCrowdedShard(t)
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

// A shard's position must stay below that of an event until the walk has
// reached all members: a client that is disconnected meanwhile must get the
// event when it returns.
func TestShardPositionIsBelowAnEventDuringItsWalk(t *testing.T) {
	c := newCrowdedShard(t)
	for range portion + 10 {
		c.add("conversation:all")
	}
	c.hub.Deliver(Broadcast{Room: "conversation:all", Message: messages(1)[0], Position: 7})
	c.hub.Passed(7)
	c.shard.Drain(1 << 20)
	if p := c.shard.Position(); p != 6 {
		t.Errorf("position %d during the walk of event 7, want 6", p)
	}
	if c.shard.Pending() == 0 {
		t.Error("Pending is 0 during a walk")
	}
	c.drain(func() {})
	if p := c.shard.Position(); p != 7 {
		t.Errorf("position %d after the walk of event 7, want 7", p)
	}
}
