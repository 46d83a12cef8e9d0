package cluster

import (
	"context"
	"time"
)

// run is the lane's goroutine.
func (l *lane) run(ctx context.Context) {
	for {
		busy := false
		var pause <-chan time.Time
		if v := l.c.view.Load(); v != nil {
			var err error
			if busy, err = l.step(ctx, v); err != nil {
				l.c.stats.failures.Add(1)
				l.c.keeper.complain(err)
				pause = time.After(retryDelay)
				busy = false
			}
		}
		if busy {
			continue
		}
		if pause != nil {
			select {
			case <-pause:
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		}
	}
}

// step publishes a batch, behind the changes of the directory that were there
// before it, and reports whether more may be waiting. So a room is in the
// directory before others are looked up in it: of two nodes that enter one at
// the same time, the later finds the earlier. After an error it is to be
// called again: a batch keeps its numbers, so that those who have it already
// know it again.
func (l *lane) step(ctx context.Context, v *view) (busy bool, err error) {
	if l.session != v.session {
		l.enter(v)
	}
	if len(l.batch) == 0 {
		l.take()
	}
	wrote, err := l.register(ctx, v)
	for ; err == nil && l.ahead > 0; _, err = l.register(ctx, v) {
		wrote = true
	}
	if err != nil {
		return false, err
	}
	published := len(l.batch) > 0
	if published {
		if err := l.publish(ctx, v); err != nil {
			return false, err
		}
		if !l.c.lasts(v) { // the directory may have been empty: again, in the next session
			return false, nil
		}
		l.done(v)
	}
	if err := l.unpark(ctx, v); err != nil {
		return false, err
	}
	l.bury(ctx, v)
	return wrote || published, nil
}

// done lets the batch go, which is published.
func (l *lane) done(v *view) {
	for i := range l.batch {
		x := &l.batch[i]
		if x.flight != nil {
			l.c.flights.land(x.flight)
		}
		if x.waiter != nil {
			l.asking(v, x.waiter)
		}
	}
	clear(l.batch)
	l.batch = l.batch[:0]
	l.sending.Store(0)
}

// enter begins a session: all rooms are to be registered.
func (l *lane) enter(v *view) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session, l.told = v.session, false
	l.todo = make([]string, 0, len(l.held))
	for room, e := range l.held {
		l.todo = append(l.todo, room)
		if e.members > 0 || len(e.tallies) > 0 {
			e.told = -1
			l.recount(room, e)
		}
	}
}
