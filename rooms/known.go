package rooms

import "time"

// A waiting is what a socket is to be told as soon as the other nodes know
// that this node holds a room. Owned by the room's shard.
type waiting struct {
	socket *Socket
	id     string // the socket's then: after a reconnect nobody waits any more
	tell   func()
}

// await has tell called when the other nodes know of r, and of what was
// broadcast to it so far: who joins later on another node does not hear of
// what was before. Callers look at r.known first, which spares them the
// closure.
func (sh *Shard) await(r *room, s *Socket, tell func()) {
	if sh.waiting == nil {
		sh.waiting = make(map[*room][]waiting)
	}
	if len(sh.waiting[r]) == 0 {
		sh.hub.occupancy.cluster.Await(r.name, func() {
			sh.Post(func(time.Time) { sh.becomeKnown(r) })
		})
	}
	sh.waiting[r] = append(sh.waiting[r], waiting{s, s.id, tell})
}

// stopWaiting forgets who waits for r.
func (sh *Shard) stopWaiting(r *room) {
	delete(sh.waiting, r)
	sh.waiting = pruned(sh.waiting, &sh.waitingPeak)
}

// becomeKnown tells those who wait and are still there.
func (sh *Shard) becomeKnown(r *room) {
	all := sh.waiting[r]
	sh.stopWaiting(r)
	r.known = true
	for _, w := range all {
		if w.socket.phase == phaseConnected && w.socket.id == w.id {
			w.tell()
		}
	}
}

// tellNow tells s what it waits for in r, because it leaves.
func (sh *Shard) tellNow(r *room, s *Socket) {
	all := sh.waiting[r]
	for i := range all {
		if w := &all[i]; w.socket == s && w.id == s.id {
			w.id = "" // nobody's
			w.tell()
		}
	}
}
