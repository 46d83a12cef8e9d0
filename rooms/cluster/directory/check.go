package directory

import (
	"slices"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// Each checkInterval some rooms are compared with Redis: all within about
	// checkRounds intervals, but not more than checkMost at once.
	checkInterval = time.Second
	checkRounds   = 120
	checkLeast    = 16
	checkMost     = 256

	maxBurials = 4096 // dead sessions in rooms that are remembered
)

// A burial is a dead session in a room.
type burial struct{ room, session string }

// checkSome takes the next rooms to be compared. A key that was deleted or
// evicted is entered again; of a room that was read Redis tells at once.
func (d *Directory) checkSome(f *flight, b *wire.Batch, now time.Time) bool {
	if now.Before(d.check) || d.leaving {
		return false
	}
	d.check = now.Add(checkInterval)
	f.what = checks
	n := min(max(len(d.all)/checkRounds, checkLeast), checkMost, len(d.all))
	f.rooms, b.Commands = make([]*entry, 0, n), make([]wire.Command, 0, n)
	for range n {
		if d.checked >= len(d.all) {
			d.checked = 0
		}
		e := d.all[d.checked]
		d.checked++
		if e.written == d.session && e.writing == resting {
			f.rooms = append(f.rooms, e)
			b.Commands = append(b.Commands, d.smembers(e))
		}
	}
	return len(f.rooms) > 0
}

// compared takes what a check has found. A room that was handed over to this
// process was not read by it; if what another node said when it came was lost,
// nobody is counted there until the room is read.
func (d *Directory) compared(f *flight, replies []wire.Reply, now time.Time) {
	for i, e := range f.rooms {
		if e.index < 0 || f.session != d.session || replies[i].Err != nil {
			continue
		}
		others, mine := d.sort(e, replies[i].List, now)
		if e.sight == unseen && slices.ContainsFunc(others, d.isLive) {
			e.wanted = true
			d.read(e)
		}
		d.heal(e, mine)
	}
}

// bury takes dead sessions out of rooms in which they were found. What fails
// is found again.
func (d *Directory) bury(f *flight, b *wire.Batch) bool {
	f.what = burials
	d.dead = d.dead[:min(len(d.dead), maxBurials)]
	n := min(len(d.dead), writeBatch)
	for _, x := range d.dead[:n] {
		b.Commands = append(b.Commands, wire.Command{Name: "SREM", Keys: []string{d.c.Names.Room(x.room)}, Args: []string{x.session}})
	}
	d.dead = append(d.dead[:0], d.dead[n:]...)
	return n > 0
}

// A Difference is what is wrong in Redis about this node.
type Difference struct {
	Missing []string // rooms this node holds and Redis does not know of
	Surplus []string // rooms it does not hold and Redis says it does
}

// Compare says what is wrong when Redis has these rooms for this node. Rooms
// that are on their way in or out are not held against it.
func (d *Directory) Compare(claimed map[string]bool) (diff Difference) {
	for _, e := range d.all {
		if e.occupied && e.written == d.session && !claimed[e.room] {
			diff.Missing = append(diff.Missing, e.room)
		}
	}
	for room := range claimed {
		if d.rooms[room] == nil {
			diff.Surplus = append(diff.Surplus, room)
		}
	}
	return diff
}
