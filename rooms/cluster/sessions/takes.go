package sessions

import (
	"math"
	"slices"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// A phase is the step that a take is at.
type phase uint8

const (
	looking  phase = iota // the record is being read
	asking                // the request is being sent to its node
	awaiting              // the node's answer is awaited
	locking               // its node is dead: this node tries to acquire the lock
	taken                 // another node has the lock: the lock is being read
	taking                // this node has the lock: the record is being read
	checking              // Elsewhere: the record is being read
)

// A take is the attempt to get a session from another node, or the check of
// Elsewhere.
type take struct {
	ask     uint64
	pid     string
	user    string
	phase   phase
	node    string   // node that is asked
	lock    string   // the node that had the session, and nodes that took it since without success; "": its node is alive
	without []string // nodes that are dead, or have given the session away
	vain    string   // the node that the record names and that does not have the session
	hops    int      // number of nodes that were asked
	until   time.Time
	command bool      // the command of the phase waits to be sent
	again   time.Time // when the command is sent again; zero: it has not failed
}

// Take begins to take the session of a pid, and returns the number of its
// result.
func (c *Core) Take(pid, user string, now time.Time) uint64 { return c.begin(pid, user, looking, now) }

// Elsewhere begins to check whether another node has taken a session, and
// returns the number of its result.
func (c *Core) Elsewhere(pid string, now time.Time) uint64 { return c.begin(pid, "", checking, now) }

func (c *Core) begin(pid, user string, p phase, now time.Time) uint64 {
	c.next++
	t := &take{ask: c.next, pid: pid, user: user, phase: p, until: now.Add(takeWithin)}
	if len(c.takes) >= maxTakes {
		c.results = append(c.results, Result{Ask: t.ask, Why: rooms.RecoveryBusy})
		return t.ask
	}
	c.takes[t.ask] = t
	if now.Before(c.retryAt) {
		t.again = c.retryAt
		return t.ask
	}
	c.send(t)
	return t.ask
}

// ask asks the node that may have the session.
func (c *Core) ask(t *take, node string) {
	if t.hops++; t.hops > mostHops {
		c.fail(t, rooms.RecoveryBusy)
		return
	}
	t.node = node
	c.asked[t.pid] = t
	c.step(t, asking)
}

// circle reports whether two nodes ask each other for the same session, as two
// returns of one client may cause. It is true on only one of the two nodes, the
// one whose name comes first.
func (c *Core) circle(pid, node string) bool {
	t := c.asked[pid]
	return t != nil && t.node == node && (t.phase == asking || t.phase == awaiting) && c.node < node
}

// want tries to acquire the lock for a session whose node does not have it, or
// whose lock this node has had already.
func (c *Core) want(t *take, node string) {
	if t.lock != "" {
		node = t.lock + ":" + node
	}
	t.lock = node
	c.step(t, locking)
}

// step begins a phase and sends its command.
func (c *Core) step(t *take, p phase) {
	t.phase = p
	c.send(t)
}

// send sends the command of a take's phase.
func (c *Core) send(t *take) {
	t.command = true
	c.lookup = append(c.lookup, t.ask)
}

func (c *Core) finish(t *take, r Result) {
	delete(c.takes, t.ask)
	if c.asked[t.pid] == t {
		delete(c.asked, t.pid)
	}
	r.Ask = t.ask
	c.results = append(c.results, r)
}

func (c *Core) fail(t *take, why rooms.RecoveryResult) { c.finish(t, Result{Why: why}) }

func (c *Core) answered(m message) {
	t := c.takes[m.ask]
	if t == nil || t.phase != awaiting && t.phase != asking {
		return
	}
	switch {
	case m.why == rooms.RecoveryBusy && m.node != "" && m.node != c.node: // m.node took the session
		t.without = append(t.without, t.node)
		t.lock = ""
		c.ask(t, m.node)
		return
	case m.why == rooms.RecoveryUnknown && t.lock != "": // the node that had the lock does not have the session any more
		c.want(t, t.node)
		return
	case m.why == rooms.RecoveryUnknown && t.vain != t.node: // the node may have just written the record back
		t.vain = t.node
		c.step(t, looking)
		return
	case m.why != rooms.RecoveryDone:
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
	case locking:
		args := []string{c.node, "NX", "PX", wire.Decimal(lockFor.Milliseconds())}
		return wire.Command{Name: "SET", Keys: []string{c.names.SessionLock(t.pid, t.lock)}, Args: args}
	case taken:
		return wire.Command{Name: "GET", Keys: []string{c.names.SessionLock(t.pid, t.lock)}}
	}
	return wire.Command{Name: "GET", Keys: key}
}

func (c *Core) reply(t *take, r *wire.Reply, now time.Time) {
	if r.Err == nil {
		c.retryAt = time.Time{}
	}
	if t.phase == checking {
		c.checked(t, r)
		return
	}
	switch {
	case r.Err != nil && t.phase == asking: // the node may have received the request
		c.fail(t, rooms.RecoveryFailed)
	case r.Err != nil: // a node that has just started has no connection yet
		t.again = c.retry(now)
	case t.phase == asking && r.Int == 0: // no subscriber: the node is dead
		t.without = append(t.without, t.node)
		c.want(t, t.node)
	case t.phase == asking:
		t.phase = awaiting
		t.until = now.Add(answerWithin)
	case t.phase == locking && r.Nil:
		c.step(t, taken)
	case t.phase == locking:
		c.step(t, taking)
	case t.phase == taken && r.Nil: // the lock has expired meanwhile
		c.step(t, locking)
	case t.phase == taken && r.Text == c.node: // the lock of an earlier return to this node, which no longer has the session
		c.want(t, c.node)
	case t.phase == taken:
		c.ask(t, r.Text)
	case r.Nil:
		c.fail(t, rooms.RecoveryUnknown)
	default:
		c.found(t, r.Text)
	}
}

// retry returns when a failed command is sent again. All failed commands get the
// same time, so that they share batches.
func (c *Core) retry(now time.Time) time.Time {
	if !now.Before(c.retryAt) {
		c.retryAt = now.Add(retryTake)
	}
	return c.retryAt
}

// checked handles the record that Elsewhere has read.
func (c *Core) checked(t *take, r *wire.Reply) {
	if w, ok := c.state(t.pid); r.Err != nil || r.Nil || ok && !w.remove {
		c.finish(t, Result{})
		return
	}
	record, err := rooms.ParseRecord([]byte(r.Text))
	if err != nil { // written by a version that this one cannot parse
		c.finish(t, Result{Moves: math.MaxUint32, Elsewhere: true})
		return
	}
	c.finish(t, Result{Moves: record.Moves, Elsewhere: record.Node != c.node})
}

// found handles the record that was read. If this node has the lock, it has the
// session now. Otherwise it asks the node that the record names.
func (c *Core) found(t *take, text string) {
	record, err := rooms.ParseRecord([]byte(text))
	switch {
	case err != nil || record.PID != t.pid:
		c.fail(t, rooms.RecoveryUnknown)
	case record.User != t.user:
		c.fail(t, rooms.RecoveryOtherUser)
	case t.phase == taking && slices.Contains(t.without, record.Node):
		record.Orphan = true
		c.finish(t, Result{Record: record})
	case record.Node == c.node && c.given[t.pid] != "": // the node that took it has not written the record yet
		t.lock, t.without = "", append(t.without, c.node)
		c.ask(t, c.given[t.pid])
	case record.Node == c.node || record.Node == t.vain: // that node no longer has the session
		c.fail(t, rooms.RecoveryUnknown)
	case record.Node == c.former: // or "": the node that had the session has put it back
		t.without = append(t.without, record.Node)
		c.want(t, record.Node)
	default:
		t.lock = ""
		c.ask(t, record.Node)
	}
}
