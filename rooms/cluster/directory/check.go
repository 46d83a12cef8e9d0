package directory

import (
	"slices"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/pace"
	"github.com/hometrip/gateway/rooms/cluster/wire"
)

const (
	// Some rooms are compared with Redis in each checkInterval. All rooms are
	// compared within about checkRounds intervals, at most checkMost at once.
	checkInterval = time.Second
	checkRounds   = 120
	checkLeast    = 16
	checkMost     = 256

	// checkRest is the pause after a comparison, as a multiple of the time that
	// Redis took to reply, if that is longer than checkInterval.
	checkRest = 20

	maxBurials = 4096 // dead sessions in rooms that are remembered
)

// patient returns how many commands a batch may have that can wait.
func (d *Directory) patient(most int) int {
	if d.late {
		return pace.Least
	}
	return most
}

// A burial is a dead session in a room.
type burial struct{ room, session string }

// checkSome fills a batch with the next rooms to be compared. A key that was
// deleted or evicted is written again. For a room that was read, Redis reports
// such a change at once.
func (d *Directory) checkSome(f *flight, b *wire.Batch, now time.Time) bool {
	if now.Before(d.check) || d.leaving {
		return false
	}
	d.check = now.Add(checkInterval)
	f.what = checks
	n := min(max(len(d.all)/checkRounds, checkLeast), d.patient(checkMost), len(d.all))
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

// compared handles the replies to a check. This process has not read a room
// that was handed over to it. If the first message of another node in the room
// was lost, that node's members are not counted until the room is read.
func (d *Directory) compared(f *flight, replies []wire.Reply, now time.Time) {
	d.late = d.windows[writes].Late(f.sent, now)
	if rest := now.Add(checkRest * now.Sub(f.sent)); rest.After(d.check) {
		d.check = rest
	}
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

// bury fills a batch that removes dead sessions from the rooms in which they
// were found. If a removal fails, the next read of the room finds the session
// again.
func (d *Directory) bury(f *flight, b *wire.Batch) bool {
	f.what = burials
	d.dead = d.dead[:min(len(d.dead), maxBurials)]
	n := min(len(d.dead), d.patient(writeBatch))
	for _, x := range d.dead[:n] {
		b.Commands = append(b.Commands, wire.Command{Name: "SREM", Keys: []string{d.c.Names.Room(x.room)}, Args: []string{x.session}})
	}
	d.dead = append(d.dead[:0], d.dead[n:]...)
	return n > 0
}

// A Difference lists what Redis has wrong about this node.
type Difference struct {
	Missing []string // rooms that this node holds and Redis does not have
	Surplus []string // rooms that this node does not hold and Redis has for it
}

// Compare compares the rooms that Redis has for this node with those that it
// holds. Rooms that are being written or removed are not reported.
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
