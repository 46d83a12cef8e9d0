package rooms

import (
	"context"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// MaxShards is how many event loops a node may have: the occupancy table keeps
// them in one word.
const MaxShards = 64

// Config says how a node's sockets behave.
type Config struct {
	Shards int // event loops, 1 … MaxShards

	Auth           Authenticator // nil: nobody has a token that is good
	Authorizer     Authorizer    // nil: everybody may be in every room
	Revoker        Revoker       // nil: tokens are good until they end
	AllowAnonymous bool          // a client without a token connects as nobody

	ConnectTimeout time.Duration // for the Socket.IO CONNECT; zero: never
	MaxPacket      int           // bytes of a packet, attachments included
	MaxMailbox     int           // broadcasts waiting for one shard
	Limits         Limits

	Handlers map[string]Handler // by event name; read-only from now on

	Cluster Cluster // nil: there are no other nodes
}

// A Hub is one node's rooms. Its exported methods are safe for concurrent use;
// each Shard belongs to its event loop.
type Hub struct {
	config    Config
	shards    []*Shard
	occupancy *occupancy
	bounds    *bounds
	vacant    vacant
	short     atomic.Bool // memory is: no more joins

	consulting atomic.Int64 // questions that have not been answered, see consult
}

// New makes a hub with its shards, which wait for their event loops.
func New(c Config) (*Hub, error) {
	if c.Shards < 1 || c.Shards > MaxShards {
		return nil, fmt.Errorf("rooms: %d shards, allowed are 1 to %d", c.Shards, MaxShards)
	}
	if c.MaxMailbox < 1 || c.MaxPacket < 1 {
		return nil, fmt.Errorf("rooms: MaxMailbox %d and MaxPacket %d must be positive", c.MaxMailbox, c.MaxPacket)
	}
	if !c.Limits.Events.ok() {
		return nil, fmt.Errorf("rooms: %d events a second with bursts of %d: a burst must be worth an hour at most",
			c.Limits.Events.PerSecond, c.Limits.Events.Burst)
	}
	if !c.Limits.Telling.ok() {
		return nil, fmt.Errorf("rooms: %d messages a second to crowds with bursts of %d: a burst must be worth an hour at most",
			c.Limits.Telling.PerSecond, c.Limits.Telling.Burst)
	}
	c.Limits.fill()
	h := &Hub{config: c, bounds: newBounds()}
	h.occupancy = newOccupancy(c.Cluster, &h.vacant)
	for i := range c.Shards {
		h.shards = append(h.shards, newShard(h, i))
	}
	return h, nil
}

// Shards is the number of shards.
func (h *Hub) Shards() int { return len(h.shards) }

// Shard returns the shard of event loop i.
func (h *Hub) Shard(i int) *Shard { return h.shards[i] }

// Deliver hands a broadcast that comes from outside the event loops to every
// shard that holds the room, and returns how many that were. Calls of one
// goroutine keep their order. It waits while a mailbox is full, so it must not
// be called on an event loop; the error is ctx's, and then some shards may
// have the broadcast and others not.
func (h *Hub) Deliver(ctx context.Context, b Broadcast) (shards int, err error) {
	if b.Order != nil {
		return len(h.shards), h.order(*b.Order)
	}
	holders := h.occupancy.of(b.Room).shards
	if holders != 0 {
		h.shards[bits.TrailingZeros64(holders)].stats.Broadcasts.Add(1)
	}
	for ; holders != 0; holders &= holders - 1 {
		if err := h.shards[bits.TrailingZeros64(holders)].mailbox.wait(ctx, b); err != nil {
			return shards, err
		}
		shards++
	}
	return shards, nil
}

// Receive hands a broadcast of another node to every shard that holds the room
// and returns how many those are. It never waits: members behind a full
// mailbox do without, which is counted.
func (h *Hub) Receive(b Broadcast) (shards int) {
	if b.Order != nil {
		_ = h.order(*b.Order) // the node that sent it has checked it
		return len(h.shards)
	}
	holders := h.occupancy.of(b.Room).shards
	h.post(b, holders)
	return bits.OnesCount64(holders)
}

// Sync calls done, on an event loop, when everything that this goroutine has
// delivered before is with the sinks of its members. Like Deliver it may wait.
func (h *Hub) Sync(ctx context.Context, done func()) error {
	b := &barrier{done: done}
	b.left.Store(int32(len(h.shards)))
	for _, shard := range h.shards {
		if err := shard.mailbox.wait(ctx, Broadcast{barrier: b}); err != nil {
			return err
		}
	}
	return nil
}

// post sends one letter to each shard in the bit set. It runs on an event
// loop and so cannot wait: members behind a full mailbox do without.
func (h *Hub) post(b Broadcast, holders uint64) {
	for ; holders != 0; holders &= holders - 1 {
		shard := h.shards[bits.TrailingZeros64(holders)]
		if !shard.mailbox.broadcast(b) {
			shard.stats.MailboxFull.Add(1)
		}
	}
}

// Members returns about how many sockets are in a room that this node holds, on
// all nodes: see Cluster.
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
