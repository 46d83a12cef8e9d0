package cluster

import (
	"slices"
	"time"

	"github.com/redis/rueidis"
)

// A view is what the keeper knows of the cluster at one time. It is not
// changed after it was made.
type view struct {
	client  rueidis.Client
	session int64
	former  []int64   // sessions of this node that may still be in the directory
	since   time.Time // when the session began
	taken   time.Time // when the keeper began to look
	sharded bool      // Redis Cluster

	// doubt: Redis, or this node's connection to it, is just back, and the
	// directory may lack what others have not written again yet.
	doubt bool

	peers map[uint32]peer    // other nodes with a lease
	all   []uint32           // these, and those that had one shortly before
	open  []uint32           // peers that are still registering their rooms
	gone  map[int64]struct{} // sessions of nodes without a lease
}

// A peer is another node, as its lease tells.
type peer struct {
	registered bool // the directory has all its rooms
	sockets    int64
	rooms      int64
}

// lasts reports whether the session of a view is still this node's.
func (c *Cluster) lasts(v *view) bool {
	now := c.view.Load()
	return now != nil && now.session == v.session
}

// leased reports whether another node is there.
func (v *view) leased(node uint32) bool {
	_, leased := v.peers[node]
	return leased
}

// mayHave reports whether a node that was there at some time may still be.
func (v *view) mayHave(node uint32, at time.Time) bool {
	return v.leased(node) || v.doubt && slices.Contains(v.all, node) || !v.taken.After(at)
}

// reach returns the nodes that have to get what goes to a room which the
// directory says these sessions hold, and which of the sessions are dead.
func (v *view) reach(sessions []int64) (nodes []uint32, dead []int64) {
	self := nodeOf(v.session)
	for _, s := range sessions {
		node := nodeOf(s)
		if node == self {
			continue
		}
		if _, gone := v.gone[s]; gone {
			dead = append(dead, s)
			continue
		}
		if !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	more := v.open
	if v.doubt {
		more, dead = v.all, nil
	}
	for _, node := range more {
		if !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	return nodes, dead
}

// knows reports whether the keeper has looked at a session's lease.
func (v *view) knows(session int64) bool {
	_, gone := v.gone[session]
	return v.leased(nodeOf(session)) || gone || nodeOf(session) == nodeOf(v.session)
}

// fill puts into the view who is there, who was shortly before, and who is
// gone.
func (k *keeper) fill(v *view, leases map[int64]string, now time.Time) {
	v.peers, v.gone = make(map[uint32]peer), make(map[int64]struct{})
	self := nodeOf(v.session)
	for s, text := range leases {
		node := nodeOf(s)
		if l, ok := parseLease(text); ok && node != self {
			other := v.peers[node] // of two sessions the unregistered one is the newer
			_, twice := v.peers[node]
			v.peers[node] = peer{l.registered && (!twice || other.registered), l.sockets, l.rooms}
			k.seen[node] = now
		}
	}
	for s, text := range leases {
		if _, leased := v.peers[nodeOf(s)]; text == "" && !leased && nodeOf(s) != self {
			v.gone[s] = struct{}{}
		}
	}
	k.dropSuspects(v, now)

	whole := true
	for node, at := range k.seen {
		p, leased := v.peers[node]
		switch {
		case leased && !p.registered:
			v.open = append(v.open, node)
			whole = false
		case !leased:
			whole = false
		}
		if now.Sub(at) > memoryLeases*k.c.config.Lease {
			delete(k.seen, node)
			continue
		}
		v.all = append(v.all, node)
	}
	old := k.c.view.Load()
	first := v.session == sessionID(k.c.node, 1)
	young := now.Sub(v.since) < k.c.config.Lease
	v.doubt = !first && (old == nil || old.doubt) && (young || !whole)
}

// dropSuspects forgets sessions that are there after all, and those that the
// lanes have had the time to remove.
func (k *keeper) dropSuspects(v *view, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for s, since := range k.suspects {
		if _, gone := v.gone[s]; !gone || now.Sub(since) > suspectTime {
			delete(k.suspects, s)
		}
	}
}

// show publishes the view to the lanes, unless the session was lost meanwhile.
func (k *keeper) show(v *view, losses int, begins bool) bool {
	k.mu.Lock()
	if k.losses != losses {
		k.mu.Unlock()
		return false
	}
	k.c.view.Store(v)
	if v.doubt || len(v.open) > 0 {
		k.c.epoch.Add(1) // rooms that looked local may not be
	}
	k.mu.Unlock()
	if begins {
		for _, l := range k.c.lanes {
			l.ring()
		}
	}
	return true
}
