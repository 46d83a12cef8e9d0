package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/redis/rueidis"
)

// cacheTTL is how long rueidis may keep what it has read: Redis tells when it
// changes, so this only bounds the memory spent on rooms nobody speaks to.
const cacheTTL = time.Hour

// A reading is what the directory said of the rooms of a batch. Owned by the
// lane's goroutine.
type reading struct {
	rooms []string
	index map[string]int // room → index in rooms and nodes
	nodes [][]uint32     // that are to get what goes to the room
	doubt bool           // memory may be behind
}

func (r *reading) of(room string) []uint32 { return r.nodes[r.index[room]] }

func readingOf(batch []letter) *reading {
	r := &reading{index: make(map[string]int, len(batch))}
	for i := range batch {
		if batch[i].waiter != nil {
			continue
		}
		room := batch[i].Room
		if _, seen := r.index[room]; !seen {
			r.index[room] = len(r.rooms)
			r.rooms = append(r.rooms, room)
		}
	}
	return r
}

// publish sends the batch to the nodes that hold its rooms.
//
// A node may enter a room while this is under way. Its join is acknowledged
// after Redis has executed the SADD, and the invalidation for it comes before
// the reply to a PUBLISH executed later, for both travel on one connection. So
// whoever joined before the batch was taken is found by reading again after
// the replies.
func (l *lane) publish(ctx context.Context, v *view) error {
	before := readingOf(l.batch)
	if len(before.rooms) == 0 {
		return nil
	}
	if err := l.read(ctx, v, before); err != nil {
		return err
	}
	parcels := l.pack(func(x *letter) []uint32 { return before.of(x.Room) })
	if len(parcels) == 0 && !before.doubt && !l.pressing() {
		return nil
	}
	if err := l.send(ctx, v, parcels, l.fence(v, before)); err != nil {
		return err
	}
	after := readingOf(l.batch)
	if err := l.read(ctx, v, after); err != nil {
		return err
	}
	added := l.pack(func(x *letter) []uint32 {
		return slices.DeleteFunc(slices.Clone(after.of(x.Room)), func(node uint32) bool {
			return slices.Contains(before.of(x.Room), node)
		})
	})
	return l.send(ctx, v, added, nil)
}

// pressing reports whether the batch has an event of a service, which is worth
// a command to find out that its room is as local as it seems.
func (l *lane) pressing() bool {
	return slices.ContainsFunc(l.batch, func(x letter) bool { return x.flight != nil })
}

// fence returns commands whose replies come behind the invalidations of what
// happened before. A PUBLISH on the same connection is one by itself; in Redis
// Cluster rooms and channels are on different ones.
func (l *lane) fence(v *view, r *reading) (commands []rueidis.Completed) {
	if !v.sharded {
		return []rueidis.Completed{v.client.B().Ping().Build()}
	}
	for _, room := range r.rooms {
		commands = append(commands, v.client.B().Exists().Key(l.c.names.room(room)).Build())
	}
	return commands
}

// read asks the directory, from memory where nothing has changed, and notes
// which rooms nobody else holds.
func (l *lane) read(ctx context.Context, v *view, r *reading) error {
	epoch := l.look(r)
	commands := make([]rueidis.CacheableTTL, len(r.rooms))
	for i, room := range r.rooms {
		commands[i] = rueidis.CT(v.client.B().Smembers().Key(l.c.names.room(room)).Cache(), cacheTTL)
	}
	r.nodes = make([][]uint32, len(r.rooms))
	for i, result := range v.client.DoMultiCache(ctx, commands...) {
		sessions, err := result.AsIntSlice()
		if err != nil {
			return err
		}
		for _, s := range sessions {
			if !v.knows(s) {
				l.c.keeper.suspect(s)
			}
		}
		var dead []int64
		if r.nodes[i], dead = v.reach(sessions); len(dead) > 0 {
			l.dead[r.rooms[i]] = dead
		}
	}
	if !v.doubt && len(v.open) == 0 {
		l.seen(r, epoch)
	}
	return nil
}

// look notes that rooms are being read: what is invalidated from now on is not
// relied on.
func (l *lane) look(r *reading) (epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	epoch = l.c.epoch.Load()
	for _, room := range r.rooms {
		if e := l.held[room]; e != nil && (e.sight != ours || e.epoch != epoch) {
			r.doubt = r.doubt || e.sight == doubted
			e.sight = looking
		}
	}
	return epoch
}

// seen notes which rooms nobody else holds.
func (l *lane) seen(r *reading, epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, room := range r.rooms {
		e := l.held[room]
		if e == nil {
			continue
		}
		switch {
		case len(r.nodes[i]) > 0:
			e.sight = unseen
		case e.sight == looking:
			e.sight, e.epoch = ours, epoch
		}
	}
}
