package adapter

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"github.com/hometrip/gateway/codec"
)

const (
	// compareTime is how long an event of one side waits for the same event of
	// the other.
	compareTime = 10 * time.Second

	// maxUnpaired is how many events may wait.
	maxUnpaired = 1 << 16
)

// A Comparer compares the events that the gateway would deliver with those that
// Node servers have delivered. It counts those that both have and those that
// only one has. Two events are the same if they have one name, go to one room
// and have equal bodies, except the time in the member "timestamp", which each
// side may fill in. Safe for concurrent use.
type Comparer struct {
	mu       sync.Mutex      // guards the following
	unpaired map[pairKey]int // how many more the gateway has; negative: Node servers
	queue    []unpaired      // the oldest first
	totals   Compared
}

type pairKey [sha256.Size]byte

// An unpaired is an event that waits for the same event of the other side.
type unpaired struct {
	key   pairKey
	until time.Time
	side  int // 1 of the gateway, -1 of Node servers
}

// Compared are the counters of a Comparer.
type Compared struct {
	Both     int64 // events that both have delivered
	NodeOnly int64 // by Node servers alone
	LogOnly  int64 // by the gateway alone
}

// NewComparer returns a comparer without events.
func NewComparer() *Comparer { return &Comparer{unpaired: make(map[pairKey]int)} }

// Deliver adds an event of the gateway: m is an Engine.IO text packet of an
// EVENT.
func (c *Comparer) Deliver(room string, m *codec.Message, now time.Time) {
	if p, err := codec.ParseSocketPacket(m.Text()[1:]); err == nil {
		c.note(room, p.Data, 1, now)
	}
}

// heard adds an event of a Node server, once for each of its rooms.
func (c *Comparer) heard(e *Emit, now time.Time) {
	for _, room := range e.Rooms {
		c.note(room, e.text, -1, now)
	}
}

func (c *Comparer) note(room string, data []byte, side int, now time.Time) {
	key := keyOf(room, data)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(now)
	before := c.unpaired[key]
	if before*side < 0 { // the other side waits
		c.totals.Both++
	} else {
		c.queue = append(c.queue, unpaired{key, now.Add(compareTime), side})
	}
	c.set(key, before+side)
}

func (c *Comparer) set(key pairKey, n int) {
	if n == 0 {
		delete(c.unpaired, key)
		return
	}
	c.unpaired[key] = n
}

// expire counts the events that have waited for too long.
func (c *Comparer) expire(now time.Time) {
	for len(c.queue) > 0 && (len(c.queue) > maxUnpaired || !now.Before(c.queue[0].until)) {
		old := c.queue[0]
		c.queue = c.queue[1:]
		n := c.unpaired[old.key]
		if n*old.side <= 0 {
			continue // has met its other side since
		}
		c.set(old.key, n-old.side)
		if old.side > 0 {
			c.totals.LogOnly++
		} else {
			c.totals.NodeOnly++
		}
	}
}

// Totals returns the counters as of now.
func (c *Comparer) Totals(now time.Time) Compared {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(now)
	return c.totals
}

// keyOf returns what the same events of both sides have in common: the room,
// and the data with sorted members and without times.
func keyOf(room string, data []byte) pairKey {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var values []any
	if d.Decode(&values) == nil {
		for _, v := range values {
			if body, ok := v.(map[string]any); ok {
				delete(body, "timestamp")
			}
		}
		if sorted, err := json.Marshal(values); err == nil {
			data = sorted
		}
	}
	return sha256.Sum256(append([]byte(room+"\x00"), data...))
}
