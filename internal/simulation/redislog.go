package simulation

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/redislog/core"
)

const redisLogKey = "ws:0:events"

// A redisLog is the state of a log on a Redis stream that the rules need: the
// entries that nodes have written, and those that Redis has lost. It belongs to
// the run's servedLog.
type redisLog struct {
	log    *servedLog
	number string                    // of the present log; "": there is none
	last   int64                     // position of its newest entry
	eras   map[string]int            // by number of a log: its era, which is the same when it comes back
	slots  map[eventlog.Offset]*slot // entries that Redis has, and those removed by age or size
	lost   map[eventlog.Offset]*slot // entries that Redis has lost; another entry may have the same offset now

	// Nodes that may have read entries which the present log has lost. One of them
	// must notice the loss.
	witnesses []lifeOf
	lostAt    time.Duration

	retention time.Duration
	maxBytes  int
	posted    bool // services publish over HTTP
}

// A slot is an entry of a log. event is nil if no service has published it.
type slot struct {
	at      time.Duration // when it was written
	event   *event
	entry   *entry
	removed bool // by age or size
}

func newRedisLog(l *servedLog, posted bool) *redisLog {
	draw := stream(l.r.config.Seed, 22)
	s := &redisLog{log: l, slots: make(map[eventlog.Offset]*slot), lost: make(map[eventlog.Offset]*slot), posted: posted, eras: map[string]int{"": 0}}
	s.retention = time.Duration(pick(draw, 10, 60, 3600)) * time.Second
	s.maxBytes = pick(draw, 12_000, unlimited, unlimited)
	l.r.redis.server.Script(core.Script, func(call func(args ...string) redismodel.Reply, keys, argv []string) redismodel.Reply {
		r := redismodel.AppendEvent(call, keys, argv)
		position, _ := strconv.ParseInt(r.Elems[1].Text, 10, 64)
		s.wrote(r.Elems[0].Text, position, argv)
		return r
	})
	return s
}

func (s *redisLog) identity() string { return core.Identity(s.number) }

// limit returns how many bytes nodes keep of the log. The events that are
// published at the end of a run do not fit into maxBytes, and a node that has not
// read the removed ones would have to end its sessions.
func (s *redisLog) limit() int {
	if s.log.r.ending {
		return unlimited
	}
	return s.maxBytes
}

// wrote records the end of the log after a script that may have added an entry.
func (s *redisLog) wrote(number string, position int64, fields []string) {
	if number != s.number { // the log is new, or was given another identity
		s.becomes(number)
		s.last = 0
	}
	if position > s.last {
		s.last = position
		s.add(s.log.offset(position), fields)
	}
}

// becomes records that another log is the present one.
func (s *redisLog) becomes(number string) {
	if _, known := s.eras[number]; !known {
		s.eras[number] = len(s.eras)
	}
	s.number, s.log.era = number, s.eras[number]
}

// add records an entry.
func (s *redisLog) add(o eventlog.Offset, fields []string) {
	r := s.log.r
	x := &slot{at: r.now}
	s.slots[o] = x
	if len(fields) > 1 && fields[0] == "at" { // Redis has it again
		millis, _ := strconv.ParseInt(fields[1], 10, 64)
		x.at = time.UnixMilli(millis).Sub(epoch)
	}
	n, published := numberIn(fields)
	if n >= 0 {
		x.event = r.judge.events[n]
		x.entry = r.judge.stored(x.event, int64(o.Position), published)
	}
}

// numberIn returns the number of the event in an entry, and its time of
// publishing; -1: no service has published the entry.
func numberIn(fields []string) (number int, published time.Duration) {
	number = -1
	for i := 0; i+1 < len(fields); i += 2 {
		switch fields[i] {
		case "trace":
			number, _ = strconv.Atoi(fields[i+1])
		case "published":
			micros, _ := strconv.ParseInt(fields[i+1], 10, 64)
			published = time.UnixMicro(micros).Sub(epoch)
		}
	}
	return number, published
}

// hasLost reports whether a log is not the present one, or has lost the entry at a
// position.
func (s *redisLog) hasLost(identity string, position int64) bool {
	return identity != s.identity() || s.lost[eventlog.Offset{Log: identity, Position: eventlog.Position(position)}] != nil
}

// compareLog calls compare, when Redis may have lost data.
func (s *redisServer) compareLog() {
	if l := s.r.log.redis; l != nil && !s.down { // while it is down, its data may still change
		l.compare()
	}
}

// compare compares the stream in Redis with the known entries.
func (s *redisLog) compare() {
	has := s.ask("XRANGE", redisLogKey, "-", "+").Elems
	there := make(map[eventlog.Offset][]string, len(has))
	number := ""
	for _, e := range has {
		number, s.last = splitID(e.Elems[0].Text)
		there[offsetOf(number, s.last)] = e.Elems[1].Strings()
	}
	s.loseAllBut(there)
	if number != s.number {
		s.becomes(number)
		s.readAgain()
	}
	for _, e := range has {
		number, position := splitID(e.Elems[0].Text)
		if o := offsetOf(number, position); s.slots[o] == nil {
			s.comeBack(o, there[o])
		}
	}
}

// readAgain records that the present log is an earlier one, which had been replaced or
// had got another identity. Nodes read it again, and clients get its entries again.
func (s *redisLog) readAgain() {
	for o, x := range s.slots {
		if o.Log == s.identity() && x.entry != nil {
			x.entry.cameBack = true
			x.entry.copies++
		}
	}
}

// comeBack records an entry that Redis had lost and has again. Nodes that have
// read another log meanwhile deliver it to clients again.
func (s *redisLog) comeBack(o eventlog.Offset, fields []string) {
	x := s.lost[o]
	n, _ := numberIn(fields)
	if x == nil || n >= 0 && (x.event == nil || x.event.number != n) {
		s.add(o, fields)
		return
	}
	delete(s.lost, o)
	s.slots[o] = x
	if x.entry != nil {
		x.entry.lost, x.entry.cameBack = false, true
		x.entry.copies++
		if e := x.event; e.bad || e.order {
			s.log.r.judge.dead.special[o] = e
		}
	}
}

// loseAllBut records all entries as lost that are not in there.
func (s *redisLog) loseAllBut(there map[eventlog.Offset][]string) {
	r, n := s.log.r, 0
	logs := make(map[string]bool)
	for o := range there {
		logs[o.Log] = true
	}
	for o, x := range s.slots {
		fields, is := there[o]
		switch number, _ := numberIn(fields); {
		case !is && x.removed && logs[o.Log]:
			continue // it was removed before, which is a gap
		case is && (x.event == nil && number < 0 || x.event != nil && x.event.number == number):
			x.removed = false // it is there again, with an older snapshot
			continue
		}
		n++
		if x.entry != nil {
			x.entry.lost = true
		}
		s.lost[o] = x
		r.judge.dead.lose(o)
		delete(s.slots, o)
	}
	if n > 0 {
		s.witness()
		r.trace("stream", "has lost %d entries", n)
		s.log.rewound++
		s.log.rewoundAt, r.recovery.deleted = r.now, r.now
	}
}

// witness records the nodes that may have read the lost entries.
func (s *redisLog) witness() {
	s.witnesses, s.lostAt = s.witnesses[:0], s.log.r.now
	for _, m := range s.log.r.nodes {
		if m.up {
			s.witnesses = append(s.witnesses, lifeOf{m.index, m.life})
		}
	}
}

// unnoticed reports whether no node can have noticed that the present log has lost
// entries: all nodes that may have read them have ended or cannot read. A session
// that began at began may then be recovered from a position that has another entry
// now.
func (s *redisLog) unnoticed(began time.Duration) bool {
	r := s.log.r
	if s.lostAt == 0 || began > s.lostAt {
		return false
	}
	lost := false
	for o := range s.lost {
		lost = lost || o.Log == s.identity()
	}
	return lost && !slices.ContainsFunc(r.nodes, func(m *machine) bool {
		return m.up && slices.Contains(s.witnesses, lifeOf{m.index, m.life}) && m.paused <= r.now && m.cut <= r.now &&
			m.reader.reader.Phase() == eventlog.PhaseReading
	})
}

func offsetOf(number string, position int64) eventlog.Offset {
	return eventlog.Offset{Log: core.Identity(number), Position: eventlog.Position(position)}
}

func splitID(id string) (number string, position int64) {
	number, text, _ := strings.Cut(id, "-")
	position, _ = strconv.ParseInt(text, 10, 64)
	return number, position
}

// ask executes a command at once, even if Redis is loading a snapshot.
func (s *redisLog) ask(args ...string) redismodel.Reply {
	server := s.log.r.redis.server
	loading := server.Loading
	server.Loading = false
	defer func() { server.Loading = loading }()
	c := server.Connect()
	defer c.Close()
	c.Do(args...)
	return c.Out[0]
}

// bounds implements servedLog.bounds.
func (s *redisLog) bounds() (first, last int64, known bool) {
	if s.number == "" {
		return 0, 0, false
	}
	list := s.ask("XRANGE", redisLogKey, s.number+"-0", "+", "COUNT", "1").Elems
	if len(list) == 0 {
		return 0, 0, false
	}
	_, first = splitID(list[0].Elems[0].Text)
	return first, s.last, true
}

// trimmed records the entries that were removed by age or size. A node must not
// remove entries younger than the retention, unless the log is too large.
func (s *redisLog) trimmed(node *machine) {
	r := s.log.r
	there := make(map[eventlog.Offset]bool, len(s.slots))
	for _, e := range s.ask("XRANGE", redisLogKey, "-", "+").Elems {
		there[offsetOf(splitID(e.Elems[0].Text))] = true
	}
	youngest := time.Duration(math.MinInt64)
	for o, x := range s.slots {
		if !x.removed && !there[o] {
			x.removed = true
			r.recovery.truncated = r.now
			youngest = max(youngest, x.at)
		}
	}
	if node != nil && youngest+s.retention > r.now+time.Millisecond && s.maxBytes == unlimited {
		r.fail("an event is removed too early", "%v has removed an entry that was written at %v and must be kept for %v", node, youngest, s.retention)
	}
}

const unlimited = 1 << 30 // bytes
