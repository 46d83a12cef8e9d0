package lease

import (
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	scanCount = 512

	// sweepTime is how long a sweep may take. After it, another node takes it
	// over even if the sweeping node is alive.
	sweepTime = 5 * time.Minute

	// sweepPause is the pause between two attempts to sweep the same or another
	// session.
	sweepPause = time.Second

	// elsewherePause is how long this node leaves a session to another node that
	// is removing it.
	elsewherePause = 15 * time.Second
)

// sweeping is the step that a sweep is at.
type sweeping uint8

const (
	sweepIdle sweeping = iota
	sweepLocking
	sweepScanning
	sweepRemoving // the session from the rooms that a scan has found
	sweepEnding   // the session from the set of nodes, and the lock
)

// A Sweep removes dead sessions from the directory, one at a time, unless
// another node removes them. It is not safe for concurrent use.
type Sweep struct {
	names   wire.Names
	phase   sweeping
	session int64  // session that is being removed
	flight  uint64 // id of the batch under way
	shard   int
	cursor  string
	keys    []string // keys of rooms that the scan has found
	next    time.Time
	failed  bool
	force   bool  // the lock is taken over from a node that has died
	swept   int64 // rooms that had the session
	done    int64 // session that was removed and that Done has not reported yet

	lives     func(session int64) bool
	elsewhere map[int64]time.Time // sessions that other nodes are removing → until when they are left to those nodes
}

// NewSweep returns an idle sweep. lives reports whether the node of a session
// has a lease.
func NewSweep(names wire.Names, lives func(session int64) bool) *Sweep {
	return &Sweep{names: names, lives: lives, elsewhere: make(map[int64]time.Time)}
}

// Elsewhere reports whether another node is removing a session, so that this
// node can remove a different one.
func (s *Sweep) Elsewhere(session int64, now time.Time) bool {
	until, known := s.elsewhere[session]
	if known && !now.Before(until) {
		delete(s.elsewhere, session)
		return false
	}
	return known
}

// Done returns, once for each session that was removed, the session and the
// number of rooms that had it; otherwise 0.
func (s *Sweep) Done() (session, rooms int64) {
	session, s.done = s.done, 0
	return session, s.swept
}

// Take returns the batch that is to be sent now. silent is a session to be
// removed, 0 if there is none; own is this node's.
func (s *Sweep) Take(id uint64, silent, own int64, now time.Time) (b wire.Batch, ok bool) {
	if s.flight != 0 || own == 0 {
		return b, false
	}
	if s.phase == sweepIdle {
		if silent == 0 || now.Before(s.next) {
			return b, false
		}
		s.phase, s.session, s.shard, s.cursor, s.swept, s.failed, s.force = sweepLocking, silent, 0, "0", 0, false, false
	}
	gone := []string{wire.Decimal(s.session)}
	lock := []string{s.names.SweepLock(s.session)}
	switch s.phase {
	case sweepLocking:
		b.Commands = s.lock(lock, own)
	case sweepScanning:
		b.Kind, b.Shard = wire.Scan, s.shard
		b.Commands = []wire.Command{{Name: "SCAN", Args: []string{s.cursor, "MATCH", s.names.RoomPattern(), "COUNT", wire.Decimal(scanCount)}}}
	case sweepRemoving:
		for _, key := range s.keys {
			b.Commands = append(b.Commands, wire.Command{Name: "SREM", Keys: []string{key}, Args: gone})
		}
	case sweepEnding:
		if !s.failed {
			b.Commands = []wire.Command{{Name: "SREM", Keys: []string{s.names.Nodes()}, Args: gone}}
		}
		b.Commands = append(b.Commands, wire.Command{Name: "DEL", Keys: lock})
	}
	b.ID, s.flight = id, id
	return b, true
}

// lock returns the commands that acquire the lock and read its owner. If two
// nodes take it over from a dead node at the same time, both sweep, which does
// no harm.
func (s *Sweep) lock(key []string, own int64) []wire.Command {
	args := []string{wire.Decimal(own), "NX", "PX", wire.Decimal(sweepTime.Milliseconds())}
	if s.force {
		args = slices.Delete(args, 1, 2)
	}
	return []wire.Command{{Name: "SET", Keys: key, Args: args}, {Name: "GET", Keys: key}}
}

// Reply handles the reply to the batch of that id.
func (s *Sweep) Reply(id uint64, replies []wire.Reply, now time.Time) {
	if id != s.flight {
		return
	}
	s.flight = 0
	if wire.FirstError(replies) != nil {
		s.failed = true
		if s.phase == sweepLocking || s.phase == sweepEnding { // a lock that remains expires
			s.idle(now)
			return
		}
		s.phase = sweepEnding
		return
	}
	switch s.phase {
	case sweepLocking:
		s.locked(replies, now)
	case sweepScanning:
		s.scanned(replies[0])
	case sweepRemoving:
		for _, r := range replies {
			s.swept += r.Int
		}
		s.scanOn()
	case sweepEnding:
		if !s.failed {
			s.done = s.session
		}
		s.idle(now)
	}
}

// locked continues if this node has the lock, or if the lock belongs to a node
// that has died.
func (s *Sweep) locked(replies []wire.Reply, now time.Time) {
	if !replies[0].Nil {
		s.phase, s.force = sweepScanning, false
		return
	}
	holder, err := strconv.ParseInt(replies[1].Text, 10, 64)
	if s.force = err == nil && !s.lives(holder); !s.force {
		s.elsewhere[s.session] = now.Add(elsewherePause)
		s.idle(now)
	}
}

func (s *Sweep) scanned(r wire.Reply) {
	if r.Nil { // there is no other server to scan
		s.phase = sweepEnding
		return
	}
	s.keys, s.cursor = r.List, r.Next
	if len(s.keys) > 0 {
		s.phase = sweepRemoving
		return
	}
	s.scanOn()
}

func (s *Sweep) scanOn() {
	s.keys, s.phase = nil, sweepScanning
	if s.cursor == "0" {
		s.shard++
	}
}

func (s *Sweep) idle(now time.Time) { s.phase, s.next = sweepIdle, now.Add(sweepPause) }

// Next returns when Take is to be called, if there is a session to remove.
func (s *Sweep) Next() time.Time { return s.next }
