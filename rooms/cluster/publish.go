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

// A reading is what the directory says of the rooms of a batch. Owned by its
// lane's goroutine.
type reading struct {
	rooms    []string
	index    map[string]int // room → index in the slices
	sessions [][]int64      // that hold the room
	nodes    [][]uint32     // that are to get what goes to it
	unread   []int          // which of the rooms have to be asked for
	doubt    bool           // memory may be behind
}

// begin makes it a reading of the rooms of a batch.
func (r *reading) begin(batch []letter) {
	clear(r.index)
	clear(r.rooms)
	r.rooms = r.rooms[:0]
	for i := range batch {
		x := &batch[i]
		if x.answer != 0 {
			continue
		}
		at, known := r.index[x.Room]
		if !known {
			at = len(r.rooms)
			r.index[x.Room] = at
			r.rooms = append(r.rooms, x.Room)
		}
		x.at = at
	}
}

// publish sends the batch to the nodes that hold its rooms.
//
// A node may enter a room while this is under way. Its join is acknowledged
// after Redis has executed the SADD, and the invalidation for it comes before
// the reply to a PUBLISH executed later, for both travel on one connection. So
// whoever joined before the batch was taken is found by reading again after
// the replies.
func (l *lane) publish(ctx context.Context, v *view) error {
	if err := l.keepOrders(ctx, v); err != nil {
		return err
	}
	r := &l.reading
	r.begin(l.batch)
	if err := l.read(ctx, v, r, false); err != nil {
		return err
	}
	l.ask(r)
	parcels := l.pack(r, true)
	if len(parcels) == 0 && !r.doubt && !l.pressing() {
		return nil
	}
	if err := l.send(ctx, v, parcels, l.fence(v, r)); err != nil {
		return err
	}
	before, news := r.nodes, false
	if err := l.read(ctx, v, r, true); err != nil {
		return err
	}
	for i := range r.nodes {
		r.nodes[i] = slices.DeleteFunc(r.nodes[i], func(node uint32) bool { return slices.Contains(before[i], node) })
		news = news || len(r.nodes[i]) > 0
	}
	if !news {
		return nil
	}
	return l.send(ctx, v, l.pack(r, false), nil)
}

// pressing reports whether the batch has an event of a service. Such a one is
// worth a command to find out that its room is as deserted as it seems: the
// publisher may not be among those who hold it, and nobody asks it before a
// join is acknowledged.
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

// read finds out who holds the rooms, and notes it for those that this node
// holds: it is told when that changes. Rooms it does not hold are in the
// memory of rueidis at best.
func (l *lane) read(ctx context.Context, v *view, r *reading, fenced bool) error {
	epoch := l.recall(r, fenced)
	misses := 0
	if len(r.unread) > 0 {
		var err error
		if misses, err = l.look(ctx, v, r); err != nil {
			return err
		}
		l.seen(v, r, epoch)
	}
	l.c.stats.misses.Add(int64(misses))
	if !fenced { // the second look is in memory unless something has changed
		l.c.stats.hits.Add(int64(len(r.rooms) - misses))
	}
	r.nodes = make([][]uint32, len(r.rooms))
	for i, sessions := range r.sessions {
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
	return nil
}

// recall takes what the lane remembers, and notes that the other rooms are
// being read: what is invalidated from now on is not relied on. A doubt that
// was there before the fence is settled behind it; one that came since is not.
func (l *lane) recall(r *reading, fenced bool) (epoch uint64) {
	r.sessions = append(r.sessions[:0], make([][]int64, len(r.rooms))...)
	r.unread, r.doubt = r.unread[:0], false
	l.mu.Lock()
	defer l.mu.Unlock()
	epoch = l.c.epoch.Load()
	for i, room := range r.rooms {
		e := l.held[room]
		switch {
		case e == nil:
			r.unread = append(r.unread, i)
		case e.sight == ours && e.epoch == epoch:
		case e.sight == theirs && e.epoch == epoch:
			r.sessions[i] = e.others
			r.doubt = true // should they all be dead
		default:
			r.unread = append(r.unread, i)
			switch {
			case e.sight == doubted && fenced:
			case (e.sight == doubted || e.sight == fencing) && !fenced:
				e.sight, r.doubt = fencing, true
			default:
				e.sight = looking
			}
		}
	}
	return epoch
}

// look asks the directory, and returns how many of the rooms were not in the
// memory of rueidis.
func (l *lane) look(ctx context.Context, v *view, r *reading) (misses int, err error) {
	commands := make([]rueidis.CacheableTTL, len(r.unread))
	for i, at := range r.unread {
		commands[i] = rueidis.CT(v.client.B().Smembers().Key(l.c.names.room(r.rooms[at])).Cache(), cacheTTL)
	}
	for i, result := range v.client.DoMultiCache(ctx, commands...) {
		sessions, err := result.AsIntSlice()
		if err != nil {
			return misses, err
		}
		if !result.IsCacheHit() {
			misses++
		}
		r.sessions[r.unread[i]] = sessions
	}
	return misses, nil
}

// seen notes what was read, unless it has changed meanwhile.
func (l *lane) seen(v *view, r *reading, epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range r.unread {
		e := l.held[r.rooms[at]]
		if e == nil || e.sight != looking && e.sight != fencing {
			continue
		}
		others := slices.ContainsFunc(r.sessions[at], func(s int64) bool { return nodeOf(s) != l.c.node })
		switch {
		case others:
			e.sight, e.epoch, e.others = theirs, epoch, r.sessions[at]
			e.strike(e.others)
		case e.sight == fencing:
		case e.wrote == v.session && !v.doubt && len(v.open) == 0:
			e.sight, e.epoch, e.tallies = ours, epoch, nil
		default:
			e.sight = unseen
		}
	}
}
