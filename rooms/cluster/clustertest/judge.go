package clustertest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// settle waits until every client has received the events that it must receive.
// It fails if one receives an event that it must not.
func (m *Model) settle(events []event) error {
	deadline := time.Now().Add(patience)
	for {
		for _, wait := range []func(Node) error{Node.Sent, Node.Received} {
			for _, n := range m.nodes {
				if err := wait(n); err != nil {
					return err
				}
			}
		}
		missing := ""
		for _, x := range m.members {
			x.Settle()
			if err := x.judge(events); err != nil {
				return err
			}
			missing += x.missing(events)
		}
		if missing += m.unannounced(events); missing == "" {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not received within %v: %s", patience, missing)
		}
		time.Sleep(10 * time.Millisecond) // a node has not noticed yet that a client has gone
	}
	for _, x := range m.members {
		x.judged = len(x.Heard())
		x.stays = slices.DeleteFunc(x.stays, func(s stay) bool { return s.leaving != never })
		for i := range x.stays {
			x.stays[i].settled = true
		}
	}
	return nil
}

// must reports whether x has to receive e: it was in the room before, and
// stayed. What clients send is delivered at most once, so only if the nodes
// have settled since x joined, and nothing was broken meanwhile.
func (x *member) must(e *event) bool {
	s := x.in(e.room)
	if e.by == x || s == nil || s.in >= e.from {
		return false
	}
	return e.by == nil || s.settled && !e.faulty
}

// may reports whether x may have received e: it left after e had begun, if at
// all.
func (x *member) may(e *event) bool {
	return e.by != x && slices.ContainsFunc(x.stays, func(s stay) bool { return s.room == e.room && s.out > e.from })
}

// missing lists what x has to receive and has not.
func (x *member) missing(events []event) (list string) {
	count := x.count()
	want := make(map[string]int)
	for i := range events {
		if e := &events[i]; x.must(e) {
			want[e.what]++
		}
	}
	for what, n := range want {
		if count[what] < n {
			list += fmt.Sprintf("%s: %q %d times of %d; ", x.name, what, count[what], n)
		}
	}
	return list
}

// count returns how often x has received each event in this round.
func (x *member) count() map[string]int {
	count := make(map[string]int)
	for _, what := range x.Heard()[x.judged:] {
		count[what]++
	}
	return count
}

// unannounced lists pairs of clients that joined a room at the same time, once
// each, and are both there: one of them must have received the other's
// user_joined.
func (m *Model) unannounced(events []event) (list string) {
	joins := make(map[string]int)
	for i := range events {
		if events[i].faulty {
			return ""
		}
		joins[events[i].what]++
	}
	for i, x := range m.members {
		for _, y := range m.members[:i] {
			for _, s := range x.stays {
				ofX, ofY := "user_joined "+x.name+" "+s.room, "user_joined "+y.name+" "+s.room
				if joins[ofX] == 1 && joins[ofY] == 1 && x.in(s.room) != nil && y.in(s.room) != nil &&
					x.count()[ofY] == 0 && y.count()[ofX] == 0 {
					list += fmt.Sprintf("%s and %s do not know of each other in %s; ", x.name, y.name, s.room)
				}
			}
		}
	}
	return list
}

// judge checks what x has received in this round.
func (x *member) judge(events []event) error {
	most := make(map[string]int)
	of := make(map[string]*event)
	lines := make(map[string][]string) // what a sender said in a room
	for i := range events {
		e := &events[i]
		of[e.what] = e
		lines[e.source()] = append(lines[e.source()], e.what)
		if x.may(e) {
			most[e.what]++
		}
	}
	for i, what := range x.Heard()[x.judged:] {
		e := of[what]
		if e == nil {
			return fmt.Errorf("%s received %q, which is not of this round", x.name, what)
		}
		if most[what]--; most[what] < 0 {
			return fmt.Errorf("%s received %q once too often: %q", x.name, what, x.Heard()[x.judged:])
		}
		if !x.wasIn(e.room, x.judged+i) {
			return fmt.Errorf("%s received %q of a room it was not in", x.name, what)
		}
		line := lines[e.source()]
		at := slices.Index(line, what)
		if at < 0 {
			return fmt.Errorf("%s received %q out of order: %q", x.name, what, x.Heard()[x.judged:])
		}
		lines[e.source()] = line[at+1:]
	}
	return nil
}

// source is a sender and a room.
func (e *event) source() string { return fmt.Sprint(e.line, " ", e.room) }

// wasIn reports whether x was in a room when it received the n'th event.
func (x *member) wasIn(room string, n int) bool {
	return slices.ContainsFunc(x.stays, func(s stay) bool { return s.room == room && s.opened <= n && n < s.closed })
}

// Format returns an event as Client.Heard has it.
func Format(name, text, user, room string) string {
	if text != "" {
		return name + " " + text
	}
	return name + " " + user + " " + strings.TrimPrefix(room, "conversation:")
}
