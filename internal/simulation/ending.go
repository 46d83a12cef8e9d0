package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/wire"
	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	quietTime = 75 * time.Second // within which all consequences of faults must end
	probeTime = 8 * time.Second  // within which the probe's events must arrive
	fewTypers = 25               // rooms with more members are not probed by typing

	returnTime = silentTime + 20*time.Second // within which all clients whose connection was cut must be back
)

// finish ends all faults, waits until the fleet has recovered from them, and
// checks the rules for a fleet at rest. If clients ask for recovery, it cuts their
// connections and checks again. Then it probes every room.
func (r *run) finish() {
	r.ending = true
	r.trace("run", "all faults end")
	r.heal()
	r.until(r.now + quietTime)
	r.checkQuiet()
	if r.recovery.tail > 0 {
		r.cutAll()
		r.until(r.now + returnTime)
		r.checkQuiet()
	}
	r.probe()
	r.until(r.now + probeTime)
	r.checkProbe()
	r.checkQuiet()
}

// heal ends all faults.
func (r *run) heal() {
	r.redis.heal()
	r.broker.heal()
	for _, m := range r.nodes {
		m.slow, m.cut, m.off, m.deaf = 0, 0, 0, 0
		m.dieAtJoin, m.dieAtReturn = 0, 0
		if !m.up && !m.stays && m.transfer == nil {
			m.start()
		}
	}
	for _, c := range r.clients {
		c.slow = false
		if c.asks && c.link == nil {
			r.after(r.between(0, reconnect), c.connect)
		}
	}
}

// cutAll cuts the connections of all clients that ask for recovery, and publishes
// events while they are away.
func (r *run) cutAll() {
	r.trace("run", "cuts all connections")
	r.strict = true
	for i, c := range r.clients {
		if !c.asks {
			continue
		}
		r.after(r.between(0, time.Second), func() { c.leave(i%2 == 0) })
		e := r.judge.newEvent("booking.confirmed", r.config.Rooms+c.index)
		r.after(r.between(0, 3*time.Second), func() { r.service.publish(e) })
	}
	for room := range r.config.Rooms {
		e := r.judge.newEvent("message.sent", room)
		r.after(r.between(0, 3*time.Second), func() { r.service.publish(e) })
	}
}

// checkQuiet checks what must hold when nothing happens any more.
func (r *run) checkQuiet() {
	if !r.service.idle() {
		r.fail("something waits for ever", "events of services are not confirmed")
	}
	r.checkForwarded()
	for _, c := range r.clients {
		if l := c.link; l == nil || !l.connected || l.members[r.config.Rooms+c.index] == nil {
			r.fail("something waits for ever", "%s is not connected", c.name)
		}
		for _, m := range c.link.calls {
			r.fail("something waits for ever", "%s waits for an acknowledgement of %s", c.name, roomID(m.room))
		}
	}
	for _, m := range r.nodes {
		if m.up {
			r.checkNode(m)
		}
	}
	r.checkDirectory()
	r.checkClients()
	r.checkOrders()
	r.checkLetters()
	r.checkPresence()
}

// checkForwarded checks that the log has got every event that RabbitMQ has
// confirmed to a service.
func (r *run) checkForwarded() {
	for _, e := range r.judge.events {
		if e.queued && len(e.entries) == 0 {
			r.fail("an event is not forwarded", "event %d", e.number)
		}
	}
}

func (r *run) checkNode(m *machine) {
	s := m.node.Stats()
	_, end, _ := r.log.bounds()
	switch {
	case !s.Connected:
		r.fail("something waits for ever", "%v is not connected to Redis", m)
	case !s.Registered:
		r.fail("something waits for ever", "%v has not registered", m)
	case s.Queued != 0:
		r.fail("something waits for ever", "%v has %d messages queued", m, s.Queued)
	case m.hub.Stats().MailboxWaiting != 0:
		r.fail("something waits for ever", "%v has %d broadcasts in its mailboxes", m, m.hub.Stats().MailboxWaiting)
	case m.reader.reader.Phase() != eventlog.PhaseReading,
		int64(m.reader.past) != end && (m.reader.past != 0 || int64(m.reader.reader.Last()) != end):
		r.fail("something waits for ever", "%v has read up to %d, the stream has %d (%v)", m, m.reader.past, end, m.reader.reader.Phase())
	}
	if got, want := len(s.Peers), r.running()-1; got != want {
		r.fail("a node does not know the others", "%v has %d peers, want %d", m, got, want)
	}
}

func (r *run) running() (n int) {
	for _, m := range r.nodes {
		if m.up {
			n++
		}
	}
	return n
}

// checkDirectory checks that Redis has, for each room, exactly the sessions of the
// nodes that hold it.
func (r *run) checkDirectory() {
	r.redis.advance()
	byNumber := make(map[uint32]*machine)
	for _, m := range r.nodes {
		if m.up {
			byNumber[m.cluster.number] = m
		}
	}
	has := make(map[string]map[*machine]bool)
	for _, room := range r.redis.roomsKept() {
		has[room] = make(map[*machine]bool)
		for _, session := range r.redis.sessionsOf(room) {
			m := byNumber[wire.NodeOf(session)]
			switch {
			case m == nil:
				r.fail("the directory is wrong", "%s is held by session %d of a node that is gone", room, session)
			case has[room][m]:
				r.fail("the directory is wrong", "%s is held by %v twice: %v", room, m, r.redis.sessionsOf(room))
			case !m.hub.Holds([]byte(room)):
				r.fail("the directory is wrong", "%s is held by session %d of %v, which has no members in it", room, session, m)
			}
			has[room][m] = true
		}
	}
	for _, m := range r.nodes {
		if !m.up {
			continue
		}
		held, _ := m.hub.Names(1 << 20)
		for _, room := range held {
			if !has[room][m] {
				r.fail("the directory is wrong", "%s is not held by %v, which has members there", room, m)
			}
		}
	}
	r.checkMembers()
}

// checkMembers checks the nodes' counts of members, which may be off by 1/8.
func (r *run) checkMembers() {
	for room := range r.config.Rooms {
		name := "conversation:" + roomID(room)
		total := 0
		for _, c := range r.clients {
			if c.link.members[room] != nil {
				total++
			}
		}
		for _, m := range r.nodes {
			if !m.up || !m.hub.Holds([]byte(name)) {
				continue
			}
			if got := m.hub.Members(name); got < total-total/8 || got > total+total/8 {
				r.fail("a room's members are counted wrong", "%v counts %d in %s, %d of them on other nodes; there are %d: %s",
					m, got, name, m.node.Members(name), total, r.memberList(room))
			}
		}
	}
}

// checkClients checks that every client has got every event that was for it.
func (r *run) checkClients() {
	for _, c := range r.clients {
		for room, m := range c.link.members {
			if m == nil {
				continue
			}
			list := r.judge.rooms[room]
			for i := max(m.last+1, m.base); i < len(list); i++ {
				x := list[i]
				if x.lost || r.log.redis == nil && x.era != r.log.era && x.at < r.log.rewoundAt || slices.Contains(m.had, x.event.number) {
					continue
				}
				r.fail("an event never comes", "%s on %v did not get event %d at %d (number %d of %s; in there since %v, from number %d on, last %d)",
					c.name, c.link.m, x.event.number, x.pos, i, r.judge.nameOf(room), m.since, m.base, m.last)
			}
		}
	}
}

// checkOrders checks that no client is connected whose session an order has ended,
// and that all nodes agree on revoked tokens.
func (r *run) checkOrders() {
	for _, o := range r.judge.orders {
		for _, x := range o.entries {
			c := r.clients[o.user]
			later := c.link.issued.After(epoch.Add(x.published + rooms.IssuedLeeway)) // the token was issued after the order
			if c.link.since < x.at && x.era == r.log.era && !x.lost && !later {
				r.fail("an order is not obeyed", "%s is connected to %v since %v, order %d was written at %v",
					c.name, c.link.m, c.link.since, o.number, x.at)
			}
			if o.key == "user.logout" && x.era == r.log.era && !x.lost && r.redis.lostData == 0 {
				r.checkRevoked(o, x, c.user)
			}
		}
	}
}

// checkRevoked checks that all nodes refuse a token if one of them does. An order
// that was published while no node ran is known to none.
func (r *run) checkRevoked(o *event, x *entry, user string) {
	refuses := func(m *machine) bool {
		until, known := m.revoked[user]
		return known && !until.Before(epoch.Add(min(x.at, x.published)-publishWait-time.Second))
	}
	known := r.judge.repeated(x)
	for _, m := range r.nodes {
		known = known || m.up && refuses(m)
	}
	for _, m := range r.nodes {
		if known && m.up && !refuses(m) {
			r.fail("a revoked token is accepted", "%v does not know order %d of %v", m, o.number, x.at)
		}
	}
}

// probe publishes an event to each room, and lets each member of a small room
// type once.
func (r *run) probe() {
	r.trace("run", "probes")
	r.dropped = r.droppedFull()
	for room := range len(r.judge.rooms) {
		key := "message.sent"
		if room >= r.config.Rooms {
			key = "booking.confirmed"
		}
		e := r.judge.newEvent(key, room)
		r.after(r.between(0, 2*time.Second), func() { r.service.publish(e) })
	}
	for _, c := range r.clients {
		for room := range r.config.Rooms {
			l := c.link
			if m := l.members[room]; m != nil {
				m.heard = 0
				if r.membersOf(room) <= fewTypers {
					r.after(r.between(0, 2*time.Second), func() { l.typeIn(room) })
				}
			}
		}
	}
}

func (r *run) membersOf(room int) (n int) {
	for _, c := range r.clients {
		if c.link.members[room] != nil {
			n++
		}
	}
	return n
}

// droppedFull returns how many messages of clients the nodes have dropped, and
// counted, because a queue was full.
func (r *run) droppedFull() (n int64) {
	for _, m := range r.nodes {
		if m.up {
			n += m.node.Stats().Full + m.hub.Stats().MailboxFull
		}
	}
	return n
}

// checkProbe checks that every member has got the typing of every other one,
// unless a queue was full.
func (r *run) checkProbe() {
	if r.droppedFull() != r.dropped {
		r.count("probe with a full queue")
		return
	}
	for room := range r.config.Rooms {
		n := r.membersOf(room)
		if n > fewTypers {
			continue
		}
		typed := 0
		for _, c := range r.clients {
			if m := c.link.members[room]; m != nil && c.link.probed(room) {
				typed++
			}
		}
		for _, c := range r.clients {
			m := c.link.members[room]
			if m == nil {
				continue
			}
			want := typed
			if c.link.probed(room) {
				want--
			}
			if m.heard != want {
				r.fail("a typing does not reach all members", "%s on %v heard %d of %d in %s: %s",
					c.name, c.link.m, m.heard, want, roomID(room), r.memberList(room))
			}
		}
	}
}

// memberList lists the members of a room, for messages.
func (r *run) memberList(room int) string {
	var who []string
	for _, c := range r.clients {
		if c.link.members[room] != nil {
			who = append(who, fmt.Sprintf("%s on %v", c.name, c.link.m))
		}
	}
	return strings.Join(who, ", ")
}
