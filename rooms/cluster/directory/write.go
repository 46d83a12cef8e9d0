package directory

import (
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// write queues a room to be written to Redis.
func (d *Directory) write(e *entry) {
	if e.writing == resting {
		e.writing = queued
		d.toWrite.push(e.by, e)
	}
}

// Take returns the batch that is to be sent now, if there is one.
func (d *Directory) Take(id uint64, now time.Time) (b wire.Batch, ok bool) {
	if d.session == 0 || now.Before(d.retry) {
		return b, false
	}
	d.retry = time.Time{}
	f := d.spare
	if f == nil {
		f = &flight{}
		d.spare = f
	}
	f.session, f.sent, f.size = d.session, now, 0
	switch {
	case d.changes(f, &b, min(d.windows[writes].Free(now), writeBatch), now):
		f.size = len(b.Commands)
	case d.looks(f, &b, min((d.windows[reads].Free(now)+readCost-1)/readCost, readBatch)):
		f.size = len(b.Commands) * readCost
	case d.underWay[checks] == 0 && d.checkSome(f, &b, now):
	case d.underWay[burials] == 0 && d.bury(f, &b):
	default:
		return b, false
	}
	b.ID = id
	if f.what <= reads {
		d.windows[f.what].Sent(f.size)
	}
	d.flights[id], d.spare = f, nil
	d.underWay[f.what]++
	return b, true
}

// changes fills a batch with up to most rooms that have changed, or that were not
// written in this session yet.
func (d *Directory) changes(f *flight, b *wire.Batch, most int, now time.Time) bool {
	f.what = writes
	for len(f.rooms) < most {
		e := d.toWrite.pop()
		if e == nil {
			break
		}
		if e.index < 0 {
			continue
		}
		e.writing = resting
		d.change(f, b, e, now)
	}
	for len(f.rooms) < most && d.renewed < len(d.all) {
		e := d.all[d.renewed]
		d.renewed++
		if e.writing == resting && (e.written != d.session || d.leaving) {
			d.change(f, b, e, now)
		}
	}
	return len(f.rooms) > 0
}

// change adds the commands for one room, if Redis has to be changed.
func (d *Directory) change(f *flight, b *wire.Batch, e *entry, now time.Time) {
	held := !d.overdue(e, now)
	if held && e.written == d.session {
		return
	}
	key := []string{d.c.Names.Room(e.room)}
	first := len(b.Commands)
	own := wire.Decimal(d.session)
	if held {
		b.Commands = append(b.Commands, wire.Command{Name: "SADD", Keys: key, Args: []string{own}})
	}
	out := wire.Command{Name: "SREM", Keys: key}
	if e.entered != d.session {
		for _, s := range d.former {
			out.Args = append(out.Args, wire.Decimal(s))
		}
	}
	if !held {
		out.Args = append(out.Args, own)
	}
	if len(out.Args) > 0 {
		b.Commands = append(b.Commands, out)
	}
	e.written, e.writing, e.again = 0, flying, false
	f.rooms = append(f.rooms, e)
	f.held = append(f.held, held)
	f.replies = append(f.replies, [2]int{first, len(b.Commands)})
}

// Reply handles the replies to the batch of that id. It reports whether the
// batch was one of this directory.
func (d *Directory) Reply(id uint64, replies []wire.Reply, now time.Time) bool {
	f := d.flights[id]
	if f == nil {
		return false
	}
	delete(d.flights, id)
	d.underWay[f.what]--
	failed := wire.FirstError(replies) != nil
	if failed && f.session == d.session {
		d.retry = now.Add(retryDelay)
	}
	if f.what <= reads {
		d.windows[f.what].Done(f.size, f.sent, now, failed)
	}
	switch f.what {
	case writes:
		d.written(f, replies, now)
	case reads:
		d.looked(f, replies, now)
	case checks:
		d.compared(f, replies, now)
	case burials:
	}
	return true
}

// written handles the replies to a write.
func (d *Directory) written(f *flight, replies []wire.Reply, now time.Time) {
	for i, e := range f.rooms {
		e.writing = resting
		if e.index < 0 {
			continue
		}
		ok := f.session == d.session && wire.FirstError(replies[f.replies[i][0]:f.replies[i][1]]) == nil
		switch {
		case !ok:
			if d.session != 0 {
				d.write(e)
			}
			continue
		case f.held[i]:
			e.written = d.session
			if e.entered != d.session {
				e.entered = d.session
				d.owing--
			}
			if e.wanted && e.sight != fresh {
				d.read(e)
			}
		case !e.occupied && !e.again || d.leaving:
			d.dropped = append(d.dropped, dropped{e.room, now})
			d.drop(e)
			d.Stats.Writes++
			continue
		}
		d.Stats.Writes++
		if e.again || !f.held[i] {
			d.write(e)
		}
	}
}
