package rooms

import (
	"fmt"
	"math/bits"
	"time"
)

// MaxShards is how many event loops a node may have: the occupancy table keeps
// them in one word.
const MaxShards = 64

// Config says how a node's sockets behave.
type Config struct {
	Shards int // event loops, 1 … MaxShards

	Auth           Authenticator // nil: nobody has a token that is good
	AllowAnonymous bool          // a client without a token connects as nobody

	ConnectTimeout time.Duration // for the Socket.IO CONNECT; zero: never
	MaxPacket      int           // bytes of a packet, attachments included
	MaxMailbox     int           // broadcasts waiting for one shard

	Handlers map[string]Handler // by event name; read-only from now on
}

// A Hub is one node's rooms. Deliver, Names and the counters are safe for
// concurrent use; each Shard belongs to its event loop.
type Hub struct {
	config    Config
	shards    []*Shard
	occupancy *occupancy
}

// New makes a hub with its shards, which wait for their event loops.
func New(c Config) (*Hub, error) {
	if c.Shards < 1 || c.Shards > MaxShards {
		return nil, fmt.Errorf("rooms: %d shards, allowed are 1 to %d", c.Shards, MaxShards)
	}
	h := &Hub{config: c, occupancy: newOccupancy()}
	for i := range c.Shards {
		h.shards = append(h.shards, newShard(h, i))
	}
	return h, nil
}

// Shard returns the shard of event loop i.
func (h *Hub) Shard(i int) *Shard { return h.shards[i] }

// Deliver hands a broadcast that comes from outside the event loops to every
// shard that holds the room, in the order of the calls, and reports how many
// that were. It never blocks. ok is false when a mailbox was full and its
// members will not get the message.
func (h *Hub) Deliver(b Broadcast) (shards int, ok bool) {
	return h.post(b, h.occupancy.holders(b.Room))
}

// post sends one letter to each shard in the bit set.
func (h *Hub) post(b Broadcast, holders uint64) (shards int, ok bool) {
	ok = true
	for ; holders != 0; holders &= holders - 1 {
		shard := h.shards[bits.TrailingZeros64(holders)]
		if !shard.mailbox.broadcast(b) {
			shard.stats.MailboxFull.Add(1)
			ok = false
		}
		shards++
	}
	return shards, ok
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
	return t
}
