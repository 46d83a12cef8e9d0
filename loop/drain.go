package loop

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

// A drain ends the sessions of one loop a few at a time, so that their clients
// do not all reconnect in the same second. Owned by its event loop.
type drain struct {
	until  time.Time
	reason rooms.Reason
	some   []*session // sessions to end; nil: all of the loop
}

// step ends as many sessions as are due by now, so that none is left at the end
// of the drain.
func (d *drain) step(w *worker, now time.Time) {
	sessions := w.sessions
	if d.some != nil {
		sessions = d.some
	}
	count := len(sessions)
	if steps := int(d.until.Sub(now) / wheel.Tick); steps > 0 {
		count = (count + steps) / (steps + 1)
	}
	rest := len(sessions) - count
	for i := len(sessions) - 1; i >= rest; i-- {
		sessions[i].Close(d.reason) // from the end, because an ended session is removed from the slice
	}
	if d.some != nil {
		d.some = sessions[:rest]
		if rest == 0 {
			w.drain = nil
		}
	}
}

// Renew disconnects all clients, spread over DrainPeriod, so that they
// reconnect to this node or another one and fetch what they may have missed.
func (s *Server) Renew() {
	until := time.Now().Add(s.live().DrainPeriod)
	for _, w := range s.workers {
		w.shard.Post(func(time.Time) {
			if len(w.sessions) > 0 && (w.drain == nil || w.drain.some != nil) {
				w.drain = &drain{until: until, reason: rooms.ReasonMissedEvents, some: slices.Clone(w.sessions)}
			}
		})
	}
}

// Drain takes the node out of service: it stops listening and ends the
// sessions, spread over DrainPeriod. It returns when no session is left, or
// with ctx's error if that comes first.
func (s *Server) Drain(ctx context.Context) error {
	group, err := findListenerGroup(s.port)
	s.succeeded.Store(group.others > 0)
	s.draining.Store(true)
	s.prepare()
	until := time.Now().Add(s.live().DrainPeriod)
	for _, w := range s.workers {
		w.shard.Post(func(time.Time) { w.drain = &drain{until: until, reason: rooms.ReasonDraining} })
	}
	if err = errors.Join(err, group.close(ctx)); err != nil {
		s.config.Log.Warn("the port was not left as it should be, connections may be refused", "error", err)
	}
	poll := time.NewTicker(wheel.Tick)
	defer poll.Stop()
	for s.Stats().Sessions > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
	return nil
}
