package cluster

import (
	"context"
	"errors"
	"slices"

	"github.com/redis/rueidis"
)

// A Difference is what is wrong in the directory about this node.
type Difference struct {
	Missing []string // rooms this node holds and the directory does not know of
	Surplus []string // rooms it does not hold and the directory says it does
}

// Check compares the directory with what this node holds. Rooms that are on
// their way into or out of it are not held against it. It reads all keys of
// rooms, so it is for tests and for people.
func (c *Cluster) Check(ctx context.Context) (d Difference, err error) {
	v := c.view.Load()
	if v == nil {
		return d, errors.New("redis: not connected")
	}
	claimed := make(map[string]bool)
	err = c.scan(ctx, v, func(keys []string) error {
		commands := make([]rueidis.Completed, len(keys))
		for i, key := range keys {
			commands[i] = v.client.B().Smembers().Key(key).Build()
		}
		for i, r := range v.client.DoMulti(ctx, commands...) {
			sessions, err := r.AsIntSlice()
			if err != nil {
				return err
			}
			mine := slices.ContainsFunc(sessions, func(s int64) bool { return nodeOf(s) == c.node })
			if room, ok := c.names.roomOf(keys[i]); ok && mine {
				claimed[room] = true
			}
		}
		return nil
	})
	if err != nil {
		return d, err
	}
	for _, l := range c.lanes {
		l.compare(v.session, claimed, &d)
	}
	for room := range claimed {
		d.Surplus = append(d.Surplus, room)
	}
	return d, nil
}

// compare takes the lane's rooms out of claimed, and notes those that are not
// in it.
func (l *lane) compare(session int64, claimed map[string]bool, d *Difference) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for room, e := range l.held {
		if e.occupied && e.wrote == session && !claimed[room] {
			d.Missing = append(d.Missing, room)
		}
		delete(claimed, room)
	}
}
