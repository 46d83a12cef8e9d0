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
	clockMost    = 4 * time.Second          // by which the clocks of two nodes differ
	orderTime    = 500 * time.Millisecond   // until all sockets have met an order
	lostTime     = 20 * time.Second         // until all records are written anew
	replicaMost  = 6 * time.Second          // by which Redis' data is older after a failover
	troubleAfter = 30 * time.Second         // a fault may still be the reason for that long
	removeTime   = 20 * time.Millisecond    // until Redis has removed a record
	unnoticed    = answerTime + time.Second // until a node notices that a connection has been lost in silence
)

// A returning is what a client keeps to come back to its session. Owned by the
// client.
type returning struct {
	asks   bool // for recovery
	pid    string
	offset string
	past   *session      // the last one of that pid, as the client knows it
	began  time.Duration // when the pid was given
	issued time.Time     // when the token was with which a node let it in last
	left   time.Duration // when the connection ended
	cutOff time.Duration // when the last attempt ended before its answer had come; 0: it did not
	spent  string        // a pid with which it has come back in vain
	over   string        // a pid to which nobody may come back
	why    string        // that is so
	told   bool          // and Redis was told, unless node has died
	node   *machine      // which was to tell Redis
	overAt time.Duration
}

// isOver notes that nobody may come back to a session.
func (c *client) isOver(pid, why string, m *machine) {
	c.over, c.why, c.told = pid, why, !c.r.recovery.troubled(c.r.now)
	c.node, c.overAt = m, c.r.now
}

// wasTold reports whether Redis must know that a session is over: its node has
// had the time to remove the record.
func (v *returning) wasTold() bool {
	return v.told && (v.node.died < v.overAt || v.node.died > v.overAt+removeTime)
}

// cut ends the connection now and then.
func (c *client) cut() {
	if c.r.ending {
		return
	}
	c.r.after(between(c.rng, 0, 2*c.r.recovery.every), c.cut)
	switch n := c.rng.IntN(20); {
	case c.link == nil:
	case n == 0 && c.link.connected:
		c.goodbye()
	case n < 8:
		c.leave(true)
	default:
		c.leave(false)
	}
}

// goodbye has the client disconnect for good: nobody may come back to the
// session.
func (c *client) goodbye() {
	l := c.link
	pid := c.pid
	c.r.trace(c.name, "says goodbye")
	l.connected = false // it does nothing more
	l.up.send(func() {
		l.arrive(func() {
			if l.socket != nil && !l.closed && !l.closing && l.there() {
				l.socket.Text([]byte("1"), l.m.now())
				c.isOver(pid, "its client has said goodbye", l.m)
			}
		})
	})
	c.r.after(2*clientMost, func() {
		if c.link == l {
			c.leave(false)
		}
	})
}

// away draws how long the client is away.
func (c *client) away() time.Duration {
	v := &c.r.recovery
	if c.asks && v.window > 0 && !c.r.ending && c.rng.IntN(12) == 0 {
		return between(c.rng, 0, 2*v.window)
	}
	return between(c.rng, 0, reconnect)
}

// auth is what the client sends with CONNECT.
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

// ended notes when the client was connected last.
func (l *session) ended() {
	if l.connected {
		l.c.left, l.c.cutOff = l.c.r.now, 0
	} else {
		l.c.cutOff = l.c.r.now
	}
}

// answered takes the answer to CONNECT: the session of before goes on, or it is
// a new one.
func (l *session) answered(p *packet) {
	c, j := l.c, &l.c.r.judge
	switch {
	case !c.asks:
	case c.pid != "" && p.pid == c.pid:
		l.goOn()
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

// goOn takes over what the client knows from the session of before.
func (l *session) goOn() {
	c, r, old := l.c, l.c.r, l.c.past
	r.count("recovered")
	r.trace(c.name, "has come back to its session")
	switch {
	case c.over == c.pid && c.wasTold():
		r.fail("a session goes on that was over", "%s on %v is back, and %s", c.name, l.m, c.why)
	case l.id != old.id:
		r.fail("a session goes on as another socket", "%s on %v is %s and was %s", c.name, l.m, l.id, old.id)
	}
	l.members = old.members
	l.typings, l.probes, l.acks = old.typings, old.probes, old.acks
	l.back, l.returning, l.restored = true, true, make(map[int]bool)
	l.aged = r.mayBeAged(old) || r.log.redis != nil && r.log.redis.unnoticed(c.began)
	own := r.config.Rooms + c.index
	if _, executed := old.bases[own]; executed && l.members[own] == nil {
		l.members[own] = r.judge.enter(old, own)
	}
	for _, call := range old.calls { // nobody knows whether they were executed and kept
		if _, executed := old.bases[call.room]; !executed {
			continue
		}
		if l.members[call.room] == nil {
			l.members[call.room] = r.judge.enter(old, call.room)
		}
		l.members[call.room].unsure = true
	}
}

// settled checks, when everything that comes with the answer is there, that the
// client is in the rooms in which it was.
func (l *session) settled() {
	c, r := l.c, l.c.r
	l.returning = false
	old := l.old()
	if l.closing {
		return // it does not get all
	}
	for room := range r.config.Rooms {
		m, restored := l.members[room], l.restored[room]
		switch {
		case m != nil && restored:
			if m.leaving { // it may have been out for a moment
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
			r.fail("a room is too many after a return", "%s on %v is in %s again", c.name, l.m, roomID(room))
		}
	}
	l.restored = nil
}

// positionOf returns the position in an offset, and the log.
func positionOf(offset string) (log string, position int64) {
	log, rest, _ := strings.Cut(offset, ".")
	digits, _, _ := strings.Cut(rest, ".")
	position, _ = strconv.ParseInt(digits, 36, 64)
	return log, position
}

// offset checks the offset of an event.
func (j *judge) offset(l *session, p *packet) {
	if p.offset == "" {
		j.r.fail("an event has no offset", "%s on %v got %s", l.c.name, l.m, p.text)
	}
	_, position := positionOf(p.offset)
	if !slices.ContainsFunc(j.events[p.event].entries, func(x *entry) bool { return x.pos == position || x.copies > 1 }) {
		j.r.fail("an offset is wrong", "%s on %v got %s", l.c.name, l.m, p.text)
	}
}

// notRecovered checks that there is a reason for which a client is a new one.
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

// justified reports whether there may be a reason for a result.
func (j *judge) justified(l *session, why rooms.RecoveryResult) (good bool) {
	r, c, v := j.r, l.c, &j.r.recovery
	away := r.now - c.left
	troubled := v.trouble+unnoticed > c.began || !r.strict && v.troubled(r.now)
	long := away >= v.window-clockMost || !r.wallTrusted
	switch why {
	case rooms.RecoveryUnknown:
		good = long || troubled || c.over == c.pid || c.spent == c.pid || c.lostEvents || j.ordered(c) ||
			c.cutOff != 0 && r.now < c.cutOff+2*time.Second // the node still has the attempt of before
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

// troubled reports whether a fault may still have consequences.
func (v *recovery) troubled(now time.Duration) bool {
	return v.trouble != 0 && now < v.trouble+troubleAfter+v.window
}

// lately reports whether Redis may have older records than it had: it has lost
// data, and nodes may not have written them anew yet.
func (s *redisServer) lately() bool { return s.lostAt != 0 && s.r.now < s.lostAt+lostTime }

// old reports whether a session may have come back to an older record than its
// client knows.
func (l *session) old() bool { return l.aged || l.c.r.redis.lately() }

// mayBeAged reports whether the record of a session may be an older one for
// good: Redis has lost data, and the session's node has died before it could
// write the record anew.
func (r *run) mayBeAged(past *session) bool {
	died, dead := r.deaths[lifeOf{past.m.index, past.life}]
	return dead && slices.ContainsFunc(r.redis.losses, func(lost time.Duration) bool {
		return lost-replicaMost < died && died < lost+lostTime
	})
}

// obeyed checks, when a node says that a client is back, that no order which the
// node knows of has ended the session. One that revokes no token ends no session
// that begins later, whenever its token was issued.
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
				r.fail("a session goes on that was over", "%s is back on %v, order %d of %v has ended its session, whose token is of %v",
					c.name, m, o.number, x.at, c.issued.Sub(epoch))
			}
		}
	}
}

// ordered reports whether an order was for a client since its session began: a
// node that is behind reads it later than others. One that a node was obeying
// when the session began counts, too: its event loops carry orders out before
// the events that stand before them in the log, so the session begins at an
// earlier position.
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
