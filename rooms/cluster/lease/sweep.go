package lease

import (
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	scanCount = 512

	// sweepTime is how long a sweep may take before another node takes it over
	// from a node that is alive.
	sweepTime = 5 * time.Minute

	// sweepPause is the pause between two attempts to sweep the same or another
	// session.
	sweepPause = time.Second

	// elsewherePause is how long a session is left to the node that removes it.
	elsewherePause = 15 * time.Second
)

// sweeping says how far a sweep is.
type sweeping uint8

const (
	sweepIdle sweeping = iota
	sweepLocking
	sweepScanning
	sweepRemoving // the session from the rooms that a scan has found
	sweepEnding   // the session from the set of nodes, and the lock
)

// A Sweep removes dead sessions from the directory, one at a time, if no other
// node does. Its methods must not be called at the same time.
type Sweep struct {
	names   wire.Names
	phase   sweeping
	session int64  // that is being removed
	flight  uint64 // id of the batch that is under way
	shard   int
	cursor  string
	keys    []string // of rooms
	next    time.Time
	failed  bool
	force   bool  // the lock is taken over from a node that has died
	swept   int64 // rooms that had the session
	done    int64 // session that has been removed, until Done has told

	lives     func(session int64) bool
	elsewhere map[int64]time.Time // sessions that other nodes remove, and until when they are left to them
}

// NewSweep makes a sweep that is idle. lives reports whether the node of a
// session has a lease.
func NewSweep(names wire.Names, lives func(session int64) bool) *Sweep {
	return &Sweep{names: names, lives: lives, elsewhere: make(map[int64]time.Time)}
}

// Elsewhere reports whether another node is removing a session: others can be
// removed meanwhile.
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

// lock returns the commands that acquire the lock and read who has it. Two
// nodes that take it over from a dead one at the same time both sweep, which
// does no harm.
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
		if s.phase == sweepLocking || s.phase == sweepEnding { // a lock that is left ends by itself
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

// locked continues if the lock is this node's, or was left by a node that has
// died.
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
	if r.Nil { // there are no more servers
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
