package main

import (
	"fmt"
	"slices"
	"time"
)

const (
	// slack is how much later than its cause something may be seen, on a busy
	// machine.
	slack = 5 * time.Second

	// mostDelay is how much longer than RabbitMQ was away an event may take to a
	// client whose gateway nothing was done to.
	mostDelay = 2 * time.Second

	mostWrong = 20 // texts kept
)

// A reason says why an event was lost for a client, or came again. Clients ask
// for recovery: what they miss comes when they come back, unless the gateway
// says that they were not recovered, and why.
type reason string

const (
	unsure  reason = "not counted: it did not come, and RabbitMQ had not confirmed it"
	forGood reason = "not counted: the client stays with a gateway that was killed for good"
)

// lost is the reason why an event has not come to a client that came back.
func lost(result string) reason { return reason("lost, recovered: false: " + result) }

// behind is the reason why an event has come again to a client that came back
// as a new one: a gateway gives that everything that it reads from then on.
func behind(result string) reason {
	return reason("came again, to a gateway that was behind because of a fault, recovered: false: " + result)
}

// A verdict is what the judge has found.
type verdict struct {
	events, confirmed int
	once, more, lost  int // confirmed events times members
	stays             int
	reasons           map[reason]int
	returns           returns
	wrongs            int      // without reason
	wrong             []string // the first of them
}

// A judge compares what was published with what came.
type judge struct {
	rounds []*round
	rooms  [][]event
	first  [][]time.Duration // when each event came to anybody
	verdict
}

func newJudge(rounds []*round, rooms [][]event, clients []*client) *judge {
	j := &judge{rounds: rounds, rooms: rooms, verdict: verdict{reasons: make(map[reason]int)}}
	for _, events := range rooms {
		first := make([]time.Duration, len(events))
		for i, e := range events {
			first[i] = never
			j.events++
			if e.sure {
				j.confirmed++
			}
		}
		j.first = append(j.first, first)
	}
	for _, c := range clients {
		first := j.first[c.room]
		for _, s := range c.stays {
			for _, r := range s.got {
				if r.number < len(first) {
					first[r.number] = min(first[r.number], r.at)
				}
			}
		}
	}
	return j
}

const again = "again" // how an event came

// client looks at all that one client has got.
func (j *judge) client(c *client) {
	events := j.rooms[c.room]
	count := make([]int, len(events))
	for _, p := range c.problems {
		j.accuse(nil, "%s", p)
	}
	list := c.sessions()
	for _, s := range list {
		j.session(c, s, count)
	}
	for n, e := range events {
		switch {
		case count[n] == 0 && !e.sure:
			j.reasons[unsure]++
		case count[n] == 0:
			j.missing(c, list, n)
		case e.sure && count[n] == 1:
			j.once++
		case e.sure:
			j.more++
		}
	}
}

// session looks at what came to one session, over all its connections, and at
// their ends.
func (j *judge) session(c *client, s *session, count []int) {
	highest, seen := -1, make(map[int]bool)
	for _, st := range s.stays {
		j.stays++
		if st.returned {
			j.back(c, st)
		}
		for _, r := range st.got {
			if r.number < 0 || r.number >= len(count) {
				j.accuse(nil, "%s got event %d of room %d, which was not published", c.user, r.number, c.room)
				continue
			}
			count[r.number]++
			j.time(c, st, r, count[r.number] == 1)
			switch {
			case seen[r.number]:
				j.came(c, st, r, again)
			case count[r.number] > 1:
				j.cameToNew(c, s, st, r)
			case r.number < highest:
				j.came(c, st, r, "behind younger ones")
			}
			seen[r.number] = true
			highest = max(highest, r.number)
		}
		j.end(c, st)
	}
}

// end looks at the end of a connection.
func (j *judge) end(c *client, s *stay) {
	if s.ended == never {
		return
	}
	round := j.endedBy(s)
	if round != nil {
		round.ended++
	}
	if round == nil || s.forGood() {
		j.accuse(round, "%s was disconnected from gateway %d at %s, it had no fault: %v", c.user, s.node, seconds(s.ended), s.why)
	}
}

// time notes how long an event took to a client that was in its room, and
// whether that was too long.
func (j *judge) time(c *client, s *stay, r receipt, first bool) {
	published := j.rooms[c.room][r.number].published
	if !first || s.joined >= published {
		return
	}
	took, round := r.at-published, j.during(published)
	if round != nil && published <= round.over {
		round.slowest = max(round.slowest, took)
	}
	if took <= mostDelay {
		return
	}
	if took -= j.excused(s.node, published, r.at); took > mostDelay {
		j.accuse(round, "%s got event %d of room %d, published at %s, at %s on gateway %d, %s more than the faults of RabbitMQ or of that gateway lasted",
			c.user, r.number, c.room, seconds(published), seconds(r.at), s.node, seconds(took))
	}
}

// excused is how much of a time an event could not reach the clients of a node:
// while RabbitMQ was away, and during faults of the node or of its way to
// RabbitMQ, and until every gateway had an event again after that.
func (j *judge) excused(node int, from, to time.Duration) (most time.Duration) {
	for _, r := range j.rounds {
		for _, h := range r.faults {
			if !h.stops || !h.of(node) {
				continue
			}
			end := h.healed
			if h.node == node {
				end = max(end, r.recovered)
			}
			most += max(0, min(to, end)-max(from, h.began))
		}
	}
	return most
}

// came notes an event that came again to a session, or behind younger ones.
func (j *judge) came(c *client, s *stay, r receipt, how string) {
	j.accuse(j.during(r.at), "%s got event %d of room %d %s on gateway %d at %s, it first came to anybody at %s",
		c.user, r.number, c.room, how, s.node, seconds(r.at), seconds(j.first[c.room][r.number]))
}

// cameToNew notes an event that came again to a client that has become a new
// one.
func (j *judge) cameToNew(c *client, s *session, st *stay, r receipt) {
	published := j.rooms[c.room][r.number].published
	if s.result != "" && published < s.stays[0].asked && j.excused(st.node, published, r.at) > 0 {
		j.reasons[behind(s.result)]++
		return
	}
	j.came(c, st, r, again)
}

// missing looks for the reason why a client has not got an event.
func (j *judge) missing(c *client, list []*session, n int) {
	published := j.rooms[c.room][n].published
	k := len(list) - 1
	for k > 0 && published < list[k].began() {
		k--
	}
	s := list[k]
	var why reason
	switch {
	case published <= s.joined && s.result != "": // it had to join anew
		why = lost(s.result)
	case published <= s.joined || n < s.highest():
	case k+1 < len(list) && list[k+1].result != "":
		why = lost(list[k+1].result)
	case k+1 == len(list) && c.gone() && s.ended() != never:
		j.reasons[forGood]++
		return
	}
	j.lost++
	round := j.during(published)
	if why == "" {
		j.accuse(round, "%s has not got event %d of room %d, published at %s, on gateway %d, in the room from %s to %s, highest got %d",
			c.user, n, c.room, seconds(published), s.stays[len(s.stays)-1].node, until(s.joined), until(s.ended()), s.highest())
		return
	}
	j.reasons[why]++
	if round != nil {
		round.lost++
	}
}

// endedBy returns the round in which a connection could end.
func (j *judge) endedBy(s *stay) *round {
	for _, r := range slices.Backward(j.rounds) {
		for _, h := range r.faults {
			if s.ended != never && h.ends && h.of(s.node) && h.began <= s.ended && s.ended <= r.over+slack {
				return r
			}
		}
	}
	return nil
}

// during returns the last round that was on at a time, or not long over.
func (j *judge) during(at time.Duration) *round {
	for _, r := range slices.Backward(j.rounds) {
		if r.began <= at && at <= r.over+slack {
			return r
		}
	}
	return nil
}

// accuse notes what has no reason.
func (j *judge) accuse(r *round, format string, args ...any) {
	j.wrongs++
	if r != nil {
		r.wrong++
	}
	if len(j.wrong) < mostWrong {
		j.wrong = append(j.wrong, fmt.Sprintf(format, args...))
	}
}

func until(at time.Duration) string {
	if at == never {
		return "the end"
	}
	return seconds(at)
}
