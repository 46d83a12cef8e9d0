package lease

import (
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// maxSuspects is how many unknown sessions are checked at once, and
	// suspectTime is how long they are remembered.
	maxSuspects = 4096
	suspectTime = time.Minute
)

// A Peer is another node, as described by its lease.
type Peer struct {
	Node    uint32
	Sockets int64
	Rooms   int64
}

// peers has what is known of the other nodes and their sessions.
type peers struct {
	self     uint32
	listed   map[int64]time.Time // sessions in the set of nodes → since when they have been dead; zero: they are not
	suspects map[int64]time.Time // sessions found in rooms and not in the set of nodes → when they were found
	leased   map[uint32]Peer
	latest   map[uint32]int64 // by node: the session with a lease whose rooms are all in the directory
	dead     map[int64]bool   // sessions without a lease, of a node without a lease or with a later session in latest
}

func newPeers(self uint32) peers {
	return peers{self: self, listed: make(map[int64]time.Time), suspects: make(map[int64]time.Time),
		leased: make(map[uint32]Peer), latest: make(map[uint32]int64), dead: make(map[int64]bool)}
}

// sessions records which sessions are in the set of nodes.
func (p *peers) sessions(list []string) {
	old := p.listed
	p.listed = make(map[int64]time.Time, len(list))
	for _, text := range list {
		if s, err := strconv.ParseInt(text, 10, 64); err == nil && wire.NodeOf(s) != p.self {
			p.listed[s] = old[s]
		}
	}
}

func (p *peers) nobody() bool { return len(p.listed) == 0 && len(p.suspects) == 0 }

// knew reports whether asked has all sessions whose leases are to be read.
func (p *peers) knew(asked []int64) bool {
	has := func(s int64) bool { _, found := slices.BinarySearch(asked, s); return found }
	for s := range p.listed {
		if !has(s) {
			return false
		}
	}
	for s := range p.suspects {
		if !has(s) {
			return false
		}
	}
	return true
}

// ask returns a command that reads the leases of all sessions, and stores these
// sessions in asked.
func (p *peers) ask(names wire.Names, asked *[]int64) wire.Command {
	list := (*asked)[:0]
	for s := range p.listed {
		list = append(list, s)
	}
	for s := range p.suspects {
		if _, known := p.listed[s]; !known {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	*asked = list
	c := wire.Command{Name: "MGET"}
	for _, s := range list {
		c.Keys = append(c.Keys, names.Lease(s))
	}
	return c
}

// found records the leases of the sessions that were asked for.
func (p *peers) found(asked []int64, leases []string, now time.Time) {
	clear(p.leased)
	clear(p.latest)
	clear(p.dead)
	var silent []int64
	for i, s := range asked {
		text := ""
		if i < len(leases) {
			text = leases[i]
		}
		lease, ok := wire.ParseLease(text)
		if !ok {
			silent = append(silent, s)
			continue
		}
		if lease.Registered {
			p.latest[wire.NodeOf(s)] = max(p.latest[wire.NodeOf(s)], s)
		}
		p.leased[wire.NodeOf(s)] = Peer{wire.NodeOf(s), lease.Sockets, lease.Rooms}
		if _, listed := p.listed[s]; listed {
			p.listed[s] = time.Time{}
		}
		delete(p.suspects, s)
	}
	for _, s := range silent {
		_, leased := p.leased[wire.NodeOf(s)]
		dead := !leased || s < p.latest[wire.NodeOf(s)]
		if dead {
			p.dead[s] = true
		}
		switch since, listed := p.listed[s]; {
		case listed && !dead:
			p.listed[s] = time.Time{}
		case listed && since.IsZero():
			p.listed[s] = now
		}
	}
	for s, since := range p.suspects {
		if now.Sub(since) > suspectTime {
			delete(p.suspects, s)
		}
	}
}

// Dead reports whether a session of another node is known to be over. A session
// that was followed by a later one is over as soon as the directory has all
// rooms of the later one. It may still be in rooms if Redis was set back to an
// older state.
func (l *Lease) Dead(session int64) bool { return l.peers.dead[session] }

// Lives reports whether the node of a session has a lease, as far as this node
// knows, in this session or another one.
func (l *Lease) Lives(session int64) bool {
	_, leased := l.peers.leased[wire.NodeOf(session)]
	return leased
}

// Gone reports whether a node is known to have no lease.
func (l *Lease) Gone(node uint32) bool {
	if _, leased := l.peers.leased[node]; leased {
		return false
	}
	for s := range l.peers.dead {
		if wire.NodeOf(s) == node {
			return true
		}
	}
	return false
}

// Suspect requests that the lease of a session that was found in a room be
// read, if the session is not known.
func (l *Lease) Suspect(session int64, now time.Time) {
	p := &l.peers
	_, listed := p.listed[session]
	_, suspect := p.suspects[session]
	if !listed && !suspect && wire.NodeOf(session) != p.self && len(p.suspects) < maxSuspects {
		p.suspects[session] = now
	}
}

// Peers returns the other nodes that have a lease, ordered by their number.
func (l *Lease) Peers() []Peer {
	all := make([]Peer, 0, len(l.peers.leased))
	for _, p := range l.peers.leased {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Peer) int { return int(int64(a.Node) - int64(b.Node)) })
	return all
}

// Nodes returns the number of nodes that have a lease, with this one.
func (l *Lease) Nodes() int { return 1 + len(l.peers.leased) }

// Silent returns the dead sessions in the set of nodes, in order, once one of them
// has been dead for the length of a lease. Within that time a node that has begun
// the next session removes its former ones itself, and nodes that died together are
// found to be dead.
func (l *Lease) Silent(now time.Time) (all []int64) {
	due := false
	for s := range l.peers.dead {
		if at := l.peers.listed[s]; !at.IsZero() {
			all = append(all, s)
			due = due || now.Sub(at) >= l.c.Lease
		}
	}
	if !due {
		return nil
	}
	slices.Sort(all)
	return all
}
