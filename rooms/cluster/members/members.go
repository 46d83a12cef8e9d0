// Package members counts the members of rooms on all nodes. It is a state
// machine without goroutines and I/O: inputs and outputs are values, and the
// time is an argument.
//
// Every message that a node sends about a room has the number of members that
// the room has on the node. A change that no such message carries is sent after
// a short time in a message of its own. A node that finds another in a room and
// does not know its count asks for it, in the same form.
package members

import (
	"maps"
	"slices"
	"time"

	"github.com/hometrip/gateway/internal/shrink"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// changeDelay is how long a change waits for a message that can carry it.
	// askDelay is the same for a question and an answer.
	changeDelay = 500 * time.Millisecond
	askDelay    = 20 * time.Millisecond

	// Each change is sent in a room with up to few members. In a larger room a
	// change is sent if it is more than 1/share of the members.
	few   = 8
	share = 8
)

// A Tally is the number of members that a room has on one node.
type Tally struct {
	Room    string
	Node    uint32
	Members int
}

// A tally is the number of members of a room that another node has sent.
type tally struct {
	node    uint32
	members int
}

// A count has the numbers of members of one room, by node.
type count struct {
	own     int     // members on this node
	told    int     // the count that was sent to the others
	changed bool    // the room is in Members.changes
	failed  bool    // the others may not have received the count
	asked   bool    // the room is in Members.asked
	ask     bool    // the others are to be asked
	anew    bool    // the next holder that is found is sent the count, even if it was known
	others  []int64 // sessions of other nodes that hold the room, as far as known
	tallies []tally
}

// A due is a room with the time at which its count is to be sent.
type due struct {
	room string
	at   time.Time
}

// Members has the counts of a node's rooms. It is not safe for concurrent use.
type Members struct {
	rooms   map[string]*count
	peak    shrink.Peak // of rooms
	changes []due       // in the order of their times
	asked   []due       // rooms to ask about, or about which other nodes have asked
}

// New makes Members without rooms.
func New() *Members { return &Members{rooms: make(map[string]*count)} }

func (m *Members) count(room string) *count {
	c := m.rooms[room]
	if c == nil {
		c = &count{}
		m.rooms[room] = c
	}
	return c
}

// Counted records how many members a room has on this node.
func (m *Members) Counted(room string, members int, now time.Time) {
	if members == 0 && m.rooms[room] == nil {
		return
	}
	c := m.count(room)
	if c.own == 0 && members > 0 && c.ask { // the question was postponed while the room had no member here
		m.retell(room, c, now)
	}
	c.own = members
	if c.stale() {
		m.change(room, c, now)
	}
}

func (m *Members) change(room string, c *count, now time.Time) {
	if !c.changed {
		c.changed = true
		m.changes = append(m.changes, due{room, now.Add(changeDelay)})
	}
}

// stale reports whether the number that other nodes were sent differs too much
// from the number of members here.
func (c *count) stale() bool {
	change := max(c.own-c.told, c.told-c.own)
	return change > 0 && c.own <= few || change > c.told/share
}

// Heard records the number of members that another node has sent for a room
// that this node holds. It reports whether the node is not known to hold the
// room. Then the holders are to be read again: the count may have been late,
// and Holders drops it.
func (m *Members) Heard(room string, node uint32, members int) (unknown bool) {
	if members == 0 && m.rooms[room] == nil {
		return false
	}
	c := m.count(room)
	at := slices.IndexFunc(c.tallies, func(t tally) bool { return t.node == node })
	switch {
	case at < 0 && members > 0:
		c.tallies = append(c.tallies, tally{node, members})
		return !slices.ContainsFunc(c.others, func(s int64) bool { return wire.NodeOf(s) == node })
	case at >= 0 && members > 0:
		c.tallies[at].members = members
	case at >= 0:
		c.tallies = slices.Delete(c.tallies, at, at+1)
	}
	return false
}

// Holders records which sessions of other nodes hold a room. The counts of
// nodes that no longer hold it are dropped, and nodes whose count is not known
// are asked. A new session of a known node is sent the count, too: that node
// asks when its session begins, possibly before this node had read the session
// in the directory.
//
// The room may have no members: it was handed over to this process while
// vacant.
func (m *Members) Holders(room string, sessions []int64, now time.Time) {
	c := m.rooms[room]
	if c == nil {
		if len(sessions) == 0 {
			return
		}
		c = m.count(room)
	}
	c.tallies = slices.DeleteFunc(c.tallies, func(t tally) bool {
		return !slices.ContainsFunc(sessions, func(s int64) bool { return wire.NodeOf(s) == t.node })
	})
	unknown := func(s int64) bool {
		return !slices.ContainsFunc(c.tallies, func(t tally) bool { return t.node == wire.NodeOf(s) })
	}
	fresh := func(s int64) bool { return c.anew || !slices.Contains(c.others, s) }
	switch {
	case slices.ContainsFunc(sessions, unknown):
		c.ask = true
		if c.own > 0 {
			m.retell(room, c, now)
		}
	case c.own > 0 && slices.ContainsFunc(sessions, fresh):
		m.retell(room, c, now)
	}
	c.others, c.anew = sessions, false
}

func (m *Members) retell(room string, c *count, now time.Time) {
	if !c.asked {
		c.asked = true
		m.asked = append(m.asked, due{room, now.Add(askDelay)})
	}
}

// Failed records that the other nodes may not have received the count of a room
// or the question for theirs. It is sent again after some time, because the
// next attempt may fail, too.
func (m *Members) Failed(room string, now time.Time) {
	if c := m.rooms[room]; c != nil {
		c.failed, c.ask = true, true
		m.change(room, c, now)
	}
}

// Retell sends the count of a room again, because another node has asked for
// it. That includes a count of 0: the other node may count members whose
// leaving it did not receive.
func (m *Members) Retell(room string, now time.Time) {
	if c := m.rooms[room]; c != nil {
		m.retell(room, c, now)
	}
}

// Missed records that this node and others may not have received each other's
// counts. The answer to a question may be among them, so nodes whose count is
// not known are asked, too.
func (m *Members) Missed(now time.Time) {
	var rooms []string
	for room, c := range m.rooms {
		if len(c.others)+len(c.tallies) == 0 {
			continue
		}
		c.anew, c.ask = true, true
		if c.own > 0 {
			rooms = append(rooms, room)
		}
	}
	slices.Sort(rooms)
	for _, room := range rooms {
		m.retell(room, m.rooms[room], now)
	}
}

// Tell returns the count of a room for a message that is sent now. If ask is
// true, a message of kind count also asks the other nodes for their counts.
func (m *Members) Tell(room string) (members int, ask bool) {
	c := m.rooms[room]
	if c == nil {
		return 0, false
	}
	ask = c.ask
	c.told = c.own
	return c.own, ask
}

// Due returns up to limit rooms whose count is to be sent now in a separate
// message. Tell says whether that message also asks for counts.
func (m *Members) Due(limit int, now time.Time) (rooms []string) {
	n := 0
	for ; n < len(m.asked) && len(rooms) < limit && !now.Before(m.asked[n].at); n++ {
		if c := m.rooms[m.asked[n].room]; c != nil {
			c.asked = false
			rooms = append(rooms, m.asked[n].room)
		}
	}
	m.asked = slices.Delete(m.asked, 0, n)
	n = 0
	for ; n < len(m.changes) && len(rooms) < limit && !now.Before(m.changes[n].at); n++ {
		if c := m.rooms[m.changes[n].room]; c != nil {
			c.changed = false
			if c.failed || c.stale() {
				c.failed = false
				rooms = append(rooms, m.changes[n].room)
			}
		}
	}
	m.changes = slices.Delete(m.changes, 0, n)
	return rooms
}

// Asked records that a message was sent that asks for counts.
func (m *Members) Asked(room string) {
	if c := m.rooms[room]; c != nil {
		c.ask = false
	}
}

// Members returns how many members a room has on other nodes, without the nodes
// that are gone.
func (m *Members) Members(room string, gone func(node uint32) bool) (n int) {
	c := m.rooms[room]
	if c == nil {
		return 0
	}
	for _, t := range c.tallies {
		if !gone(t.node) {
			n += t.members
		}
	}
	return n
}

// Forget drops a room that is no longer held.
func (m *Members) Forget(room string) {
	if c := m.rooms[room]; c != nil && c.own == 0 {
		delete(m.rooms, room)
		m.rooms = shrink.Map(m.rooms, &m.peak)
	}
}

// Owes reports whether questions about rooms, or answers to them, wait to be
// sent.
func (m *Members) Owes() bool { return len(m.asked) > 0 }

// State returns the counts that other nodes have sent. told has the counts that
// this node has sent for rooms whose number of members has changed since.
func (m *Members) State() (heard, told []Tally) {
	for _, room := range slices.Sorted(maps.Keys(m.rooms)) {
		c := m.rooms[room]
		for _, t := range c.tallies {
			heard = append(heard, Tally{room, t.node, t.members})
		}
		if c.stale() {
			told = append(told, Tally{Room: room, Members: c.told})
		}
	}
	return heard, told
}

// Inherit takes over what another process has sent and received as this node.
// It had as many members in each room as there are now. It returns the rooms
// whose holders are to be read again, as Heard does.
func (m *Members) Inherit(heard, told []Tally, now time.Time) (unknown []string) {
	for _, c := range m.rooms {
		c.told = c.own
	}
	for _, t := range told {
		if c := m.rooms[t.Room]; c != nil {
			c.told = t.Members
			m.Counted(t.Room, c.own, now)
		}
	}
	for _, t := range heard {
		if m.rooms[t.Room] != nil && m.Heard(t.Room, t.Node, t.Members) {
			unknown = append(unknown, t.Room)
		}
	}
	return unknown
}

// Next returns when Due is to be called. Zero means not before another input.
func (m *Members) Next() (at time.Time) {
	for _, list := range [][]due{m.asked, m.changes} {
		if len(list) > 0 && (at.IsZero() || list[0].at.Before(at)) {
			at = list[0].at
		}
	}
	return at
}
