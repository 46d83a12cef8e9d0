package lease

import (
	"slices"
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	scanCount = 512

	// sweepMost is how many sessions are removed in one sweep.
	sweepMost = 64

	// sweepTime is how long the lock of a sweep lasts. It is written again with
	// each page of rooms, and after lockShare of its time if pages have none. After
	// it, another node sweeps even if the node that had the lock is alive.
	sweepTime = time.Minute
	lockShare = sweepTime / 4

	// sweepPause is the pause between two sweeps.
	sweepPause = time.Second

	// elsewherePause is the pause if another node sweeps.
	elsewherePause = 5 * time.Second

	// After each batch, a sweep pauses for restShare times as long as Redis took to
	// reply, at most restMost. It has time, and other commands do not.
	restShare = 4
	restMost  = time.Second
)

// sweeping is the step that a sweep is at.
type sweeping uint8

const (
	sweepIdle sweeping = iota
	sweepLocking
	sweepScanning
	sweepRemoving // the sessions from the rooms that a scan has found; writes the lock again
	sweepEnding   // the sessions from the set of nodes, and the lock
)

// A Sweep removes dead sessions from the directory: all that are known when it
// begins, in one pass over the rooms. One node of the cluster does that at a
// time. It is not safe for concurrent use.
type Sweep struct {
	names    wire.Names
	phase    sweeping
	own      int64    // this node's session when the sweep began
	sessions []string // that are being removed
	flight   uint64   // id of the batch under way
	sent     time.Time
	locked   time.Time // when the lock was last written
	shard    int
	cursor   string
	keys     []string // keys of rooms that the scan has found
	next     time.Time
	failed   bool
	force    bool  // the lock is taken over from a node that has died
	removed  int64 // rooms' entries that were removed
	done     []string

	lives func(session int64) bool
}

// NewSweep returns an idle sweep. lives reports whether the node of a session
// has a lease.
func NewSweep(names wire.Names, lives func(session int64) bool) *Sweep {
	return &Sweep{names: names, lives: lives}
}

// Done returns, once for each sweep, the sessions that were removed and the
// number of times that a room had one of them.
func (s *Sweep) Done() (sessions []string, removed int64) {
	sessions, s.done = s.done, nil
	return sessions, s.removed
}

// Take returns the batch that is to be sent now. silent are the sessions to be
// removed; own is this node's.
func (s *Sweep) Take(id uint64, silent []int64, own int64, now time.Time) (b wire.Batch, ok bool) {
	if s.flight != 0 || own == 0 || now.Before(s.next) {
		return b, false
	}
	if s.own != own { // the connection may lead to another server, which does not know the cursor
		s.phase = sweepIdle
	}
	if s.phase == sweepIdle {
		if len(silent) == 0 {
			return b, false
		}
		s.begin(silent[:min(len(silent), sweepMost)], own)
	}
	lock := []string{s.names.SweepLock()}
	switch s.phase {
	case sweepLocking:
		b.Commands = s.lock(lock)
	case sweepScanning:
		b.Kind, b.Shard = wire.Scan, s.shard
		b.Commands = []wire.Command{{Name: "SCAN", Args: []string{s.cursor, "MATCH", s.names.RoomPattern(), "COUNT", wire.Decimal(scanCount)}}}
	case sweepRemoving:
		for _, key := range s.keys[:min(len(s.keys), scanCount)] {
			b.Commands = append(b.Commands, wire.Command{Name: "SREM", Keys: []string{key}, Args: s.sessions})
		}
		b.Commands = append(b.Commands, wire.Command{Name: "SET", Keys: lock, Args: s.locking("XX")})
	case sweepEnding:
		if !s.failed && len(s.sessions) > 0 {
			b.Commands = []wire.Command{{Name: "SREM", Keys: []string{s.names.Nodes()}, Args: s.sessions}}
		}
		b.Commands = append(b.Commands, wire.Command{Name: "DEL", Keys: lock})
	}
	b.ID, s.flight, s.sent = id, id, now
	return b, true
}

func (s *Sweep) begin(sessions []int64, own int64) {
	s.sessions = make([]string, len(sessions)) // the one before is Done's
	for i, session := range sessions {
		s.sessions[i] = wire.Decimal(session)
	}
	s.own, s.phase, s.shard, s.cursor, s.keys, s.removed, s.failed, s.force = own, sweepLocking, 0, "0", nil, 0, false, false
}

func (s *Sweep) locking(condition string) []string {
	return []string{wire.Decimal(s.own), condition, "PX", wire.Decimal(sweepTime.Milliseconds())}
}

// lock returns the commands that acquire the lock and read its owner and the set
// of nodes. If two nodes take it over from a dead node at the same time, both
// sweep, which does no harm.
func (s *Sweep) lock(key []string) []wire.Command {
	condition := "NX"
	if s.force {
		condition = "XX"
	}
	return []wire.Command{{Name: "SET", Keys: key, Args: s.locking(condition)}, {Name: "GET", Keys: key},
		{Name: "SMEMBERS", Keys: []string{s.names.Nodes()}}}
}

// Reply handles the reply to the batch of that id.
func (s *Sweep) Reply(id uint64, replies []wire.Reply, now time.Time) {
	if id != s.flight {
		return
	}
	s.flight, s.next = 0, now.Add(min(restShare*now.Sub(s.sent), restMost))
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
		s.acquired(replies, now)
	case sweepScanning:
		s.scanned(replies[0], now)
	case sweepRemoving:
		s.locked = s.sent
		for _, r := range replies {
			s.removed += r.Int
		}
		if s.keys = s.keys[min(len(s.keys), scanCount):]; len(s.keys) == 0 { // a page may have more than was asked for
			s.scanOn()
		}
	case sweepEnding:
		if !s.failed && len(s.sessions) > 0 {
			s.done = s.sessions
		}
		s.idle(now)
	}
}

// acquired continues if this node has the lock, or if the lock belongs to a node
// that has died. Sessions that another node has removed since this one last read
// the set of nodes are not removed again: that would be another pass over all rooms.
func (s *Sweep) acquired(replies []wire.Reply, now time.Time) {
	if !replies[0].Nil {
		listed := replies[2].List
		s.sessions = slices.DeleteFunc(s.sessions, func(session string) bool { return !slices.Contains(listed, session) })
		s.phase, s.force, s.locked = sweepScanning, false, s.sent
		if len(s.sessions) == 0 {
			s.phase = sweepEnding
		}
		return
	}
	holder, err := strconv.ParseInt(replies[1].Text, 10, 64)
	if s.force = err == nil && !s.force && !s.lives(holder); !s.force {
		s.phase, s.next = sweepIdle, now.Add(elsewherePause)
	}
}

func (s *Sweep) scanned(r wire.Reply, now time.Time) {
	if r.Nil { // there is no other server to scan
		s.phase = sweepEnding
		return
	}
	s.keys, s.cursor = r.List, r.Next
	if len(s.keys) > 0 || now.Sub(s.locked) >= lockShare {
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

// Next returns when Take is to be called; zero while a reply is awaited or if
// there is nothing to remove.
func (s *Sweep) Next() time.Time {
	if s.flight != 0 || s.phase == sweepIdle {
		return time.Time{}
	}
	return s.next
}
