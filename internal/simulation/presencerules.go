package simulation

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/simulation/rabbitmodel"
	"github.com/hometrip/gateway/internal/simulation/redismodel"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster/presence"
)

const (
	roomHeader = "room" // header with the room of a presence event, for the judge

	presenceSlack     = 3 * time.Second               // within which a change is published, without faults
	presenceFaultTail = 30 * time.Second              // for so long after its end a fault is accepted as a reason
	sweptWithin       = leaseTime + 2*time.Second     // within which the users of a dead node are published as offline
	sweepSlack        = presenceSlack + 2*time.Second // slack for the other steps of that
	mustBeOnline      = 5 * time.Second               // a user connected for so long must have been published as online
	countSlack        = 500 * time.Millisecond        // between a change on a node and in Redis
	unwritten         = 5 * time.Millisecond          // a user who is connected for less may never be written to Redis
)

// A presenceJudge checks the rules for presence. It knows who is connected, and
// what was published. It belongs to the run.
type presenceJudge struct {
	r     *run
	grace time.Duration
	cores int // number of presence.Cores made, for their names

	rooms   map[string]*presenceRoom
	bodies  map[string]string // of published events, by their ids
	written int               // number of events in the queue that have been checked
	faulty  []span            // times in which events may be late or wrong
}

// A presenceRoom is a room or user: how many sockets it has, and what was published.
type presenceRoom struct {
	name    string
	sockets map[*machine]int
	total   int
	changed time.Duration // when total last became 0 or ceased to be 0
	empty   []span        // times in which total was 0

	occupied    bool          // last published state: it has sockets
	timestamp   time.Duration // timestamp of that event
	publishedAt time.Duration // when it was published; 0: never
}

func (j *presenceJudge) init(r *run) {
	j.r = r
	draw := stream(r.config.Seed, 11)
	j.grace = []time.Duration{0, time.Second, 5 * time.Second}[draw.IntN(3)]
	j.rooms, j.bodies = make(map[string]*presenceRoom), make(map[string]string)
	ch := r.broker.broker.Connect().Channel()
	ch.ExchangeDeclare(presenceExchange, "topic")
	ch.QueueDeclare(presenceQueue, rabbitmodel.Args{Type: rabbitmodel.Quorum})
	ch.Bind(presenceQueue, "#", presenceExchange)
	for _, s := range presence.Scripts() {
		r.redis.server.Script(s.Source(), redismodel.Presence[s.String()])
	}
}

// faultHappened records a fault.
func (j *presenceJudge) faultHappened(name string, last time.Duration) {
	if j.rooms == nil || name == "many clients go away at once" {
		return
	}
	j.faulty = append(j.faulty, span{j.r.now, j.r.now + last + presenceFaultTail})
}

// noFault reports whether no fault may have affected a time.
func (j *presenceJudge) noFault(from, to time.Duration) bool {
	return !slices.ContainsFunc(j.faulty, func(x span) bool { return x.from <= to && from <= x.to })
}

// evictable returns the keys that Redis may evict. Nothing repairs counts of presence
// that are evicted, so Redis must have enough memory for them.
func (j *presenceJudge) evictable(keys []string) []string {
	if j.rooms == nil {
		return keys
	}
	prefix, _, _ := strings.Cut(names.Presence("", ""), "{")
	return slices.DeleteFunc(keys, func(key string) bool { return strings.HasPrefix(key, prefix) })
}

func (j *presenceJudge) room(name string) *presenceRoom {
	a := j.rooms[name]
	if a == nil {
		a = &presenceRoom{name: name, sockets: make(map[*machine]int), empty: []span{{from: 0}}}
		j.rooms[name] = a
	}
	return a
}

// counted records how many sockets a node has in a room.
func (j *presenceJudge) counted(m *machine, room string, n int) {
	a := j.room(room)
	was := a.total
	a.total += n - a.sockets[m]
	if a.sockets[m] = n; n == 0 {
		delete(a.sockets, m)
	}
	now := j.r.now
	switch {
	case was == 0 && a.total > 0:
		j.firstSocket(a)
		a.empty[len(a.empty)-1].to = now
		a.changed = now
	case was > 0 && a.total == 0:
		if now-a.changed > mustBeOnline && j.noFault(a.changed-mustBeOnline, now) && !a.occupied {
			j.r.fail("an arrival is not published", "%s had members from %v to %v, and no event said so", room, a.changed, now)
		}
		if last := &a.empty[len(a.empty)-1]; last.to == now && now > 0 { // total was above 0 for no time
			last.to, a.changed = 0, last.from
			return
		}
		a.empty = append(a.empty, span{from: now})
		a.changed = now
	}
}

// firstSocket checks a room that gets its first socket: if it was empty for long, that
// must have been published.
func (j *presenceJudge) firstSocket(a *presenceRoom) {
	now := j.r.now
	if a.publishedAt != 0 && a.occupied && now-a.changed > j.grace+presenceSlack && j.noFault(a.changed-presenceSlack, now) {
		j.r.fail("a departure is not published", "%s was empty from %v to %v, and no event said so", a.name, a.changed, now)
	}
}

// nodeGone records the death of a node. Rooms that were only on this node must be
// published as empty in time, if there is no other fault.
func (j *presenceJudge) nodeGone(m *machine) {
	var left []*presenceRoom
	for _, name := range slices.Sorted(maps.Keys(j.rooms)) {
		a := j.rooms[name]
		if a.sockets[m] == 0 {
			continue
		}
		if j.counted(m, name, 0); a.total == 0 && a.occupied {
			left = append(left, a)
		}
	}
	died := j.r.now
	j.faulty = append(j.faulty, span{died, died + presenceFaultTail})
	j.r.after(sweptWithin+j.grace+sweepSlack, func() {
		since := died - leaseTime - presenceSlack
		for _, a := range left {
			again := a.changed != died || a.total != 0
			if !again && a.occupied && j.noOtherFault(since, died) && j.oldNodes(since) > 0 {
				j.r.fail("a departure is not published", "%v was the only node of %s and is gone since %v, and no event says that the room is empty", m, a.name, died)
			}
		}
	})
}

// noOtherFault reports whether the death of one node is the only fault.
func (j *presenceJudge) noOtherFault(from, died time.Duration) bool {
	return !slices.ContainsFunc(j.faulty, func(x span) bool { return x.to >= from && x.from != died })
}

// oldNodes counts the nodes that have run since a time.
func (j *presenceJudge) oldNodes(since time.Duration) (n int) {
	for _, m := range j.r.nodes {
		if m.up && m.began < since {
			n++
		}
	}
	return n
}

// published checks the new events in the queue of services.
func (j *presenceJudge) published() {
	if j.rooms == nil {
		return
	}
	q := j.r.broker.broker.Queue(presenceQueue)
	if q.Len() == j.written {
		return
	}
	for _, m := range q.Ready()[j.written:] {
		j.written++
		j.event(m)
	}
}

// event checks a published presence event.
func (j *presenceJudge) event(m *rabbitmodel.Message) {
	r := j.r
	body := m.Key + " " + m.Body
	if before, known := j.bodies[m.ID]; known {
		if before != body {
			r.fail("two presence events have the same id", "%s: %s and %s", m.ID, before, body)
		}
		r.count("presence: event again")
		return
	}
	j.bodies[m.ID] = body
	at, _ := strconv.ParseInt(m.Headers[timeHeader], 10, 64)
	a := j.room(m.Headers[roomHeader])
	here := m.Key == "user.online" || m.Key == "room.occupied"
	if rooms.OfUser(a.name) != strings.HasPrefix(m.Key, "user.") {
		r.fail("a presence event has the wrong key", "%s of %s", m.Key, a.name)
	}
	if r.tracing() {
		r.trace("presence", "%s of %s at %v, %s", m.Key, a.name, time.Duration(at), m.ID)
	}
	if time.Duration(at) < a.timestamp && j.mayRepeat(a) {
		r.count("presence: event late") // services drop it by its timestamp
		return
	}
	r.count("presence: " + m.Key)
	r.note('P', uint64(len(j.bodies)), uint64(at), uint64(len(body)))
	if here == (a.publishedAt != 0 && a.occupied) && !j.mayRepeat(a) {
		r.fail("two presence events in a row are the same", "%s of %s at %v, after %v", m.Key, a.name, time.Duration(at), a.timestamp)
	}
	if !here {
		j.offline(a, time.Duration(at))
	}
	a.occupied, a.timestamp, a.publishedAt = here, time.Duration(at), r.now
}

// mayRepeat reports whether Redis may have lost the state that was published last.
func (j *presenceJudge) mayRepeat(a *presenceRoom) bool {
	return slices.ContainsFunc(j.r.redis.losses, func(lost time.Duration) bool { return lost+replicaMost > a.publishedAt-presenceFaultTail })
}

// offline checks an event that says a room is empty: it must have been empty at
// that time and for the grace.
func (j *presenceJudge) offline(a *presenceRoom, at time.Duration) {
	now := j.r.now
	if !j.noFault(at-presenceSlack, now) {
		return
	}
	for i, x := range a.empty {
		for _, next := range a.empty[i+1:] {
			if x.to == 0 || next.from-x.to > unwritten {
				break
			}
			x.to = next.to
		}
		if x.from <= at+time.Millisecond && (x.to == 0 || x.to > at+j.grace-countSlack) {
			return
		}
	}
	j.r.fail("a departure is published too early", "%s was published as empty at %v, in an event of %v; it was empty in %v", a.name, at, now, a.empty)
}
