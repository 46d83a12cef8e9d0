package directory

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// read queues a read of the holders of a room, if the room is in Redis for this
// node. A node writes a room before it reads it, so of two nodes that do so at
// the same time at least one finds the other.
func (d *Directory) read(e *entry) {
	if e.wanted && e.reading == resting && e.written == d.session && d.session != 0 {
		e.reading = queued
		d.toRead.push(e.by, e)
	}
}

// looks fills a batch with up to most rooms that wait to be read.
func (d *Directory) looks(f *flight, b *wire.Batch, most int) bool {
	f.what = reads
	for len(f.rooms) < most {
		e := d.toRead.pop()
		if e == nil {
			break
		}
		e.reading = resting
		if e.index < 0 || e.written != d.session || e.sight == fresh {
			continue // it is queued again when it was written
		}
		e.reading, e.changed = flying, false
		f.rooms = append(f.rooms, e)
		b.Commands = append(b.Commands, d.smembers(e))
	}
	if len(f.rooms) == 0 {
		return false
	}
	b.Kind = wire.Tracked
	return true
}

func (d *Directory) smembers(e *entry) wire.Command {
	return wire.Command{Name: "SMEMBERS", Keys: []string{d.c.Names.Room(e.room)}}
}

// looked handles the replies to a read.
func (d *Directory) looked(f *flight, replies []wire.Reply, now time.Time) {
	for i, e := range f.rooms {
		e.reading = resting
		if e.index < 0 {
			continue
		}
		if f.session != d.session || replies[i].Err != nil {
			d.read(e)
			continue
		}
		d.Stats.Reads++
		others, mine := d.sort(e, replies[i].List, now)
		e.holders, e.sight = others, fresh
		d.seen = append(d.seen, e.room)
		if e.changed {
			e.sight = stale
			d.read(e)
		}
		d.heal(e, mine)
	}
}

// sort returns the sessions of other nodes that are not dead, and whether this
// node's session is in the list. Dead sessions are to be removed, unknown ones
// to be checked.
func (d *Directory) sort(e *entry, list []string, now time.Time) (others []int64, mine bool) {
	for _, text := range list {
		s, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			continue // not the name of a session
		}
		switch {
		case s == d.session:
			mine = true
		case wire.NodeOf(s) == d.c.Node: // a former session: being removed, or restored when Redis was set back
			if d.Registered() {
				d.dead = append(d.dead, burial{e.room, text})
			}
		case d.c.Others.Dead(s):
			d.dead = append(d.dead, burial{e.room, text})
		default:
			d.c.Others.Suspect(s, now)
			others = append(others, s)
		}
	}
	return others, mine
}

// heal writes a room again if Redis has lost it.
func (d *Directory) heal(e *entry, there bool) {
	if !there && e.written == d.session && e.writing == resting {
		e.written = 0
		d.Stats.Healed++
		d.write(e)
	}
}
