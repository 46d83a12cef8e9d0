// Package sessions passes the sessions of clients between the nodes of a
// cluster. It is a state machine without goroutines, clock and I/O.
//
// Each session that a client may come back to has a record in Redis. It is
// written at each join and leave and when the connection ends. Only the node
// that has a session gives it away: the node to which the client comes asks it
// on its channel. If no process subscribes to that channel, the node is dead,
// and the first node that acquires a lock gets the session. A node that asks
// for a session that was just given away, or taken from a dead node, is told
// which node took it, and asks that one.
package sessions

import (
	"maps"
	"slices"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Bounds.
const (
	maxWaiting   = 200_000                // records that wait to be written; others are not written
	maxBytes     = 64 << 20               // of these
	batchMost    = 256                    // commands in a batch
	maxTakes     = 20_000                 // takes under way
	answerWithin = time.Second            // within that time the node that has a session must answer
	takeWithin   = 3 * time.Second        // limit for the whole take
	saveWithin   = time.Second            // limit for waiting for a record to be written
	retryTake    = 100 * time.Millisecond // after Redis has not answered
	lockFor      = 10 * time.Second       // a dead node's session is its taker's: by then Redis has the taker's record
	mostHops     = 8                      // nodes that are asked for one session
	mostGiven    = 4096                   // sessions for which it is remembered to which node they were given
	maxMessage   = 4 << 20                // bytes of a message on a channel
)

// A Result is the outcome of Take or Elsewhere.
type Result struct {
	Ask       uint64 // the number that Take, Elsewhere or Save returned
	Record    *rooms.Record
	Why       rooms.RecoveryResult
	Moves     uint32 // of Elsewhere: how often the session was moved as Redis knows it
	Elsewhere bool   // of Elsewhere: that is under the name of another node
	Saved     bool   // of Save: Redis has the record, or a newer one
}

// A Request is another node's request for a session of this one.
type Request struct {
	PID, User string
	Node      string // that asks
	Ask       uint64
	Dissolve  bool // it does not ask: the session goes on there
}

// A Core is this node's part. It is not safe for concurrent use.
type Core struct {
	names  wire.Names
	node   string
	former string // see Replace; "": none

	pending map[string]write // by pid; the newest state counts
	order   []string         // in which they are written
	bytes   int
	flying  map[string]write // in the batch under way
	batch   []string         // the pids of that batch
	writing uint64           // its id; 0: none
	dropped int64
	numbers uint64            // of writes
	waits   map[string][]wait // by pid, in order
	waiting int               // number of waits

	takes  map[uint64]*take
	asked  map[string]*take // by pid, those that ask another node
	lookup []uint64         // whose command waits, in order
	flight map[uint64][]flight
	next   uint64

	retryAt time.Time // commands of takes wait until then, because one has failed

	given map[string]string // nodes to which sessions were given away
	gifts []string          // their pids, in order; some are not given away any more

	outgoing []wire.Command // messages to other nodes
	answers  []answer       // that wait for a write under way
	results  []Result

	displaced []Displaced
}

// A flight is a command under way for a take; ask 0: for none.
type flight struct {
	ask   uint64
	phase phase
}

// New returns a core for the node of that name.
func New(names wire.Names, node string) *Core {
	return &Core{
		names: names, node: node, pending: make(map[string]write), takes: make(map[uint64]*take),
		flight: make(map[uint64][]flight), waits: make(map[string][]wait),
		given: make(map[string]string), asked: make(map[string]*take),
	}
}

// Node returns the node's name.
func (c *Core) Node() string { return c.node }

// Replace gives the node another name, before it has sessions. The process that
// had the former name is dead, and is not asked for its sessions any more.
func (c *Core) Replace(name string) { c.former, c.node = c.node, name }

// Dissolve tells the node that had a session that it goes on here.
func (c *Core) Dissolve(pid, node string) { c.say(node, message{kind: 'd', pid: pid, node: c.node}) }

// An answer is a message to a node that has asked for a session.
type answer struct {
	node, of string // of: the pid
	message
}

// Answer answers a node that has asked for a session. From then on that node
// writes the record, so no write of this node may follow.
func (c *Core) Answer(r Request, record *rooms.Record, why rooms.RecoveryResult) {
	m := message{kind: 'r', ask: r.Ask, why: why}
	if record == nil {
		if heir := c.given[r.PID]; heir != "" && why == rooms.RecoveryUnknown {
			m.node, m.why = heir, rooms.RecoveryBusy
		}
		c.answer(r, m)
		return
	}
	c.gave(r.PID, r.Node)
	m.record = rooms.AppendRecord(nil, record)
	if w, ok := c.pending[r.PID]; ok {
		c.bytes -= len(w.value)
		c.pending[r.PID] = write{}
	}
	c.answer(r, m)
	delete(c.flying, r.PID) // it is not repeated
}

// answer sends an answer when no write of the session is under way to Redis: a
// node that is told that this one does not have it looks there.
func (c *Core) answer(r Request, m message) {
	if _, under := c.state(r.PID); under && len(c.answers) < maxTakes {
		c.answers = append(c.answers, answer{r.Node, r.PID, m})
		return
	}
	c.say(r.Node, m)
}

// gave records to which node a session was given away.
func (c *Core) gave(pid, node string) {
	if _, known := c.given[pid]; !known {
		if len(c.gifts) >= mostGiven {
			delete(c.given, c.gifts[0])
			c.gifts = c.gifts[1:]
		}
		c.gifts = append(c.gifts, pid)
	}
	c.given[pid] = node
}

func (c *Core) say(node string, m message) {
	if len(c.outgoing) < maxTakes {
		c.outgoing = append(c.outgoing, wire.Command{
			Name: "PUBLISH", Keys: []string{c.names.SessionChannel(node)}, Args: []string{string(m.append(nil))},
		})
	}
}

// Receive handles a message from this node's channel. asks: it is the request
// r.
func (c *Core) Receive(b []byte) (r Request, asks bool) {
	m, err := parseMessage(b)
	if err != nil {
		return r, false
	}
	switch m.kind {
	case 't', 'd':
		if m.kind == 't' && c.circle(m.pid, m.node) {
			c.say(m.node, message{kind: 'r', ask: m.ask, why: rooms.RecoveryUnknown})
			return r, false
		}
		return Request{PID: m.pid, User: m.user, Node: m.node, Ask: m.ask, Dissolve: m.kind == 'd'}, true
	case 'r':
		c.answered(m)
	}
	return r, false
}

// Tick ends what takes too long.
func (c *Core) Tick(now time.Time) {
	for _, pid := range slices.Sorted(maps.Keys(c.waits)) { // the same order in each run
		c.saved(pid, 0, now)
	}
	for _, ask := range slices.Sorted(maps.Keys(c.takes)) {
		t := c.takes[ask]
		if now.Before(t.until) {
			if !t.again.IsZero() && !now.Before(t.again) {
				t.again = time.Time{}
				c.send(t)
			}
			continue
		}
		if t.phase == checking { // Redis is away for all, or this node is cut off
			c.finish(t, Result{})
			continue
		}
		if t.phase == asking || t.phase == awaiting {
			c.fail(t, rooms.RecoveryBusy)
		} else {
			c.fail(t, rooms.RecoveryFailed)
		}
	}
}

// Next returns when Tick is to be called, as long as something is awaited.
func (c *Core) Next(now time.Time) (at time.Time) {
	for _, list := range c.waits {
		if at.IsZero() || list[0].until.Before(at) {
			at = list[0].until
		}
	}
	for _, t := range c.takes {
		due := t.until
		if !t.again.IsZero() {
			due = t.again
		}
		if at.IsZero() || due.Before(at) {
			at = due
		}
	}
	return at
}

// Results returns the outcomes since the last call.
func (c *Core) Results() []Result {
	r := c.results
	c.results = nil
	return r
}

// Waiting reports whether there is a batch to be sent.
func (c *Core) Waiting() bool {
	return len(c.lookup) > 0 || len(c.outgoing) > 0 || len(c.order) > 0 && c.writing == 0
}

// Idle reports whether all records have been written.
func (c *Core) Idle() bool {
	return len(c.order) == 0 && c.writing == 0 && len(c.outgoing) == 0 && len(c.answers) == 0
}

// Dropped returns how many records were not written because too many waited.
func (c *Core) Dropped() int64 { return c.dropped }

// Commands returns a batch of commands that are to be sent now, if there are
// any. id identifies it in Reply. Publishes go over the connection for
// messages.
func (c *Core) Commands(id uint64) (b wire.Batch, ok bool) {
	b.ID = id
	switch {
	case len(c.lookup) > 0:
		c.commands(&b)
	case len(c.outgoing) > 0:
		n := min(len(c.outgoing), batchMost)
		b.Kind, b.Commands = wire.Publish, c.outgoing[:n:n]
		c.outgoing = c.outgoing[n:]
	case len(c.order) > 0 && c.writing == 0:
		c.writes(&b)
	}
	return b, len(b.Commands) > 0
}

// Reply handles the replies to a batch.
func (c *Core) Reply(id uint64, replies []wire.Reply, now time.Time) {
	if id == c.writing {
		c.written(replies, now)
		return
	}
	flights := c.flight[id]
	delete(c.flight, id)
	for i, f := range flights {
		t := c.takes[f.ask]
		if t == nil || t.phase != f.phase || i >= len(replies) {
			continue
		}
		c.reply(t, &replies[i], now)
	}
}

// Lost records that the connections are lost: what was under way has failed.
func (c *Core) Lost() {
	for _, id := range slices.Sorted(maps.Keys(c.flight)) { // the same order in each run
		flights := c.flight[id]
		delete(c.flight, id)
		for _, f := range flights {
			if t := c.takes[f.ask]; t != nil && t.phase == f.phase {
				c.reply(t, &wire.Reply{Err: errLost}, time.Time{})
			}
		}
	}
}
