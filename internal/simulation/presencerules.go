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
	roomHeader = "room" // of an event of presence, for the judge

	presenceSlack = 3 * time.Second               // until a change is told when nothing is wrong
	presenceIll   = 30 * time.Second              // a fault may still be the reason for that long
	sweptWithin   = leaseTime + 2*time.Second     // after a node's death its users are told to be offline
	sweepSlack    = presenceSlack + 2*time.Second // and what the other steps of that may take
	wasThere      = 5 * time.Second               // a user who was there so long was told to be online
	countSlack    = 500 * time.Millisecond        // between a change on a node and in Redis
	unwritten     = 5 * time.Millisecond          // somebody who goes before that may never be written to Redis
)

// A presenceJudge knows who is there, and what services were told. Owned by the
// run.
type presenceJudge struct {
	r     *run
	grace time.Duration
	cores int // that were made, to name them

	rooms   map[string]*attended
	bodies  map[string]string // of events, by their ids
	written int               // events in the queue that are known
	ill     []span            // in which nodes may tell late, or that users are gone who are not
}

// An attended is a room, who is in there, and what was told of it.
type attended struct {
	name    string
	sockets map[*machine]int
	total   int
	changed time.Duration // when total became 0, or more than that
	empty   []span        // in which nobody was there

	told bool          // what services know: somebody is there
	at   time.Duration // when that was so
	when time.Duration // when it was told; 0: never
}

func (j *presenceJudge) init(r *run) {
	j.r = r
	draw := stream(r.config.Seed, 11)
	j.grace = []time.Duration{0, time.Second, 5 * time.Second}[draw.IntN(3)]
	j.rooms, j.bodies = make(map[string]*attended), make(map[string]string)
	ch := r.broker.broker.Connect().Channel()
	ch.ExchangeDeclare(presenceExchange, "topic")
	ch.QueueDeclare(presenceQueue, rabbitmodel.Args{Type: rabbitmodel.Quorum})
	ch.Bind(presenceQueue, "#", presenceExchange)
	for _, s := range presence.Scripts() {
		r.redis.server.Script(s.Source(), redismodel.Presence[s.String()])
	}
}

// struck notes a fault.
func (j *presenceJudge) struck(name string, last time.Duration) {
	if j.rooms == nil || name == "many clients go away at once" {
		return
	}
	j.ill = append(j.ill, span{j.r.now, j.r.now + last + presenceIll})
}

// well reports whether no fault may have had consequences in a time.
func (j *presenceJudge) well(from, to time.Duration) bool {
	return !slices.ContainsFunc(j.ill, func(x span) bool { return x.from <= to && from <= x.to })
}

// mayGo returns the keys that Redis may evict: nothing mends what is counted for
// presence, so Redis has to have memory for it.
func (j *presenceJudge) mayGo(keys []string) []string {
	if j.rooms == nil {
		return keys
	}
	prefix, _, _ := strings.Cut(names.Presence("", ""), "{")
	return slices.DeleteFunc(keys, func(key string) bool { return strings.HasPrefix(key, prefix) })
}

func (j *presenceJudge) room(name string) *attended {
	a := j.rooms[name]
	if a == nil {
		a = &attended{name: name, sockets: make(map[*machine]int), empty: []span{{from: 0}}}
		j.rooms[name] = a
	}
	return a
}

// counted notes how many sockets a node has in a room.
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
		j.came(a)
		a.empty[len(a.empty)-1].to = now
		a.changed = now
	case was > 0 && a.total == 0:
		if now-a.changed > wasThere && j.well(a.changed-wasThere, now) && !a.told {
			j.r.fail("who is there is not told", "%s has had members since %v, and at %v services did not know", room, a.changed, now)
		}
		if last := &a.empty[len(a.empty)-1]; last.to == now && now > 0 { // somebody was there for no time
			last.to, a.changed = 0, last.from
			return
		}
		a.empty = append(a.empty, span{from: now})
		a.changed = now
	}
}

// came checks that services know that nobody was there, when that was so for
// long.
func (j *presenceJudge) came(a *attended) {
	now := j.r.now
	if a.when != 0 && a.told && now-a.changed > j.grace+presenceSlack && j.well(a.changed-presenceSlack, now) {
		j.r.fail("who is gone is not told", "nobody was in %s from %v to %v, and services did not know", a.name, a.changed, now)
	}
}

// gone notes that a node is gone. What it alone had is told in time when nothing
// else is wrong.
func (j *presenceJudge) gone(m *machine) {
	var left []*attended
	for _, name := range slices.Sorted(maps.Keys(j.rooms)) {
		a := j.rooms[name]
		if a.sockets[m] == 0 {
			continue
		}
		if j.counted(m, name, 0); a.total == 0 && a.told {
			left = append(left, a)
		}
	}
	died := j.r.now
	j.ill = append(j.ill, span{died, died + presenceIll})
	j.r.after(sweptWithin+j.grace+sweepSlack, func() {
		since := died - leaseTime - presenceSlack
		for _, a := range left {
			again := a.changed != died || a.total != 0
			if !again && a.told && j.othersWell(since, died) && j.oldNodes(since) > 0 {
				j.r.fail("who is gone is not told", "%v had %s for itself and is gone since %v, and services do not know", m, a.name, died)
			}
		}
	})
}

// othersWell reports whether nothing is wrong but one death.
func (j *presenceJudge) othersWell(from, died time.Duration) bool {
	return !slices.ContainsFunc(j.ill, func(x span) bool { return x.to >= from && x.from != died })
}

// oldNodes counts nodes that have been there since a time.
func (j *presenceJudge) oldNodes(since time.Duration) (n int) {
	for _, m := range j.r.nodes {
		if m.up && m.began < since {
			n++
		}
	}
	return n
}

// published tells the judge of new events in the queue of services.
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

// event checks an event that services get.
func (j *presenceJudge) event(m *rabbitmodel.Message) {
	r := j.r
	body := m.Key + " " + m.Body
	if before, known := j.bodies[m.ID]; known {
		if before != body {
			r.fail("two events of presence have one id", "%s: %s and %s", m.ID, before, body)
		}
		r.count("presence: event again")
		return
	}
	j.bodies[m.ID] = body
	at, _ := strconv.ParseInt(m.Headers[timeHeader], 10, 64)
	a := j.room(m.Headers[roomHeader])
	here := m.Key == "user.online" || m.Key == "room.occupied"
	if rooms.OfUser(a.name) != strings.HasPrefix(m.Key, "user.") {
		r.fail("an event of presence has another kind's key", "%s of %s", m.Key, a.name)
	}
	if r.tracing() {
		r.trace("presence", "%s of %s at %v, %s", m.Key, a.name, time.Duration(at), m.ID)
	}
	if time.Duration(at) < a.at && j.mayRepeat(a) {
		r.count("presence: event late") // services know by its timestamp
		return
	}
	r.count("presence: " + m.Key)
	r.note('P', uint64(len(j.bodies)), uint64(at), uint64(len(body)))
	if here == (a.when != 0 && a.told) && !j.mayRepeat(a) {
		r.fail("two events of presence in a row say the same", "%s of %s at %v, after %v", m.Key, a.name, time.Duration(at), a.at)
	}
	if !here {
		j.offline(a, time.Duration(at))
	}
	a.told, a.at, a.when = here, time.Duration(at), r.now
}

// mayRepeat reports whether Redis may have forgotten what was told.
func (j *presenceJudge) mayRepeat(a *attended) bool {
	return slices.ContainsFunc(j.r.redis.losses, func(lost time.Duration) bool { return lost+replicaMost > a.when-presenceIll })
}

// offline checks that nobody was there, and for as long as the grace.
func (j *presenceJudge) offline(a *attended, at time.Duration) {
	now := j.r.now
	if !j.well(at-presenceSlack, now) {
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
	j.r.fail("who is there is told to be gone", "%s at %v, which is told at %v; it was empty in %v", a.name, at, now, a.empty)
}
