package cluster

import (
	"slices"
	"time"
)

// How many members a room has on a node is said in everything that the node
// sends about the room, so that what has to be said anyway keeps the others up
// to date: questions, answers, who has joined and left. What is left are rooms
// whose comings and goings are not announced, because they are crowds: of those
// a node tells by a question of its own, for whose answer nobody waits.
const (
	// recountDelay is how long a change waits for something else to tell it.
	recountDelay = time.Second

	// recountFew is up to how many members each change is told, and of more
	// than one in recountShare.
	recountFew   = 8
	recountShare = 8
)

// A tally is how many members another node has said it has.
type tally struct {
	node    uint32
	members int
}

// Counted implements rooms.Cluster.
func (c *Cluster) Counted(room string, members int) { c.lane(room).counted(room, members) }

// Members implements rooms.Cluster.
func (c *Cluster) Members(room string) int { return c.lane(room).members(room) }

// members returns what the other nodes have, without those that are gone.
func (l *lane) members(room string) (n int) {
	v := l.c.view.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.held[room]
	if e == nil {
		return 0
	}
	for _, t := range e.tallies {
		if v == nil || v.leased(t.node) {
			n += t.members
		}
	}
	return n
}

// counted notes how many members a room has on this node.
func (l *lane) counted(room string, members int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.held[room]; e != nil {
		e.members = members
		l.recount(room, e)
	}
}

// recount has the other nodes told in a while, should they have to be told
// then. l.mu is held.
func (l *lane) recount(room string, e *entry) {
	if !e.recounting && e.untold() && !l.owns(e) {
		e.recounting = true
		l.recounts = append(l.recounts, due{room, time.Now().Add(recountDelay)})
	}
}

// untold reports whether what the other nodes were told last is far from right.
func (e *entry) untold() bool {
	change := max(e.members-e.told, e.told-e.members)
	return change > 0 && e.members <= recountFew || change > e.told/recountShare
}

// tellMembers asks about rooms that were to be recounted by now. What waits for
// Redis, or for space in the queue, has time. l.mu is held.
func (l *lane) tellMembers(now time.Time) {
	n := 0
	for n < len(l.recounts) && !now.Before(l.recounts[n].at) && !l.c.away.Load() && !l.full(2) {
		room := l.recounts[n].room
		if e := l.held[room]; e != nil {
			e.recounting = false
			if e.untold() && !l.owns(e) {
				x := letter{question: true}
				x.Room = room
				l.put(x)
			}
		}
		n++
	}
	l.recounts = withoutFirst(l.recounts, n)
}

// tally notes what another node has said.
func (l *lane) tally(room string, node uint32, members int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.held[room]
	if e == nil {
		return
	}
	at := slices.IndexFunc(e.tallies, func(t tally) bool { return t.node == node })
	switch {
	case at < 0 && members > 0:
		e.tallies = append(e.tallies, tally{node, members})
	case at >= 0 && members > 0:
		e.tallies[at].members = members
	case at >= 0:
		e.tallies = slices.Delete(e.tallies, at, at+1)
	}
}

// strike forgets nodes that do not hold the room any more. l.mu is held.
func (e *entry) strike(holders []int64) {
	e.tallies = slices.DeleteFunc(e.tallies, func(t tally) bool {
		return !slices.ContainsFunc(holders, func(s int64) bool { return nodeOf(s) == t.node })
	})
}
