package rooms

import (
	"context"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// MaxShards is how many event loops a node may have. The occupancy table keeps
// a set of them in one word.
const MaxShards = 64

// Config is the configuration of a Hub.
type Config struct {
	Shards int // event loops, 1 … MaxShards

	Auth           Authenticator // nil: no token is valid
	Authorizer     Authorizer    // nil: every user may be in every room
	Revoker        Revoker       // nil: tokens are good until they end
	AllowAnonymous bool          // a client without a token connects as nobody

	ConnectTimeout time.Duration // time in which the Socket.IO CONNECT must arrive; zero: no limit
	MaxPacket      int           // bytes of a packet, attachments included
	MaxMailbox     int           // broadcasts waiting for one shard; services' events wait then, others are dropped
	Limits         Limits

	Handlers map[string]Handler // by event name; read-only from now on

	Cluster Cluster // nil: there are no other nodes
	Bus     Bus     // nil: events do not get to services

	Presence Presence // nil: the numbers of sockets are not reported

	Recovery    Recovery
	Outside     Outside // servers of another kind that share the rooms; nil: none
	SocketRooms bool    // each socket is also in a room named by its id
}

// A Hub is one node's rooms. Its exported methods are safe for concurrent use;
// each Shard belongs to its event loop.
type Hub struct {
	config    Config
	shards    []*Shard
	limited   atomic.Pointer[Limits]
	declared  atomic.Pointer[declarations]
	occupancy *occupancy
	bounds    *bounds
	vacant    vacant
	short     atomic.Bool  // memory is: no more joins
	questions atomic.Int64 // ids for acknowledgements that clients are asked for
	brake     brake

	consulting atomic.Int64 // questions that are open, see consult

	sessions   *sessions
	past       pasts // what is remembered to be explained
	reached    reach // whether other nodes can ask this one for sessions
	recoveries [recoveryResults]atomic.Int64

	passed atomic.Uint64 // position up to which every event is in the mailboxes or with the sockets
}

// New returns a hub. Its shards are idle until their event loops attach.
func New(c Config) (*Hub, error) {
	if c.Shards < 1 || c.Shards > MaxShards {
		return nil, fmt.Errorf("rooms: %d shards, allowed are 1 to %d", c.Shards, MaxShards)
	}
	if c.MaxMailbox < 1 || c.MaxPacket < 1 {
		return nil, fmt.Errorf("rooms: MaxMailbox %d and MaxPacket %d must be positive", c.MaxMailbox, c.MaxPacket)
	}
	h := &Hub{config: c, bounds: newBounds(), brake: newBrake()}
	h.occupancy = newOccupancy(c.Cluster, c.Outside, c.Presence, &h.vacant)
	h.config.Recovery.fill()
	h.sessions = newSessions(&h.config.Recovery)
	if err := h.SetLimits(c.Limits); err != nil {
		return nil, err
	}
	for i := range c.Shards {
		h.shards = append(h.shards, newShard(h, i))
	}
	return h, nil
}

// SetLimits applies other limits to all sockets. Rooms and memberships that
// exceed them already stay. An error changes nothing.
func (h *Hub) SetLimits(l Limits) error {
	if !l.Events.ok() {
		return fmt.Errorf("rooms: %d events a second with bursts of %d: a burst must be worth an hour at most",
			l.Events.PerSecond, l.Events.Burst)
	}
	if !l.Telling.ok() {
		return fmt.Errorf("rooms: %d messages a second to crowds with bursts of %d: a burst must be worth an hour at most",
			l.Telling.PerSecond, l.Telling.Burst)
	}
	l.fill()
	h.limited.Store(&l)
	return nil
}

func (h *Hub) limits() *Limits { return h.limited.Load() }

// Shards returns the number of shards.
func (h *Hub) Shards() int { return len(h.shards) }

// Shard returns the shard of event loop i.
func (h *Hub) Shard(i int) *Shard { return h.shards[i] }

// Holds reports whether this node has members in a room.
func (h *Hub) Holds(room []byte) bool { return h.occupancy.holds(room) }

// Deliver hands a broadcast from outside the event loops to every shard that
// holds the room, and returns how many shards those are. Calls of one goroutine
// keep their order. It never waits and drops nothing: the caller must call Wait
// before.
func (h *Hub) Deliver(b Broadcast) (shards int) {
	holders := h.occupancy.of(b.Room).shards
	if holders != 0 {
		h.shards[bits.TrailingZeros64(holders)].stats.Broadcasts.Add(1)
	}
	for ; holders != 0; holders &= holders - 1 {
		h.shards[bits.TrailingZeros64(holders)].mailbox.add(b)
		shards++
	}
	return shards
}

// Full reports whether a mailbox has MaxMailbox broadcasts or more.
func (h *Hub) Full() bool { return h.brake.full.Load() > 0 }

// Wait waits until no mailbox is full. It must not be called on an event loop.
// The error is ctx's.
func (h *Hub) Wait(ctx context.Context) error { return h.brake.wait(ctx) }

// Passed records the position up to which all events of the services' log have
// been delivered. The goroutine that delivers calls it.
func (h *Hub) Passed(position uint64) { h.passed.Store(position) }

// Anew records that the services' events come from another log from now on:
// that with this identity, after a position. Positions of the previous log do
// not apply to it. The goroutine that delivers calls it.
func (h *Hub) Anew(identity string, behind uint64) {
	h.passed.Store(behind)
	for _, sh := range h.shards {
		sh.mailbox.add(Broadcast{anew: true, Room: identity, Position: behind})
	}
}

// Gap records that events were lost: they were removed from the log before this
// node had read them, or their positions were used again for other events.
// Sessions that exist now cannot be recovered. The goroutine that delivers
// calls it.
func (h *Hub) Gap() {
	for _, pid := range h.sessions.dropEnded() {
		if h.config.Recovery.Remote != nil {
			h.config.Recovery.Remote.Forget(pid, 0)
		}
	}
	for _, sh := range h.shards {
		sh.mailbox.add(Broadcast{gap: true})
	}
}

// Receive hands a broadcast of another node to every shard that holds the room,
// and returns how many shards those are. It never waits: if a mailbox is full,
// the members of that shard do not get it, which is counted.
func (h *Hub) Receive(b Broadcast) (shards int) {
	holders := h.occupancy.of(b.Room).shards
	h.post(b, holders)
	return bits.OnesCount64(holders)
}

// post sends one message to each shard in the bit set. It runs on an event
// loop, so it cannot wait: if a mailbox is full, the members of that shard do
// not get it.
func (h *Hub) post(b Broadcast, holders uint64) {
	for ; holders != 0; holders &= holders - 1 {
		shard := h.shards[bits.TrailingZeros64(holders)]
		if !shard.mailbox.broadcast(b) {
			shard.stats.MailboxFull.Add(1)
		}
	}
}

// Members returns the approximate number of sockets that a room of this node
// has on all nodes: see Cluster.
func (h *Hub) Members(room string) int {
	return h.occupancy.members(room, h.occupancy.of(room))
}

// Names returns up to limit names of rooms that have members on this node, and
// how many such rooms there are.
func (h *Hub) Names(limit int) (names []string, total int) {
	return h.occupancy.names(limit)
}

// Stats returns the sum of the shards' counters.
func (h *Hub) Stats() Totals {
	var t Totals
	for _, s := range h.shards {
		t.add(&s.stats)
		t.MailboxWaiting += int64(s.mailbox.waiting())
	}
	t.RoomBytes += h.vacant.bytes.Load()
	return t
}
