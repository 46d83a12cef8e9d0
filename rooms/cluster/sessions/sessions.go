// Package sessions moves the sessions of clients between the nodes of a
// cluster, for clients that reconnect to another node. It is a state machine
// without goroutines, clock and I/O.
//
// Each session that a client may come back to has a record in Redis. The node
// writes the record at each join and leave and when the connection ends. Only
// the node that has a session gives it away: the node to which the client
// returns asks it on its channel. If no process subscribes to that channel, the
// node is dead, and the first node that acquires a lock gets the session. If the
// session was just given away, or taken from a dead node, the answer names the
// node that took it, and the asking node asks that one.
package sessions

import (
	"maps"
	"slices"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Limits and timeouts.
const (
	maxWaiting   = 200_000                // records that may wait to be written; further ones are dropped and counted
	maxBytes     = 64 << 20               // bytes of these records
	batchMost    = 256                    // commands in a batch
	maxTakes     = 20_000                 // takes that may be under way
	answerWithin = 3 * time.Second        // a node that was asked for a session must answer within this time
	takeWithin   = 6 * time.Second        // limit for the whole take
	saveWithin   = time.Second            // limit for the wait until a record is written
	retryTake    = 100 * time.Millisecond // pause after a command has failed
	lockFor      = 10 * time.Second       // how long the taker has the lock for a dead node's session; Redis has the taker's record by then
	mostHops     = 8                      // nodes that may be asked for one session
	mostGiven    = 4096                   // sessions of which the node is remembered to which they were given
	maxMessage   = 4 << 20                // bytes of a message on a channel
)

// A Result is the outcome of Take or Elsewhere.
type Result struct {
	Ask       uint64 // the number that Take, Elsewhere or Save returned
	Record    *rooms.Record
	Why       rooms.RecoveryResult
	Moves     uint32 // of Elsewhere: how often the session was moved, according to Redis
	Elsewhere bool   // of Elsewhere: the record in Redis names another node
	Saved     bool   // of Save: Redis has the record, or a newer one
}

// A Request is another node's request for a session of this one.
type Request struct {
	PID, User string
	Node      string // name of the node that asks
	Ask       uint64
	Dissolve  bool // the node does not ask: the session continues there
}

// A Core takes and gives sessions and writes records for one node. It is not
// safe for concurrent use.
type Core struct {
	names  wire.Names
	node   string
	former string // see Replace; "": none

	pending map[string]write // by pid: the newest state, which waits to be written
	order   []string         // pids in the order in which they are written
	bytes   int
	flying  map[string]write // by pid: the states in the batch under way
	batch   []string         // the pids of that batch
	writing uint64           // id of that batch; 0: none
	dropped int64
	numbers uint64            // number of the last write
	waits   map[string][]wait // by pid, in order
	waiting int               // number of waits

	takes  map[uint64]*take
	asked  map[string]*take // by pid: takes that ask another node
	lookup []uint64         // numbers of takes whose command waits to be sent, in order
	flight map[uint64][]flight
	next   uint64

	retryAt time.Time // commands of takes wait until this time, because one has failed

	given map[string]string // by pid: the node to which the session was given
	gifts []string          // these pids in order; some are no longer in given

	outgoing []wire.Command // messages to other nodes
	answers  []answer       // answers that wait for a write under way
	results  []Result

	displaced []Displaced
}

// A flight is a command of a take whose reply has not arrived. ask is the number
// of the take, 0 if the command belongs to none.
type flight struct {
	ask   uint64
	phase phase
}

// New returns a core for the node with that name.
func New(names wire.Names, node string) *Core {
	return &Core{
		names: names, node: node, pending: make(map[string]write), takes: make(map[uint64]*take),
		flight: make(map[uint64][]flight), waits: make(map[string][]wait),
		given: make(map[string]string), asked: make(map[string]*take),
	}
}

// Node returns the node's name.
func (c *Core) Node() string { return c.node }

// Replace gives the node another name, before it has sessions. No process has
// the former name afterwards, so that name is not asked for sessions.
func (c *Core) Replace(name string) { c.former, c.node = c.node, name }

// Dissolve tells the node that had a session that the session continues here.
func (c *Core) Dissolve(pid, node string) { c.say(node, message{kind: 'd', pid: pid, node: c.node}) }

// An answer is a message to a node that asked for a session.
type answer struct {
	node, of string // of is the pid
	message
}

// Answer answers a node that asked for a session. From then on that node writes
// the record, so this node must not write it any more.
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
	delete(c.flying, r.PID) // it is not written again if the batch fails
}

// answer sends an answer as soon as no write of the session is under way. A node
// that learns that this one does not have the session reads Redis.
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

// Receive handles a message from this node's channel. If asks is true, the
// message is the request r.
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

// Tick ends takes and waits that have timed out.
func (c *Core) Tick(now time.Time) {
	for _, pid := range slices.Sorted(maps.Keys(c.waits)) { // a fixed order, for the simulation
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
		if t.phase == checking { // Redis is unreachable, for all nodes or for this one
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

// Next returns when Tick is to be called. Zero means not before another input.
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

// Results returns the results since the last call of Results.
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

// Commands returns the batch that is to be sent now, if there is one. id
// identifies it in Reply. PUBLISH commands must be sent on the connection for
// messages between nodes.
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

// Lost records that the connections are lost, so that all commands under way
// have failed.
func (c *Core) Lost() {
	for _, id := range slices.Sorted(maps.Keys(c.flight)) { // a fixed order, for the simulation
		flights := c.flight[id]
		delete(c.flight, id)
		for _, f := range flights {
			if t := c.takes[f.ask]; t != nil && t.phase == f.phase {
				c.reply(t, &wire.Reply{Err: errLost}, time.Time{})
			}
		}
	}
}
