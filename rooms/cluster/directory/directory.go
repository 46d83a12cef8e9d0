// Package directory maintains a node's part of the directory in Redis, which
// says for each room which nodes hold it. It is a state machine without
// goroutines and I/O: inputs and outputs are values, and the time is an
// argument.
//
//	directory.go  the rooms that the node holds, and their holders
//	write.go      adding rooms to Redis and removing them
//	read.go       reading the holders of rooms, and again after a change
//	check.go      comparing a few rooms at a time with Redis
//	vacancy.go    rooms without members that another process takes over
//	fair.go       the queue of rooms, which serves users in turn
package directory

import (
	"slices"
	"time"

	"github.com/hometrip/gateway/internal/shrink"
	"github.com/hometrip/gateway/rooms/cluster/pace"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// mostUnderWay limits the commands that are under way at once when Redis is
	// quick, for writes and for reads: a command that is sent behind them on the same
	// connection waits for a few milliseconds at most. When it is late, package pace
	// lowers the limits. Reads have one of their own, or they would wait until all
	// rooms are written. writeBatch and readBatch limit the rooms in one batch.
	mostUnderWay = 1024
	writeBatch   = 256
	readBatch    = 128

	readCost = 5 // commands with which rueidis reads one room through its cache

	retryDelay = 50 * time.Millisecond // after a batch that has failed

	// A failover to a replica that is behind may restore rooms that were removed
	// from Redis. So up to maxDropped rooms that were removed within the last
	// dropMemory are remembered, and are removed again in a new session.
	dropMemory = time.Minute
	maxDropped = 1 << 12
)

// sight says whether this node has read a room's holders.
type sight uint8

const (
	unseen sight = iota
	stale        // they were read, and may have changed since
	fresh        // they were read, and Redis reports a change
)

// progress says whether a room waits to be written to Redis.
type progress uint8

const (
	resting progress = iota
	queued
	flying
)

// An entry is a room that this node holds, or held until recently.
type entry struct {
	room  string
	by    string // first user in the room
	index int    // index in Directory.all

	occupied bool
	vacant   time.Time // when the last member left; not used while the room has members

	writing progress
	again   bool  // it changed while it was being written
	written int64 // session for which Redis has the room; 0: not certain for any
	entered int64 // session in which it was made or first written

	reading progress
	changed bool // it changed in Redis while it was being read
	wanted  bool // Holders was called before they were known
	sight   sight
	holders []int64 // sessions of other nodes
}

// A due is a vacant room with the time at which it may be removed.
type due struct {
	e  *entry
	at time.Time
}

// A dropped is a room that was removed from Redis.
type dropped struct {
	room string
	at   time.Time
}

// A flight is a batch whose reply has not arrived.
type flight struct {
	what    what
	session int64
	sent    time.Time
	size    int // commands counted in a window
	rooms   []*entry
	held    []bool   // of a write: whether the room was added
	replies [][2]int // of a write: the replies that belong to the room
}

type what uint8

const (
	writes what = iota
	reads
	checks
	burials
)

// Others is what the directory needs to know about sessions.
type Others interface {
	Dead(session int64) bool
	Suspect(session int64, now time.Time)
}

// Config is the configuration of a Directory.
type Config struct {
	Names  wire.Names
	Node   uint32
	Linger time.Duration // how long a room stays in Redis after its last member left
	Others Others

	// Speaks reports whether messages for a room wait to be published. The room
	// is kept until they are published, because they need its holders.
	Speaks func(room string) bool
}

// A Directory has the rooms of a node and what Redis knows of them. It is not
// safe for concurrent use.
type Directory struct {
	c       Config
	session int64 // 0: none
	former  []int64

	rooms     map[string]*entry
	peak      shrink.Peak // of rooms
	all       []*entry
	renewed   int // rooms of all before this index have been queued for the session
	owing     int // number of rooms that Redis does not have for the session yet
	leaving   bool
	lingering []due

	toWrite, toRead fair
	flights         map[uint64]*flight
	spare           *flight          // an empty flight for reuse: most calls of Take send nothing
	underWay        [burials + 1]int // number of flights by kind
	windows         [reads + 1]pace.Window
	retry           time.Time // nothing is sent before this time
	dead            []burial
	dropped         []dropped // the oldest first

	checked int // index in all of the next room to check
	check   time.Time
	late    bool // Redis was late with the last comparison

	seen  []string // rooms whose holders have been read
	gone  []string // rooms that are no longer held
	Stats Stats
}

// Stats are counters.
type Stats struct {
	Writes int64 // rooms added or removed
	Reads  int64 // rooms read
	Hits   int64 // calls of Holders that were answered from memory
	Misses int64 // calls of Holders that required a read
	Healed int64 // rooms that Redis had lost and that were added again
}

// New makes a directory without a session.
func New(c Config) *Directory {
	return &Directory{c: c, rooms: make(map[string]*entry), flights: make(map[uint64]*flight),
		windows: [...]pace.Window{writes: pace.NewWindow(mostUnderWay), reads: pace.NewWindow(mostUnderWay)}}
}

// Session begins a session, or ends one with 0. All rooms are written again for
// the new session, and former sessions are removed from the rooms. Holders that
// were read before are kept until they are read again.
func (d *Directory) Session(session int64, former []int64, now time.Time) {
	d.session, d.former = session, slices.Clone(former)
	d.retry = time.Time{}
	for i := range d.windows {
		d.windows[i].Reset()
	}
	for _, e := range d.all {
		e.sight = min(e.sight, stale)
	}
	d.renewed, d.owing, d.check = 0, len(d.all), now.Add(checkInterval)
	if session != 0 {
		d.dropFormer(now)
	}
}

// dropFormer removes former sessions from rooms that were removed recently:
// Redis may have been set back to a state from before the removal.
func (d *Directory) dropFormer(now time.Time) {
	d.forgetDropped(now)
	for _, x := range d.dropped {
		for _, s := range d.former {
			d.dead = append(d.dead, burial{x.room, wire.Decimal(s)})
		}
	}
}

func (d *Directory) forgetDropped(now time.Time) {
	n := max(0, len(d.dropped)-maxDropped)
	for n < len(d.dropped) && now.Sub(d.dropped[n].at) > dropMemory {
		n++
	}
	d.dropped = slices.Delete(d.dropped, 0, n)
}

// Len returns the number of rooms that Redis has for this node or that wait to
// be written.
func (d *Directory) Len() int { return len(d.all) }

// Registered reports whether Redis has all rooms that the node held when the
// session began.
func (d *Directory) Registered() bool { return d.session != 0 && d.owing == 0 }

// Occupied records that a room has members. by is the user whose join is
// charged with the write.
func (d *Directory) Occupied(room, by string) {
	if d.leaving {
		return
	}
	e := d.rooms[room]
	if e == nil {
		e = &entry{room: room, by: by, index: len(d.all), entered: d.session}
		d.rooms[room] = e
		d.all = append(d.all, e)
		if d.session == 0 {
			d.owing++ // Session sets the right number when one begins
		}
	}
	e.occupied = true
	if e.writing == flying {
		e.again = true
	} else if e.written != d.session || d.session == 0 {
		d.write(e)
	}
}

// Vacated records that a room has no members. It is removed from Redis after
// Config.Linger, unless it has members again by then.
func (d *Directory) Vacated(room string, now time.Time) {
	if e := d.rooms[room]; e != nil && e.occupied {
		e.occupied, e.vacant = false, now
		d.lingering = append(d.lingering, due{e, now.Add(d.c.Linger)})
	}
}

// Flying reports whether replies are awaited.
func (d *Directory) Flying() bool { return len(d.flights) > 0 }

// overdue reports whether a room has been vacant for the whole of
// Config.Linger.
func (d *Directory) overdue(e *entry, now time.Time) bool {
	return !e.occupied && (d.leaving || now.Sub(e.vacant) >= d.c.Linger)
}

// Holders returns the sessions of other nodes that hold a room. ok is false if
// they have to be read first; Seen returns the room when they were read. A room
// that is not held here has no holders. The slice is valid until the next call
// of a method that changes the directory.
func (d *Directory) Holders(room string) (sessions []int64, ok bool) {
	e := d.rooms[room]
	if e == nil {
		return nil, true
	}
	if !e.wanted || e.sight != fresh {
		e.wanted = true
		d.read(e)
	}
	live := d.live(e)
	if e.sight == fresh || e.sight == stale && len(live) > 0 {
		d.Stats.Hits++
		return live, true
	}
	d.Stats.Misses++
	return nil, false
}

// Elsewhere reports whether another node may hold a room.
func (d *Directory) Elsewhere(room string) bool {
	e := d.rooms[room]
	return e == nil || e.sight != fresh || slices.ContainsFunc(e.holders, d.isLive)
}

func (d *Directory) isLive(session int64) bool { return !d.c.Others.Dead(session) }

// live returns the holders without the sessions that are known to be dead.
func (d *Directory) live(e *entry) []int64 {
	if !slices.ContainsFunc(e.holders, d.c.Others.Dead) {
		return e.holders
	}
	return slices.DeleteFunc(slices.Clone(e.holders), d.c.Others.Dead)
}

// Changed records that the holders of a room have changed in Redis.
func (d *Directory) Changed(room string) {
	e := d.rooms[room]
	if e == nil {
		return
	}
	e.changed = e.reading == flying
	e.sight = min(e.sight, stale)
	d.read(e)
}

// Sessions returns the sessions of other nodes that held a room when it was
// last read. The caller may keep the slice.
func (d *Directory) Sessions(room string) []int64 {
	if e := d.rooms[room]; e != nil {
		return slices.Clone(d.live(e))
	}
	return nil
}

// Seen returns the rooms whose holders were read since the last call of Seen.
func (d *Directory) Seen() (rooms []string) { rooms, d.seen = d.seen, nil; return rooms }

// Gone returns the rooms that this node has stopped holding since the last call
// of Gone.
func (d *Directory) Gone() (rooms []string) { rooms, d.gone = d.gone, nil; return rooms }

// Leave removes all rooms from Redis. No room is added afterwards.
func (d *Directory) Leave() {
	if d.leaving {
		return
	}
	d.leaving, d.renewed = true, 0
	for _, e := range d.all {
		e.occupied, e.again = false, e.writing == flying
	}
}

// Left reports whether all rooms of this node were removed from Redis.
func (d *Directory) Left() bool { return d.leaving && len(d.all) == 0 }

// drop forgets a room. The last room of all moves to its index.
func (d *Directory) drop(e *entry) {
	if d.session == 0 || e.entered != d.session {
		d.owing--
	}
	delete(d.rooms, e.room)
	d.rooms = shrink.Map(d.rooms, &d.peak)
	d.gone = append(d.gone, e.room)
	last := len(d.all) - 1
	moved := d.all[last]
	d.all[last] = nil
	d.all = d.all[:last]
	if moved != e {
		d.all[e.index] = moved
		moved.index = e.index
		if moved.index < d.renewed && last >= d.renewed && (moved.written != d.session || d.leaving) {
			d.write(moved) // the walk over all rooms would miss it
		}
	}
	d.renewed = min(d.renewed, len(d.all))
	e.index = -1
}

// User returns the first user in a room.
func (d *Directory) User(room string) string {
	if e := d.rooms[room]; e != nil {
		return e.by
	}
	return ""
}

// Waiting reports whether rooms wait to be written or read.
func (d *Directory) Waiting() bool { return d.session != 0 && d.toWrite.size+d.toRead.size > 0 }

// Holds reports whether this node holds a room, or held it until recently.
func (d *Directory) Holds(room string) bool { return d.rooms[room] != nil }

// Tick queues the removal of rooms that have been vacant for long enough.
func (d *Directory) Tick(now time.Time) {
	n := 0
	for n < len(d.lingering) && !now.Before(d.lingering[n].at) {
		e := d.lingering[n].e
		switch {
		case e.index < 0 || !d.overdue(e, now):
		case !d.leaving && d.c.Speaks(e.room):
			e.vacant = now
			d.lingering = append(d.lingering, due{e, now.Add(d.c.Linger)})
		case e.writing == flying:
			e.again = true
		default:
			d.write(e)
		}
		n++
	}
	d.lingering = shrink.Queue(d.lingering, n)
	d.forgetDropped(now)
}

// Next returns when Tick and Take are to be called. Zero means not before
// another input.
func (d *Directory) Next() (at time.Time) {
	consider := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if len(d.lingering) > 0 {
		consider(d.lingering[0].at)
	}
	if d.session != 0 {
		consider(d.retry)
		if d.underWay[checks] == 0 && !d.leaving {
			consider(d.check)
		}
	}
	return at
}

// Pending returns the number of rooms that wait to be written or read, or are
// being written or read.
func (d *Directory) Pending() int {
	n := d.toWrite.size + d.toRead.size + len(d.all) - d.renewed
	for _, f := range d.flights {
		n += len(f.rooms)
	}
	return n
}
