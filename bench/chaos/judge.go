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

// A reason says why an event was lost for a client, or came again.
type reason string

const (
	absent   reason = "lost: the client was not connected when it was published"
	joining  reason = "lost: the client's join was not acknowledged when it was published"
	underWay reason = "lost: it was under way when the client's connection ended, by harm to its gateway"
	unsure   reason = "not counted: it did not come, and RabbitMQ had not confirmed it"
)

// A verdict is what the judge has found.
type verdict struct {
	events, confirmed int
	once, more, lost  int // confirmed events times members
	stays             int
	reasons           map[reason]int
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

// client looks at all that one client has got.
func (j *judge) client(c *client) {
	events := j.rooms[c.room]
	count := make([]int, len(events))
	for _, p := range c.problems {
		j.accuse(nil, "%s", p)
	}
	for _, s := range c.stays {
		j.stay(c, s, count)
	}
	for n, e := range events {
		switch {
		case count[n] == 0 && !e.sure:
			j.reasons[unsure]++
		case count[n] == 0:
			j.lost++
			j.missing(c, n)
		case e.sure && count[n] == 1:
			j.once++
		case e.sure:
			j.more++
		}
	}
}

// stay looks at what came over one connection, and at its end.
func (j *judge) stay(c *client, s *stay, count []int) {
	j.stays++
	highest := -1
	for _, r := range s.got {
		if r.number < 0 || r.number >= len(count) {
			j.accuse(nil, "%s got event %d of room %d, which was not published", c.user, r.number, c.room)
			continue
		}
		count[r.number]++
		j.time(c, s, r, count[r.number] == 1)
		switch again := count[r.number] > 1; {
		case again:
			j.came(c, s, r, "again")
		case r.number < highest:
			j.came(c, s, r, "behind younger ones")
		}
		highest = max(highest, r.number)
	}
	if s.ended == never {
		return
	}
	round := j.endedBy(s)
	if round != nil {
		round.ended++
	}
	if round == nil || s.forGood() {
		j.accuse(round, "%s was disconnected from gateway %d at %s, no harm was done to it: %v", c.user, s.node, seconds(s.ended), s.why)
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
		j.accuse(round, "%s got event %d of room %d, published at %s, at %s on gateway %d, %s more than harm to RabbitMQ or to that gateway lasted",
			c.user, r.number, c.room, seconds(published), seconds(r.at), s.node, seconds(took))
	}
}

// excused is how much of a time an event could not reach the clients of a node:
// while RabbitMQ was away, and while harm was done to the node or its way to
// RabbitMQ, and until every gateway had an event again after that.
func (j *judge) excused(node int, from, to time.Duration) (most time.Duration) {
	for _, r := range j.rounds {
		for _, h := range r.harms {
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

// came notes an event that came again, or behind younger ones: that has no
// reason.
func (j *judge) came(c *client, s *stay, r receipt, how string) {
	j.accuse(j.during(r.at), "%s got event %d of room %d %s on gateway %d at %s, it first came to anybody at %s",
		c.user, r.number, c.room, how, s.node, seconds(r.at), seconds(j.first[c.room][r.number]))
}

// missing looks for the reason why a client has not got an event.
func (j *judge) missing(c *client, n int) {
	published := j.rooms[c.room][n].published
	s, why := c.during(published)
	var round *round
	switch {
	case s == nil:
		round = j.during(published)
	case s.after(n): // what came of the log has no gap
	default:
		if round = j.endedBy(s); round != nil && round.began-slack <= published {
			why = underWay
		}
	}
	if why == "" {
		j.accuse(j.during(published), "%s has not got event %d of room %d, published at %s, on gateway %d, in the room from %s to %s, highest got %d",
			c.user, n, c.room, seconds(published), s.node, seconds(s.joined), until(s.ended), s.highest())
		return
	}
	j.reasons[why]++
	if round != nil {
		round.lost++
	}
}

// during returns the stay at a time, or why the client was not in its room.
func (c *client) during(at time.Duration) (*stay, reason) {
	for _, s := range c.stays {
		switch {
		case at < s.asked || at > s.ended:
		case at <= s.joined:
			return nil, joining
		default:
			return s, ""
		}
	}
	return nil, absent
}

// endedBy returns the round in which a connection could end.
func (j *judge) endedBy(s *stay) *round {
	for _, r := range slices.Backward(j.rounds) {
		for _, h := range r.harms {
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

// after reports whether a younger event than n came.
func (s *stay) after(n int) bool { return s.highest() > n }

func (s *stay) highest() int {
	highest := -1
	for _, r := range s.got {
		highest = max(highest, r.number)
	}
	return highest
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
