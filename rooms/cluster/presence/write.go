package presence

import (
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Replies of the script write: gone if the session was removed, nothing if there
// is no event.
const (
	gone    = -1
	nothing = -2
)

// writes fills a batch with up to most rooms whose counts have changed.
func (n *Core) writes(f *flight, b *Batch, most int) bool {
	f.what = writes
	k := 0
	for ; k < len(n.queue) && len(f.rooms) < most; k++ {
		r := n.queue[k]
		n.queue[k] = nil
		r.queued = false
		if n.rooms[r.name] != r {
			continue
		}
		written := n.writtenOf(r)
		moves := r.session != n.session && r.session != 0 && r.written > 0 // Redis has the count of a former session
		if r.count == written && !moves {
			if r.count == 0 {
				n.drop(r)
			}
			continue
		}
		r.flying = true
		f.rooms = append(f.rooms, r)
		f.counts = append(f.counts, r.count)
		b.Commands = append(b.Commands, n.writing(r.name, n.sessionName(n.session), r.count, n.c.Grace, false, n.former))
	}
	if n.queue = n.queue[k:]; len(n.queue) == 0 {
		n.queue = nil
	}
	return len(f.rooms) > 0
}

// writing returns the command that writes the count of a room.
func (n *Core) writing(room, session string, count int, grace time.Duration, force bool, former []uint64) Command {
	p := partitionOf(room)
	keys := []string{n.roomKey(room), n.untoldKey(p), n.hasKey(p, session), n.goneKey(p, session)}
	args := []string{room, session, wire.Decimal(int64(count)), wire.Decimal(grace.Milliseconds()), n.keep(room), bit(force)}
	for _, s := range former {
		keys = append(keys, n.hasKey(p, n.sessionName(s)))
		args = append(args, n.sessionName(s))
	}
	return n.script(write, keys, args...)
}

// written records what Redis has.
func (n *Core) written(f *flight, replies []wire.Reply, err error, now time.Time) {
	removed := false
	for i, r := range f.rooms {
		r.flying = false
		switch {
		case replies[i].Err != nil: // it may have been written
			r.written, r.session = max(f.counts[i], r.written, 1), f.session
		case replies[i].Int == gone:
			removed = true
		default:
			r.written, r.session = f.counts[i], f.session
			if replies[i].Int >= 0 {
				n.tell.note(r.name, now.Add(time.Duration(replies[i].Int)*time.Millisecond), now)
			}
		}
		if r.count != n.writtenOf(r) || replies[i].Err != nil || f.session != n.session {
			n.enqueue(r)
		} else if r.count == 0 {
			n.drop(r)
		}
	}
	if removed && f.session == n.session {
		n.begin(now)
	}
}
