package sessions

import (
	"slices"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Write is the script that writes or removes a session's record in one step. It
// writes ARGV 3 for ARGV 4 ms, or removes the record if ARGV 3 is "", and
// returns 1. It returns 0 and writes nothing if the record says that another
// node has taken the session since. KEYS record; ARGV 1 how often the session
// was moved, ARGV 2 NodeMark of the node that writes. The check prevents a node
// that could not be asked for its sessions, and has not noticed that, from
// overwriting the state of the node that took one.
const Write = `local old = redis.call('GETRANGE', KEYS[1], 0, 9)
local v, _, a, b, c, d, e, f, g, h = string.byte(old, 1, 10)
if h and v == ` + version + ` and ((a * 256 + b) * 256 + c) * 256 + d > tonumber(ARGV[1])
  and ((e * 256 + f) * 256 + g) * 256 + h ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
return 1`

const version = "4" // rooms.RecordVersion

// A Displaced is a session that another node has taken while this node could
// not be asked.
type Displaced struct {
	PID   string
	Moves uint32 // how often it was moved, as far as this node knows
}

// A write is a record that waits to be written or removed.
type write struct {
	value  string
	remove bool
	moves  uint32
	keepMS int64
	number uint64 // number of the write, for waits
}

// A wait is a call of SaveAndTell whose record is not written yet.
type wait struct {
	ask    uint64
	number uint64 // number of the write
	until  time.Time
}

// Save queues a record to be written.
func (c *Core) Save(pid string, record []byte, keep time.Duration) {
	c.put(pid, saving(record, keep))
}

func saving(record []byte, keep time.Duration) write {
	return write{value: string(record), moves: rooms.RecordMoves(record), keepMS: max(keep.Milliseconds(), 1)}
}

// SaveAndTell queues a record to be written, and returns the number of the
// Result that reports whether it was.
func (c *Core) SaveAndTell(pid string, record []byte, keep time.Duration, now time.Time) uint64 {
	c.next++
	number, ok := c.put(pid, saving(record, keep))
	if !ok || c.waiting >= maxWaiting {
		c.results = append(c.results, Result{Ask: c.next})
		return c.next
	}
	c.waits[pid] = append(c.waits[pid], wait{c.next, number, now.Add(saveWithin)})
	c.waiting++
	return c.next
}

// Forget queues the removal of a session's record, unless the session was moved
// more often than moves.
func (c *Core) Forget(pid string, moves uint32) { c.put(pid, write{remove: true, moves: moves}) }

func (c *Core) put(pid string, w write) (number uint64, ok bool) {
	old, waits := c.pending[pid]
	if !waits && (len(c.pending) >= maxWaiting || c.bytes+len(w.value) > maxBytes) {
		c.dropped++
		return 0, false
	}
	if !waits {
		c.order = append(c.order, pid)
	}
	if !w.remove {
		delete(c.given, pid) // this node has the session again
	}
	c.numbers++
	w.number = c.numbers
	c.bytes += len(w.value) - len(old.value)
	c.pending[pid] = w
	return w.number, true
}

// saved ends the waits for the writes of a record up to a number, and those that
// have timed out.
func (c *Core) saved(pid string, number uint64, now time.Time) {
	list := c.waits[pid]
	n := 0
	for n < len(list) && (list[n].number <= number || !now.Before(list[n].until)) {
		c.results = append(c.results, Result{Ask: list[n].ask, Saved: list[n].number <= number})
		n++
	}
	c.waiting -= n
	if c.waits[pid] = list[n:]; n == len(list) {
		delete(c.waits, pid)
	}
}

// writes fills a batch with records to be written or removed.
func (c *Core) writes(b *wire.Batch) {
	c.flying = make(map[string]write)
	n := min(len(c.order), batchMost)
	for _, pid := range c.order[:n] {
		w := c.pending[pid]
		delete(c.pending, pid)
		if w.value == "" && !w.remove {
			continue // it was given away
		}
		c.bytes -= len(w.value)
		c.flying[pid] = w
		c.batch = append(c.batch, pid)
		b.Commands = append(b.Commands, wire.Command{
			Name: "EVAL", Script: Write, Keys: []string{c.names.SessionRecord(pid)},
			Args: []string{wire.Decimal(int64(w.moves)), wire.Decimal(int64(rooms.NodeMark(c.node))), w.value, wire.Decimal(w.keepMS)},
		})
	}
	if c.order = c.order[n:]; len(c.order) == 0 {
		c.order = nil
	}
	if len(b.Commands) == 0 {
		c.release()
		return
	}
	c.writing = b.ID
}

// written handles the replies to writes. It queues failed writes again, unless
// the record has changed since.
func (c *Core) written(replies []wire.Reply, now time.Time) {
	flying, batch := c.flying, c.batch
	c.writing, c.flying, c.batch = 0, nil, nil
	failed := wire.FirstError(replies) != nil
	for i, pid := range batch {
		w, ok := flying[pid]
		if !ok {
			continue // it was given away
		}
		if !failed {
			c.saved(pid, w.number, now)
			if replies[i].Int == 0 && !w.remove {
				c.displaced = append(c.displaced, Displaced{pid, w.moves})
			}
			continue
		}
		if _, newer := c.pending[pid]; !newer {
			c.put(pid, w)
		}
	}
	c.release()
}

// release sends the answers that no longer wait for a write.
func (c *Core) release() {
	c.answers = slices.DeleteFunc(c.answers, func(a answer) bool {
		_, under := c.state(a.of)
		if !under {
			c.say(a.node, a.message)
		}
		return !under
	})
}

// Displaced returns the sessions whose records in Redis were written by other
// nodes.
func (c *Core) Displaced() []Displaced {
	list := c.displaced
	c.displaced = nil
	return list
}

// state returns the write that is under way to Redis for a pid.
func (c *Core) state(pid string) (w write, ok bool) {
	if w, ok = c.pending[pid]; ok && (w.value != "" || w.remove) {
		return w, true
	}
	w, ok = c.flying[pid]
	return w, ok
}
