package cluster

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// register tells the directory of rooms that have changed, and of those that a
// new session has not told it of yet.
func (l *lane) register(ctx context.Context, v *view) (wrote bool, err error) {
	rooms, commands := l.changes(v)
	for _, result := range v.client.DoMulti(ctx, commands...) {
		if e := result.Error(); e != nil {
			err = e
		}
	}
	if err != nil {
		l.again(rooms)
		return false, err
	}
	l.c.stats.registered.Add(int64(len(rooms)))
	l.registered(v, rooms)
	if !l.told && len(l.todo) == 0 {
		l.told = true
		l.c.keeper.laneRegistered(l.index, v.session)
	}
	return len(rooms) > 0, nil
}

// A change is a room and what the directory is told of it.
type change struct {
	room    string
	held    bool
	renewed bool // former sessions may have left something behind
}

// changes takes up to writeBatch rooms and makes the commands for them.
func (l *lane) changes(v *view) (list []change, commands []rueidis.Completed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	n := min(len(l.changed), writeBatch)
	for _, room := range l.changed[:n] {
		if e := l.held[room]; e != nil {
			e.queued = false
			if e.occupied || e.overdue(now, l.c.config.Linger) {
				list = append(list, e.begin(room, false))
			}
		}
	}
	l.changed = withoutFirst(l.changed, n)
	l.ahead = max(l.ahead-n, 0)

	for len(l.todo) > 0 && len(list) < writeBatch {
		room := l.todo[len(l.todo)-1]
		l.todo = l.todo[:len(l.todo)-1]
		if e := l.held[room]; e != nil {
			list = append(list, e.begin(room, true))
		}
	}
	for _, c := range list {
		commands = appendChange(commands, v, l.c.names.room(c.room), c)
	}
	return list, commands
}

// begin notes that a room is being written. Until that has succeeded the
// directory may have it or not, and who enters it elsewhere may not ask here.
func (e *entry) begin(room string, renewed bool) change {
	e.wrote, e.known, e.telling, e.sight = 0, 0, e.occupied, unseen
	return change{room, e.occupied, renewed}
}

func appendChange(commands []rueidis.Completed, v *view, key string, c change) []rueidis.Completed {
	b := v.client.B()
	if c.held {
		commands = append(commands, b.Sadd().Key(key).Member(decimal(v.session)).Build())
	}
	if c.held && (!c.renewed || len(v.former) == 0) {
		return commands
	}
	out := b.Srem().Key(key)
	members := make([]string, 0, len(v.former)+1)
	for _, session := range v.former {
		members = append(members, decimal(session))
	}
	if !c.held {
		members = append(members, decimal(v.session))
	}
	return append(commands, out.Member(members...).Build())
}

// again puts back what could not be written.
func (l *lane) again(list []change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range list {
		if e := l.held[c.room]; e != nil {
			e.telling = false
		}
		if c.renewed {
			l.todo = append(l.todo, c.room)
		} else if e := l.held[c.room]; e != nil {
			l.change(c.room, e)
		}
	}
	l.ahead = len(l.changed)
}

// registered notes what has been written.
func (l *lane) registered(v *view, list []change) {
	l.mu.Lock()
	for _, c := range list {
		e := l.held[c.room]
		switch {
		case e == nil:
		case c.held:
			e.wrote, e.telling = v.session, false
		case !e.occupied:
			delete(l.held, c.room)
		}
	}
	l.mu.Unlock()
	l.askAgain()
}

// bury takes dead sessions out of rooms in which they were found. What fails
// is found again.
func (l *lane) bury(ctx context.Context, v *view) {
	if len(l.dead) == 0 {
		return
	}
	commands := make([]rueidis.Completed, 0, len(l.dead))
	for room, sessions := range l.dead {
		members := make([]string, len(sessions))
		for i, s := range sessions {
			members[i] = decimal(s)
		}
		commands = append(commands, v.client.B().Srem().Key(l.c.names.room(room)).Member(members...).Build())
	}
	clear(l.dead)
	v.client.DoMulti(ctx, commands...)
}

// unregister takes this node out of the directory, at its end.
func (c *Cluster) unregister(ctx context.Context, v *view) error {
	var commands []rueidis.Completed
	flush := func() (err error) {
		for _, result := range v.client.DoMulti(ctx, commands...) {
			if e := result.Error(); e != nil {
				err = e
			}
		}
		commands = commands[:0]
		return err
	}
	for _, l := range c.lanes {
		for room := range l.held { // the lanes have ended
			commands = appendChange(commands, v, c.names.room(room), change{})
			if len(commands) == writeBatch {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	b := v.client.B()
	commands = append(commands,
		b.Srem().Key(c.names.nodes()).Member(decimal(v.session)).Build(),
		b.Del().Key(c.names.lease(v.session)).Build())
	return flush()
}
