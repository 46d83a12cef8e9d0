package simulation

import (
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// An event is an event of a service. It may be published several times.
type event struct {
	number    int
	key       string
	rooms     []int // indexes: conversations first, then the rooms of users
	user      int   // index of the user, of orders
	order     bool
	bad       bool // it cannot be delivered
	tries     int  // number of times it was published
	confirmed bool
	queued    bool // RabbitMQ has confirmed it, and it must be forwarded to the log
	entries   []*entry
}

// An entry is the first copy of an event in one log, and what is known of later
// copies.
type entry struct {
	event      *event
	era        int // number of the log
	pos        int64
	at         time.Duration // when it was written
	numbers    []int         // by the event's rooms: its index among the entries of the room
	copies     int           // number of copies in that log
	lastCopyAt time.Duration // when the last copy was written
	taken      time.Duration // when a node last took it; of orders

	published time.Duration // time of publishing, according to the message
	newest    time.Duration // the same of the newest copy
	lost      bool          // Redis has lost it
	cameBack  bool          // Redis had lost it, and has it again
}

// A judge checks the rules that hold at every step. It knows which events each
// client must get. It belongs to its run.
type judge struct {
	r          *run
	events     []*event
	rooms      [][]*entry // by room, in the order of the log
	orders     []*event
	sockets    map[string]int32   // number of each public socket id, from 1 on
	sessions   map[int32]*session // by the number of the socket id
	deliveries int
	heards     chunks[heard]
	gaps       map[*machine]eventlog.Position // end of the last gap that a node has reported
	dead       deadLetters
}

func (j *judge) init(r *run) {
	j.r = r
	j.rooms = make([][]*entry, r.config.Rooms+r.config.Clients)
	j.sockets, j.sessions = make(map[string]int32), make(map[int32]*session)
	j.gaps = make(map[*machine]eventlog.Position)
	j.dead.special, j.dead.written = make(map[eventlog.Offset]*event), make(map[eventlog.Offset]int)
	j.dead.gone = make(map[eventlog.Offset]bool)
}

func (j *judge) add(e *event) *event {
	e.number = len(j.events)
	j.events = append(j.events, e)
	return e
}

func (j *judge) newEvent(key string, rooms ...int) *event {
	return j.add(&event{key: key, rooms: rooms})
}

func (j *judge) order(key string, user int) *event {
	e := j.add(&event{key: key, user: user, order: true})
	j.orders = append(j.orders, e)
	return e
}

func (j *judge) poison() *event { return j.add(&event{key: "message.sent", bad: true}) }

// written records a message that RabbitMQ's stream has written.
func (j *judge) written(m *rabbitmodel.Message, pos int64) {
	if m.Headers[markHeader] != "" {
		return
	}
	j.stored(j.events[numberOf(m)], pos, m.At)
}

// stored records that the log has an event at a position. It returns the event's
// first copy in this log.
func (j *judge) stored(e *event, pos int64, published time.Duration) *entry {
	r, era := j.r, j.r.log.era
	if e.bad || e.order {
		j.dead.special[r.log.offset(pos)] = e
	}
	for _, x := range e.entries {
		if x.era == era && !x.lost {
			x.copies++
			x.lastCopyAt = r.now
			x.newest = max(x.newest, published)
			return x
		}
	}
	x := &entry{event: e, era: era, pos: pos, at: r.now, lastCopyAt: r.now, copies: 1, published: published, newest: published}
	for _, room := range e.rooms {
		x.numbers = append(x.numbers, len(j.rooms[room]))
		j.rooms[room] = append(j.rooms[room], x)
	}
	e.entries = append(e.entries, x)
	r.note('w', uint64(e.number), uint64(pos), uint64(era))
	if r.tracing() {
		r.trace("stream", "has event %d at %d, in its rooms number %v", e.number, pos, x.numbers)
	}
	return x
}

func (j *judge) confirmed(e *event) {
	if len(e.entries) == 0 {
		j.r.fail("a confirmed event is not in the log", "event %d", e.number)
	}
	e.confirmed = true
}

// entryTaken checks that a node takes each entry of the log once and in order, and
// skips entries only if it has reported a gap.
func (j *judge) entryTaken(m *machine, e *eventlog.Entry) {
	past := m.reader.past
	if e.Key == "user.disconnect" || e.Key == "user.logout" {
		m.obeyed[int64(e.Position)] = j.r.now
		j.taken(int64(e.Position))
	}
	j.r.note('h', uint64(m.index), uint64(e.Position), 0)
	switch {
	case past == 0 || e.Position == past+1:
	case e.Position == past+2 && j.r.broker.own[ownPosition{m.reader.log, int64(past) + 1}]:
	case e.Position <= past:
		j.r.fail("an entry is taken twice", "%v takes %d behind %d", m, e.Position, past)
	case j.gaps[m] < e.Position-1:
		j.r.fail("an entry is skipped without a gap", "%v takes %d behind %d, and no gap was told", m, e.Position, past)
	}
}

// taken records that a node takes an order.
func (j *judge) taken(pos int64) {
	for _, o := range j.orders {
		for _, x := range o.entries {
			if x.pos == pos && x.era == j.r.log.era {
				x.taken = j.r.now
			}
		}
	}
}

// gap checks a gap that a node has reported: its entries must be lost.
func (j *judge) gap(m *machine, from, to eventlog.Position) {
	j.gaps[m] = to
	if log := &j.r.log; !log.lacks(m.reader.log, int64(from)) || !log.lacks(m.reader.log, int64(to)) {
		first, last, _ := log.bounds()
		j.r.fail("a reported gap lost no entries", "%v reports a gap from %d to %d, the log has %d to %d", m, from, to, first, last)
	}
}

// memberOf returns what a client knows of a room, or nil if it is not a member. If
// the client asks for recovery, its acknowledgement waits for Redis, so events of
// the room may come before it.
func (l *session) memberOf(room int) *member {
	if l.members[room] != nil || !l.c.asks {
		return l.members[room]
	}
	for _, call := range l.calls {
		if _, executed := l.bases[room]; call.room == room && !call.leave && executed {
			l.members[room] = l.c.r.judge.enter(l, room)
		}
	}
	return l.members[room]
}

// enter returns what a client knows of a room that it has just joined.
func (j *judge) enter(l *session, room int) *member {
	return &member{since: j.r.now, base: l.bases[room], last: -1}
}

// event checks that a client may get an event: it is in one of the event's rooms,
// and the rules of inRoom hold.
func (j *judge) event(l *session, n int) {
	r := j.r
	j.deliveries++
	r.note('d', uint64(l.c.index), uint64(n), 0)
	if r.tracing() {
		r.trace(l.c.name, "gets event %d", n)
	}
	e := j.events[n]
	found := false
	for k, room := range e.rooms {
		if m := l.memberOf(room); m != nil {
			found = true
			if m.unsure {
				m.held = append(m.held, e)
				continue
			}
			j.inRoom(l, m, e, k)
		}
	}
	if !found && !(l.returning && l.mayBeOlder()) {
		r.fail("an event of a room that the client is not in", "%s on %v got event %d of rooms %v", l.c.name, l.m, n, e.rooms)
	}
}

// inRoom checks an event in the k'th of its rooms: the client has not had it, and
// no earlier event of the room is missing.
func (j *judge) inRoom(l *session, m *member, e *event, k int) {
	r, room := j.r, e.rooms[k]
	x := j.copyOf(m, e, k)
	if x == nil {
		if m.early[e.number] < repetitions(l, m, e, k) {
			if m.early == nil {
				m.early = make(map[int]int)
			}
			m.early[e.number]++
			return
		}
		if l.returning && l.mayBeOlder() {
			return
		}
		r.fail("an event comes twice or out of order", "%s on %v got event %d (number %v of %s) and had number %d before",
			l.c.name, l.m, e.number, e.entries[len(e.entries)-1].numbers[k], j.nameOf(room), m.last)
	}
	from := m.base
	if m.sure {
		from = m.last + 1
	}
	if m.leaving && l.c.asks { // it has left, but the acknowledgement waits for Redis
		from = x.numbers[k]
	}
	if m.sure = m.sure || x.numbers[k] >= m.base; !m.sure || !e.confirmed || e.tries > 1 {
		m.had = append(m.had, e.number) // another copy may come
	}
	for i := from; i < x.numbers[k]; i++ {
		j.excuse(l, m, room, i, x)
	}
	m.last = x.numbers[k]
}

// repetitions returns how often a client may get an event again, in the k'th of
// its rooms, after it has had all of its entries: for entries that came back with
// an older log, and for the newest one if the client was not a member when its
// first copy was written.
func repetitions(l *session, m *member, e *event, k int) (n int) {
	for i, x := range e.entries {
		if x.cameBack || i == len(e.entries)-1 && (x.numbers[k] < m.base || l.back) {
			n += x.copies - 1
		}
	}
	return n
}

// copyOf returns the entry of an event that a client gets now, or nil if it has
// had all of them. An event that was published again may be in two logs, and the
// client's node may not have read the first one.
func (j *judge) copyOf(m *member, e *event, k int) (x *entry) {
	for _, o := range e.entries {
		switch {
		case o.numbers[k] <= m.last:
		case x == nil:
			x = o
		case x.numbers[k] > max(m.last+1, m.base) && j.rooms[e.rooms[k]][x.numbers[k]-1].era == x.era:
			x = o // the events before it in that log have not come
		}
	}
	return x
}

func (j *judge) nameOf(room int) string {
	if n := j.r.config.Rooms; room >= n {
		return "user u" + strconv.Itoa(room-n)
	}
	return roomID(room)
}

// excuse returns if there is an accepted reason for which a client has not got
// entry number i of a room before x. Otherwise it ends the run.
func (j *judge) excuse(l *session, m *member, room, i int, x *entry) {
	missed := j.rooms[room][i]
	switch {
	case missed.era < x.era && j.r.log.redis == nil:
		return // the stream was deleted, perhaps before this node had read it
	case missed.lost:
		return // Redis was set back, perhaps before this node had read it
	case slices.Contains(m.had, missed.event.number):
		return // it was published twice, and the client has had the other copy
	case l.back && l.mayBeOlder():
		return // the session was recovered from an older record
	}
	j.r.fail("an event is missing", "%s on %v got event %d at %d, and not event %d at %d before it (number %d of %s; it is in there since %v, from number %d on)",
		l.c.name, l.m, x.event.number, x.pos, missed.event.number, missed.pos, i, j.nameOf(room), m.since, m.base)
}

// presence checks an event about another client, such as user_typing or user_joined.
func (j *judge) presence(l *session, p *packet) {
	r := j.r
	m := l.memberOf(max(p.room, 0))
	r.note('p', uint64(l.c.index), uint64(p.room), uint64(len(p.text)))
	switch {
	case p.room < 0 || m == nil:
		r.fail("an event of another client from a room that the client is not in", "%s on %v got %s", l.c.name, l.m, p.text)
	case p.user == l.c.user && p.socket == l.id && l.c.asks: // the node that had its session before has removed it
		r.count("user_left for its own socket")
		return
	case p.user == l.c.user && p.socket == l.id:
		r.fail("a client gets an event about itself", "%s on %v got %s", l.c.name, l.m, p.text)
	}
	if l.heard == nil {
		l.heard = make(map[heardKey]*heard)
	}
	key := heardKey{p.from, int32(p.room)}
	h := l.heard[key]
	if h == nil {
		h = &j.heards.take(1)[0]
		l.heard[key] = h
	}
	if s := j.sessions[p.from]; p.time < h.time && r.wallTrusted && (s == nil || s.c.past == nil) {
		r.fail("events of another client come out of order", "%s on %v got %s, and an event of %v before", l.c.name, l.m, p.text, time.UnixMilli(h.time).UTC())
	}
	h.time = p.time
	if p.typing {
		h.typings++
		s := j.sessions[p.from]
		if s == nil || s.typings[p.room] < h.typings {
			r.fail("a typing comes twice", "%s on %v got %s, which is typing number %d", l.c.name, l.m, p.text, h.typings)
		}
		if r.ending {
			m.heard++
		}
	}
}

// A heardKey identifies the events of one socket in one room.
type heardKey struct{ socket, room int32 }

// heard is what a client has got about another one in a room.
type heard struct {
	time    int64 // newest timestamp, Unix ms
	typings int
}

// number returns a small number for a public socket id.
func (j *judge) number(socket string) int32 {
	n := j.sockets[socket]
	if n == 0 {
		n = int32(len(j.sockets) + 1)
		j.sockets[socket] = n
	}
	return n
}

// refused checks that a client whose token is refused was logged out by an order.
func (j *judge) refused(l *session) {
	for _, o := range j.orders {
		if o.key == "user.logout" && o.user == l.c.index && slices.ContainsFunc(o.entries, func(x *entry) bool {
			return !l.issued.Truncate(time.Second).After(epoch.Add(max(x.lastCopyAt, x.newest))) // by the clock of the publisher
		}) {
			return
		}
	}
	j.r.fail("a valid token is refused", "%s on %v", l.c.name, l.m)
}
