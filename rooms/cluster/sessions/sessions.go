// Package sessions is how the nodes of a cluster pass the sessions of clients
// on: a state machine without goroutines, clock and I/O.
//
// Each session that a client may come back to has a record in Redis, written
// with its joins and leaves and when its connection ends. The node that has a
// session is the only one that gives it away: a node to which a client comes
// asks it over its channel. Only when nobody is subscribed to that channel, the
// node is dead, and whoever removes the record first has the session.
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
	maxWaiting   = 200_000         // records that wait to be written; others are not written
	maxBytes     = 64 << 20        // of these
	batchMost    = 256             // commands in a batch
	maxTakes     = 20_000          // sessions that are being taken
	answerWithin = time.Second     // the node that has a session must
	takeWithin   = 3 * time.Second // all of it
	saveWithin   = time.Second     // after that nobody waits any more for a record to be written
	maxMessage   = 4 << 20         // bytes of a message on a channel
)

// A Result is what has become of a session that was asked for.
type Result struct {
	Ask    uint64 // the number that Take, Owns or Save returned
	Record *rooms.Record
	Why    rooms.RecoveryResult
	Owned  bool // of Owns: nobody else has had it
	Saved  bool // of Save: Redis has the record, or a newer one
}

// A Request is another node's for a session of this one.
type Request struct {
	PID, User string
	Node      string // that asks
	Ask       uint64
	Dissolve  bool // it does not ask: the session goes on there
}

// A phase is how far a session that is being taken is.
type phase uint8

const (
	looking  phase = iota // the record is being read
	asking                // its node is being asked
	awaiting              // the node's answer is awaited
	removing              // its node is dead: the record is being removed
	checking              // whether the session is still this node's
)

// A take is a session that is being taken.
type take struct {
	ask     uint64
	pid     string
	user    string
	phase   phase
	node    string // that has it
	until   time.Time
	command bool // the phase's command waits to be sent
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
	lookup []uint64 // whose command waits, in order
	flight map[uint64][]flight
	next   uint64

	outgoing []wire.Command // messages to other nodes
	answers  []answer       // that wait for a write under way
	results  []Result
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
	}
}

// Node returns the node's name.
func (c *Core) Node() string { return c.node }

// Replace gives the node another name, before it has sessions. The process that
// had the name before is dead: nobody is asked for its sessions any more.
func (c *Core) Replace(name string) { c.former, c.node = c.node, name }

// Take begins to take the session of a pid, and returns the number of the
// result.
func (c *Core) Take(pid, user string, now time.Time) uint64 { return c.begin(pid, user, looking, now) }

// Owns begins to find out whether this node still has a session.
func (c *Core) Owns(pid string, now time.Time) uint64 { return c.begin(pid, "", checking, now) }

func (c *Core) begin(pid, user string, p phase, now time.Time) uint64 {
	c.next++
	t := &take{ask: c.next, pid: pid, user: user, phase: p, until: now.Add(takeWithin)}
	if len(c.takes) >= maxTakes {
		c.results = append(c.results, Result{Ask: t.ask, Why: rooms.RecoveryBusy, Owned: p == checking})
		return t.ask
	}
	c.takes[t.ask] = t
	c.send(t)
	return t.ask
}

// send has the command of a take's phase be sent.
func (c *Core) send(t *take) {
	t.command = true
	c.lookup = append(c.lookup, t.ask)
}

func (c *Core) finish(t *take, r Result) {
	delete(c.takes, t.ask)
	r.Ask = t.ask
	c.results = append(c.results, r)
}

func (c *Core) fail(t *take, why rooms.RecoveryResult) { c.finish(t, Result{Why: why}) }

// Dissolve tells the node that had a session that it goes on here.
func (c *Core) Dissolve(pid, node string) { c.say(node, message{kind: 'd', pid: pid, node: c.node}) }

// An answer is a message that gives a session away.
type answer struct {
	node string
	message
}

// Answer tells a node what it has asked for. From then on it is that node which
// writes the record, so nothing of this one may come later.
func (c *Core) Answer(r Request, record *rooms.Record, why rooms.RecoveryResult) {
	m := message{kind: 'r', ask: r.Ask, why: why}
	if record == nil {
		c.say(r.Node, m)
		return
	}
	m.record = rooms.AppendRecord(nil, record)
	if w, ok := c.pending[r.PID]; ok {
		c.bytes -= len(w.value)
		c.pending[r.PID] = write{}
	}
	if _, under := c.flying[r.PID]; under {
		delete(c.flying, r.PID) // it is not repeated
		c.answers = append(c.answers, answer{r.Node, m})
		return
	}
	c.say(r.Node, m)
}

func (c *Core) say(node string, m message) {
	if len(c.outgoing) < maxTakes {
		c.outgoing = append(c.outgoing, wire.Command{
			Name: "PUBLISH", Keys: []string{c.names.SessionChannel(node)}, Args: []string{string(m.append(nil))},
		})
	}
}

// Receive takes a message from this node's channel.
func (c *Core) Receive(b []byte) (r Request, asks bool) {
	m, err := parseMessage(b)
	if err != nil {
		return r, false
	}
	switch m.kind {
	case 't', 'd':
		return Request{PID: m.pid, User: m.user, Node: m.node, Ask: m.ask, Dissolve: m.kind == 'd'}, true
	case 'r':
		c.answered(m)
	}
	return r, false
}

func (c *Core) answered(m message) {
	t := c.takes[m.ask]
	if t == nil || t.phase != awaiting && t.phase != asking {
		return
	}
	if m.why != rooms.RecoveryDone {
		c.fail(t, m.why)
		return
	}
	record, err := rooms.ParseRecord(m.record)
	if err != nil || record.User != t.user || record.PID != t.pid {
		c.fail(t, rooms.RecoveryFailed)
		return
	}
	c.finish(t, Result{Record: record})
}

// Tick ends what takes too long.
func (c *Core) Tick(now time.Time) {
	for _, pid := range slices.Sorted(maps.Keys(c.waits)) { // the same order in each run
		c.saved(pid, 0, now)
	}
	for _, ask := range slices.Sorted(maps.Keys(c.takes)) {
		t := c.takes[ask]
		if now.Before(t.until) {
			continue
		}
		if t.phase == checking { // Redis is away for all, or this node is cut off
			c.finish(t, Result{Owned: true})
			continue
		}
		if t.phase == asking || t.phase == awaiting {
			c.fail(t, rooms.RecoveryBusy)
		} else {
			c.fail(t, rooms.RecoveryFailed)
		}
	}
}

// Next is when Tick is due, as long as something is awaited.
func (c *Core) Next(now time.Time) (at time.Time) {
	for _, list := range c.waits {
		if at.IsZero() || list[0].until.Before(at) {
			at = list[0].until
		}
	}
	for _, t := range c.takes {
		if at.IsZero() || t.until.Before(at) {
			at = t.until
		}
	}
	return at
}

// Results returns what has become of sessions.
func (c *Core) Results() []Result {
	r := c.results
	c.results = nil
	return r
}

// Waiting reports whether there is a batch to be sent.
func (c *Core) Waiting() bool {
	return len(c.lookup) > 0 || len(c.outgoing) > 0 || len(c.order) > 0 && c.writing == 0
}

// Idle reports whether everything has been written.
func (c *Core) Idle() bool {
	return len(c.order) == 0 && c.writing == 0 && len(c.outgoing) == 0 && len(c.answers) == 0
}

// Dropped returns how many records were not written because too many waited.
func (c *Core) Dropped() int64 { return c.dropped }

// Commands returns a batch of commands that are to be sent now, if there are
// any. id names it in Reply. Publishes go over the connection for messages.
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

// commands fills a batch with the commands of takes, all of one kind.
func (c *Core) commands(b *wire.Batch) {
	for len(c.lookup) > 0 && len(b.Commands) < batchMost {
		t := c.takes[c.lookup[0]]
		if t == nil || !t.command {
			c.lookup = c.lookup[1:]
			continue
		}
		kind := wire.Plain
		if t.phase == asking {
			kind = wire.Publish
		}
		if len(b.Commands) > 0 && kind != b.Kind {
			break
		}
		b.Kind = kind
		c.lookup = c.lookup[1:]
		t.command = false
		b.Commands = append(b.Commands, c.command(t))
		c.flight[b.ID] = append(c.flight[b.ID], flight{t.ask, t.phase})
	}
}

func (c *Core) command(t *take) wire.Command {
	key := []string{c.names.SessionRecord(t.pid)}
	switch t.phase {
	case asking:
		m := message{kind: 't', ask: t.ask, pid: t.pid, user: t.user, node: c.node}
		return wire.Command{Name: "PUBLISH", Keys: []string{c.names.SessionChannel(t.node)}, Args: []string{string(m.append(nil))}}
	case removing:
		return wire.Command{Name: "GETDEL", Keys: key}
	}
	return wire.Command{Name: "GET", Keys: key}
}

// Reply takes the answers to a batch.
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

func (c *Core) reply(t *take, r *wire.Reply, now time.Time) {
	if t.phase == checking {
		owned := r.Err != nil || r.Nil
		if !owned {
			record, err := rooms.ParseRecord([]byte(r.Text))
			owned = err == nil && record.Node == c.node
		}
		if w, ok := c.state(t.pid); ok && !w.remove {
			owned = true
		}
		c.finish(t, Result{Owned: owned})
		return
	}
	switch {
	case r.Err != nil:
		c.fail(t, rooms.RecoveryFailed)
	case t.phase == asking && r.Int == 0: // nobody listens: the node is dead
		t.phase = removing
		c.send(t)
	case t.phase == asking:
		t.phase = awaiting
		t.until = now.Add(answerWithin)
	case r.Nil:
		c.fail(t, rooms.RecoveryUnknown)
	default:
		c.found(t, r.Text)
	}
}

// found goes on with a record: it is this node's when it was removed, and its
// node's otherwise.
func (c *Core) found(t *take, text string) {
	record, err := rooms.ParseRecord([]byte(text))
	switch {
	case err != nil || record.PID != t.pid:
		c.fail(t, rooms.RecoveryUnknown)
	case record.User != t.user:
		c.fail(t, rooms.RecoveryOtherUser)
	case t.phase == removing:
		record.Orphan = true
		c.finish(t, Result{Record: record})
	case record.Node == c.node: // and this node does not know it any more
		c.fail(t, rooms.RecoveryUnknown)
	case record.Node == c.former: // "": whoever had it put it back
		t.phase = removing
		c.send(t)
	default:
		t.phase, t.node = asking, record.Node
		c.send(t)
	}
}

// Lost tells that the connections are gone: what was under way has failed.
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
