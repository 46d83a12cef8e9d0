package simulation

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	clockMost    = 4 * time.Second          // largest difference of the clocks of two nodes
	orderTime    = 500 * time.Millisecond   // within which an order reaches all sockets of a node
	lostTime     = 20 * time.Second         // within which all records are written again
	replicaMost  = 6 * time.Second          // how far Redis is set back at most by a failover or snapshot
	troubleAfter = 30 * time.Second         // for so long after its end a fault is accepted as a reason
	removeTime   = 20 * time.Millisecond    // within which a node has removed a record from Redis
	unnoticed    = answerTime + time.Second // until a node notices that a connection was lost without an error
)

// A returning is what a client keeps in order to return to its session. It
// belongs to the client.
type returning struct {
	asks       bool // the client asks for recovery
	pid        string
	offset     string
	past       *session      // the last connection with that pid
	began      time.Duration // when it got the pid
	issued     time.Time     // issue of the token with which a node last let it in
	left       time.Duration // when the connection ended
	cutOff     time.Duration // when the last attempt ended without an answer; 0: there was an answer
	failedPID  string        // a pid whose return has failed
	endedPID   string        // a pid whose session has ended for good
	endReason  string        // the reason of that
	mustBeGone bool          // Redis was reachable then, so node must have removed the record
	node       *machine      // the node that was to remove it
	endedAt    time.Duration // when the session ended
}

// sessionEnded records that a session has ended for good.
func (c *client) sessionEnded(pid, why string, m *machine) {
	c.endedPID, c.endReason, c.mustBeGone = pid, why, !c.r.recovery.troubled(c.r.now)
	c.node, c.endedAt = m, c.r.now
}

// recordMustBeGone reports whether Redis must have removed the record of the session that
// has ended: its node had the time for that.
func (v *returning) recordMustBeGone() bool {
	return v.mustBeGone && (v.node.died < v.endedAt || v.node.died > v.endedAt+removeTime)
}

// cut closes the connection, and schedules itself again.
func (c *client) cut() {
	if c.r.ending {
		return
	}
	c.r.after(between(c.rng, 0, 2*c.r.recovery.every), c.cut)
	switch n := c.rng.IntN(20); {
	case c.link == nil:
	case n == 0 && c.link.connected:
		c.disconnect()
	case n < 8:
		c.leave(true)
	default:
		c.leave(false)
	}
}

// disconnect sends a Socket.IO disconnect. The session ends for good: the client must
// not be able to return to it.
func (c *client) disconnect() {
	l := c.link
	pid := c.pid
	c.r.trace(c.name, "disconnects for good")
	l.connected = false // the client does nothing more
	l.up.send(func() {
		l.arrive(func() {
			if l.socket != nil && !l.closed && !l.closing && l.there() {
				l.socket.Text([]byte("1"), l.m.now())
				c.sessionEnded(pid, "its client has disconnected for good", l.m)
			}
		})
	})
	c.r.after(2*clientMost, func() {
		if c.link == l {
			c.leave(false)
		}
	})
}

// away draws for how long the client is away.
func (c *client) away() time.Duration {
	v := &c.r.recovery
	if c.asks && v.window > 0 && !c.r.ending && c.rng.IntN(12) == 0 {
		return between(c.rng, 0, 2*v.window)
	}
	return between(c.rng, 0, reconnect)
}

// auth returns the auth object of CONNECT.
func (c *client) auth(issued time.Time) string {
	text := `{"token":"` + token(c.user, issued) + `"`
	if c.asks {
		text += `,"recovery":true`
		if c.pid != "" {
			text += `,"pid":"` + c.pid + `"`
		}
		if c.offset != "" {
			text += `,"offset":"` + c.offset + `"`
		}
	}
	return text + "}"
}

// ended records the end of the connection.
func (l *session) ended() {
	if l.connected {
		l.c.left, l.c.cutOff = l.c.r.now, 0
	} else {
		l.c.cutOff = l.c.r.now
	}
}

// answered handles the answer to CONNECT: the session was recovered, or a new one
// has begun.
func (l *session) answered(p *packet) {
	c, j := l.c, &l.c.r.judge
	switch {
	case !c.asks:
	case c.pid != "" && p.pid == c.pid:
		l.continueSession()
	default:
		if c.pid != "" {
			j.notRecovered(l)
		}
		c.pid, c.offset, c.began, c.issued = p.pid, "", l.c.r.now, l.issued
	}
	if c.asks {
		c.past = l
	}
}

// continueSession continues with what the client knew in the recovered session.
func (l *session) continueSession() {
	c, r, old := l.c, l.c.r, l.c.past
	r.count("recovered")
	r.trace(c.name, "has come back to its session")
	switch {
	case c.endedPID == c.pid && c.recordMustBeGone():
		r.fail("an ended session is recovered", "%s on %v is back, and %s", c.name, l.m, c.endReason)
	case l.id != old.id:
		r.fail("a recovered session has another socket id", "%s on %v is %s and was %s", c.name, l.m, l.id, old.id)
	}
	l.members = old.members
	l.typings, l.probes, l.acks = old.typings, old.probes, old.acks
	l.back, l.returning, l.restored = true, true, make(map[int]bool)
	l.outdated = r.mayStayOutdated(old) || r.log.redis != nil && r.log.redis.unnoticed(c.began)
	own := r.config.Rooms + c.index
	if _, executed := old.bases[own]; executed && l.members[own] == nil {
		l.members[own] = r.judge.enter(old, own)
	}
	for _, call := range old.calls { // whether these were executed and saved is not known
		if _, executed := old.bases[call.room]; !executed {
			continue
		}
		if l.members[call.room] == nil {
			l.members[call.room] = r.judge.enter(old, call.room)
		}
		l.members[call.room].unsure = true
	}
}

// settled checks the rooms of a recovered session, when everything that comes with
// the answer has come.
func (l *session) settled() {
	c, r := l.c, l.c.r
	l.returning = false
	old := l.mayBeOlder()
	if l.closing {
		return // it does not get everything
	}
	for room := range r.config.Rooms {
		m, restored := l.members[room], l.restored[room]
		switch {
		case m != nil && restored:
			if m.leaving { // it may have left and joined again
				m.sure, m.base = false, len(r.judge.rooms[room])
			}
			m.leaving, m.unsure = false, false
			for _, e := range m.held {
				r.judge.inRoom(l, m, e, slices.Index(e.rooms, room))
			}
			m.held = nil
		case m != nil && (m.unsure || old):
			l.members[room] = nil
		case m != nil:
			r.fail("a room is missing after a return", "%s on %v is not in %s any more; in there since %v", c.name, l.m, roomID(room), m.since)
		case restored && old:
			l.members[room] = &member{since: r.now, base: len(r.judge.rooms[room]), last: -1}
		case restored:
			r.fail("an unexpected room after a return", "%s on %v is in %s again", c.name, l.m, roomID(room))
		}
	}
	l.restored = nil
}

// positionOf returns the identity of the log and the position in an offset.
func positionOf(offset string) (log string, position int64) {
	log, rest, _ := strings.Cut(offset, ".")
	digits, _, _ := strings.Cut(rest, ".")
	position, _ = strconv.ParseInt(digits, 36, 64)
	return log, position
}

// offset checks that the offset of an event has a position of the event.
func (j *judge) offset(l *session, p *packet) {
	if p.offset == "" {
		j.r.fail("an event has no offset", "%s on %v got %s", l.c.name, l.m, p.text)
	}
	_, position := positionOf(p.offset)
	if !slices.ContainsFunc(j.events[p.event].entries, func(x *entry) bool { return x.pos == position || x.copies > 1 }) {
		j.r.fail("an offset is wrong", "%s on %v got %s", l.c.name, l.m, p.text)
	}
}

// notRecovered checks that a session that was not recovered has an accepted reason.
func (j *judge) notRecovered(l *session) {
	r, c := j.r, l.c
	if l.verdicts == 0 {
		r.fail("a return without a result", "%s on %v", c.name, l.m)
	}
	for why := rooms.RecoveryResult(0); why.Valid(); why++ {
		if l.verdicts>>why&1 != 0 && j.justified(l, why) {
			return
		}
	}
	r.fail("a session is lost without a reason", "%s on %v is not recovered: %v; away for %v", c.name, l.m, l.verdict, r.now-c.left)
}

// justified reports whether a result that a node has reported may be true.
func (j *judge) justified(l *session, why rooms.RecoveryResult) (good bool) {
	r, c, v := j.r, l.c, &j.r.recovery
	away := r.now - c.left
	troubled := v.trouble+unnoticed > c.began || !r.strict && v.troubled(r.now)
	long := away >= v.window-clockMost || !r.wallTrusted
	switch why {
	case rooms.RecoveryUnknown:
		good = long || troubled || c.endedPID == c.pid || c.failedPID == c.pid || c.lostEvents || j.ordered(c) ||
			c.cutOff != 0 && r.now < c.cutOff+2*time.Second // the node still handles the attempt before
	case rooms.RecoveryWindow:
		good = long || troubled
	case rooms.RecoveryBusy, rooms.RecoveryFailed, rooms.RecoveryStale, rooms.RecoveryOffset:
		good = troubled
	case rooms.RecoveryOrder:
		good = j.ordered(c) || !r.wallTrusted
	case rooms.RecoveryOtherLog, rooms.RecoveryPosition:
		good = troubled || v.deleted != 0
	case rooms.RecoveryLogShort:
		good = v.truncated != 0 || v.tail == smallTail || v.deleted != 0
	case rooms.RecoveryTooMuch:
		good = v.events < 100 || r.limits.pending < 10_000
	}
	return good
}

// troubled reports whether a fault may still have effects.
func (v *recovery) troubled(now time.Duration) bool {
	return v.trouble != 0 && now < v.trouble+troubleAfter+v.window
}

// recentlyLostData reports whether Redis may have older records than before: it has lost
// data, and the nodes may not have written all records again.
func (s *redisServer) recentlyLostData() bool { return s.lostAt != 0 && s.r.now < s.lostAt+lostTime }

// mayBeOlder reports whether a recovered session may be older than the client's
// knowledge.
func (l *session) mayBeOlder() bool { return l.outdated || l.c.r.redis.recentlyLostData() }

// mayStayOutdated reports whether the record of a session may stay old: Redis has lost
// data, and the session's node has died before it could write the record again.
func (r *run) mayStayOutdated(past *session) bool {
	died, dead := r.deaths[lifeOf{past.m.index, past.life}]
	return dead && slices.ContainsFunc(r.redis.losses, func(lost time.Duration) bool {
		return lost-replicaMost < died && died < lost+lostTime
	})
}

// obeyed checks, when a node says that a client was recovered, that no order known
// to the node has ended the session. user.disconnect, which revokes no token, does
// not end a session that began after it.
func (j *judge) obeyed(m *machine, c *client) {
	r := j.r
	if r.log.rewound > 0 {
		return
	}
	for _, o := range j.orders {
		for _, x := range o.entries {
			at, taken := m.obeyed[x.pos]
			met := taken && at+orderTime < r.now || !taken && eventlog.Position(x.pos) <= m.reader.past
			if o.key == "user.disconnect" && x.at < c.began {
				continue
			}
			if o.user == c.index && met && !c.issued.IsZero() && epoch.Add(x.newest).After(c.issued.Add(clockMost)) {
				r.fail("an ended session is recovered", "%s is back on %v, order %d of %v has ended its session, whose token is of %v",
					c.name, m, o.number, x.at, c.issued.Sub(epoch))
			}
		}
	}
}

// ordered reports whether an order for a client was written or taken since its
// session began, with some slack for nodes that read late. An order that a node
// was carrying out when the session began counts as well: event loops carry out
// orders before the events that precede them in the log, so the session begins at
// a position before the order.
func (j *judge) ordered(c *client) bool {
	slack := clockMost
	if j.r.recovery.troubled(j.r.now) {
		slack = troubleAfter
	}
	return slices.ContainsFunc(j.orders, func(o *event) bool {
		return o.user == c.index && slices.ContainsFunc(o.entries, func(x *entry) bool {
			return max(x.at, x.taken) > c.began-slack || o.tries > 1
		})
	})
}
