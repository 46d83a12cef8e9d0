// Package directory is a node's part of the directory in Redis: for each room,
// which nodes hold it. It is a state machine: inputs and outputs are values,
// now is an argument.
//
//	directory.go  what the node holds, and what it knows of a room
//	write.go      rooms are entered into Redis and taken out
//	read.go       rooms are read, and read again when they have changed
//	check.go      a few rooms at a time are compared with Redis
//	fair.go       whose turn it is
package directory

import (
	"cmp"
	"slices"
	"time"

	"github.com/hometrip/gateway/internal/shrink"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// writeBatch and writeFlights bound the changes that are under way at once,
	// so that what is sent behind them on the same connection waits for a few
	// milliseconds at most; readBatch and readFlights are the same for reads.
	writeBatch   = 256
	writeFlights = 4
	readBatch    = 128
	readFlights  = 4

	retryDelay = 50 * time.Millisecond // after a batch that has failed

	// What was taken out of Redis may be back in it when a replica takes over
	// that is behind. So rooms are remembered that were taken out in the last
	// dropMemory, up to maxDropped of them, and taken out again.
	dropMemory = time.Minute
	maxDropped = 1 << 12
)

// sight is what this node knows of a room's holders.
type sight uint8

const (
	unseen sight = iota
	stale        // it has read them, and they may have changed since
	fresh        // Redis tells when they change
)

// progress is where a room is on its way to Redis.
type progress uint8

const (
	resting progress = iota
	queued
	flying
)

// An entry is a room that this node holds, or has held shortly before.
type entry struct {
	room  string
	by    string // user who was there first
	index int    // in all

	occupied bool
	vacant   time.Time // since when, unless occupied

	writing progress
	again   bool  // it has changed while it was written
	written int64 // session for which Redis has it; 0: not sure for any
	entered int64 // session in which it was first written, or made

	reading progress
	changed bool // in Redis, while it was read
	wanted  bool // somebody has asked for its holders
	sight   sight
	holders []int64 // sessions of other nodes
}

// A due is a vacant room that is looked at again at a time.
type due struct {
	e  *entry
	at time.Time
}

// A dropped is a room that was taken out of Redis.
type dropped struct {
	room string
	at   time.Time
}

// flight is a batch under way.
type flight struct {
	what    what
	session int64
	rooms   []*entry
	held    []bool   // of a write: whether the room was entered
	replies [][2]int // of a write: which replies are of the room
}

type what uint8

const (
	writes what = iota
	reads
	checks
	burials
)

// Others tells what is known of sessions.
type Others interface {
	Dead(session int64) bool
	Suspect(session int64, now time.Time)
}

// Config says how a directory behaves.
type Config struct {
	Names  wire.Names
	Node   uint32
	Linger time.Duration // a room stays in Redis after its last member
	Others Others

	// Speaks reports whether something said to a room waits to be published. The
	// room stays meanwhile, or nobody would know any more for whom it is.
	Speaks func(room string) bool
}

// A Directory is the rooms of a node. Its methods must not be called at the same
// time.
type Directory struct {
	c       Config
	session int64 // 0: none
	former  []int64

	rooms     map[string]*entry
	peak      shrink.Peak // of rooms
	all       []*entry
	renewed   int // index in all up to which the session has been told of rooms
	owing     int // rooms that the session has not been told of
	leaving   bool
	lingering []due

	toWrite, toRead fair
	flights         map[uint64]*flight
	spare           *flight          // an empty one: mostly there is nothing to send
	underWay        [burials + 1]int // flights by what they are
	retry           time.Time        // nothing is sent before
	dead            []burial
	dropped         []dropped // the oldest first

	checked int // index in all
	check   time.Time

	seen  []string // rooms whose holders have been read
	gone  []string // rooms that are no longer held
	Stats Stats
}

// Stats are counters.
type Stats struct {
	Writes int64 // rooms entered or taken out
	Reads  int64 // rooms read
	Hits   int64 // holders asked for that were in memory
	Misses int64 // the same, and not in memory
	Healed int64 // rooms that Redis had lost
}

// New makes a directory without a session.
func New(c Config) *Directory {
	return &Directory{c: c, rooms: make(map[string]*entry), flights: make(map[uint64]*flight)}
}

// Session begins a session, or ends one with 0. What Redis was told before does
// not count any more, and former sessions are taken out of the rooms. What was
// read is still the best guess.
func (d *Directory) Session(session int64, former []int64, now time.Time) {
	d.session, d.former = session, slices.Clone(former)
	d.retry = time.Time{}
	for _, e := range d.all {
		e.sight = min(e.sight, stale)
	}
	d.renewed, d.owing, d.check = 0, len(d.all), now.Add(checkInterval)
	if session != 0 {
		d.dropFormer(now)
	}
}

// dropFormer has former sessions taken out of rooms that were left lately: Redis
// may have been set back to before that.
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

// Len is the number of rooms that Redis has for this node or is about to.
func (d *Directory) Len() int { return len(d.all) }

// Registered reports whether Redis has all rooms that the node held when the
// session began.
func (d *Directory) Registered() bool { return d.session != 0 && d.owing == 0 }

// Occupied notes that somebody is in a room; by is on whose behalf.
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
			d.owing++ // corrected when a session begins
		}
	}
	e.occupied = true
	if e.writing == flying {
		e.again = true
	} else if e.written != d.session || d.session == 0 {
		d.write(e)
	}
}

// Vacated notes that nobody is in a room any more. Redis is told when nobody
// has come back for a while.
func (d *Directory) Vacated(room string, now time.Time) {
	if e := d.rooms[room]; e != nil && e.occupied {
		e.occupied, e.vacant = false, now
		d.lingering = append(d.lingering, due{e, now.Add(d.c.Linger)})
	}
}

// A Vacancy is a room that nobody is in, and that Redis has for a while yet.
type Vacancy struct {
	Room, By string
	Left     time.Duration
}

// Vacant returns the rooms that nobody is in.
func (d *Directory) Vacant(now time.Time) (all []Vacancy) {
	for _, e := range d.all {
		if !e.occupied {
			all = append(all, Vacancy{e.room, e.by, d.c.Linger - now.Sub(e.vacant)})
		}
	}
	slices.SortFunc(all, func(a, b Vacancy) int { return cmp.Compare(a.Left, b.Left) })
	return all
}

// Linger notes a room that was vacant in another process. They are noted in the
// order of their ends, before all others.
func (d *Directory) Linger(v Vacancy, now time.Time) {
	d.Occupied(v.Room, v.By)
	d.Vacated(v.Room, now.Add(v.Left-d.c.Linger))
}

// Flying reports whether batches are under way.
func (d *Directory) Flying() bool { return len(d.flights) > 0 }

// overdue reports whether nobody has come back in time.
func (d *Directory) overdue(e *entry, now time.Time) bool {
	return !e.occupied && (d.leaving || now.Sub(e.vacant) >= d.c.Linger)
}

// Holders returns the sessions of other nodes that hold a room. ok is false
// when that has to be read first: Seen tells when it has. A room that is not
// held here has none. It is valid until the next input.
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

// live returns the holders that are not known to be dead.
func (d *Directory) live(e *entry) []int64 {
	if !slices.ContainsFunc(e.holders, d.c.Others.Dead) {
		return e.holders
	}
	return slices.DeleteFunc(slices.Clone(e.holders), d.c.Others.Dead)
}

// Changed notes that a room has changed in Redis.
func (d *Directory) Changed(room string) {
	e := d.rooms[room]
	if e == nil {
		return
	}
	e.changed = e.reading == flying
	e.sight = min(e.sight, stale)
	d.read(e)
}

// Sessions returns the sessions of other nodes that hold a room, as it was read
// last. The caller may keep it.
func (d *Directory) Sessions(room string) []int64 {
	if e := d.rooms[room]; e != nil {
		return slices.Clone(d.live(e))
	}
	return nil
}

// Seen returns the rooms whose holders have been read since it was called last.
func (d *Directory) Seen() (rooms []string) { rooms, d.seen = d.seen, nil; return rooms }

// Gone returns the rooms that this node has stopped holding since it was called
// last.
func (d *Directory) Gone() (rooms []string) { rooms, d.gone = d.gone, nil; return rooms }

// Leave has all rooms taken out of Redis. Nothing is entered from now on.
func (d *Directory) Leave() {
	if d.leaving {
		return
	}
	d.leaving, d.renewed = true, 0
	for _, e := range d.all {
		e.occupied, e.again = false, e.writing == flying
	}
}

// Left reports whether Redis has nothing left of this node.
func (d *Directory) Left() bool { return d.leaving && len(d.all) == 0 }

// drop forgets a room. The last one of all moves into the gap.
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
			d.write(moved) // the walk over all rooms would pass it by
		}
	}
	d.renewed = min(d.renewed, len(d.all))
	e.index = -1
}

// User returns the user who was first in a room.
func (d *Directory) User(room string) string {
	if e := d.rooms[room]; e != nil {
		return e.by
	}
	return ""
}

// Waiting reports whether rooms wait to be written or read.
func (d *Directory) Waiting() bool { return d.session != 0 && d.toWrite.size+d.toRead.size > 0 }

// Holds reports whether this node holds a room, or has shortly before.
func (d *Directory) Holds(room string) bool { return d.rooms[room] != nil }

// Tick has rooms whose time has come taken out.
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

// Next returns when Tick and Take want to be called; zero: not before there is
// something new.
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

// Pending is the number of rooms that wait to be written or read, or are under
// way.
func (d *Directory) Pending() int {
	n := d.toWrite.size + d.toRead.size + len(d.all) - d.renewed
	for _, f := range d.flights {
		n += len(f.rooms)
	}
	return n
}
