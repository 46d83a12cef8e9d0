package loop

import (
	"context"
	"errors"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// A drain is one loop's part of a shutdown: it ends the loop's sessions a few
// at a time, so that their clients do not all come back to the other nodes in
// the same second. Owned by its event loop.
type drain struct{ until time.Time }

// step ends as many sessions as keeps the loop on course to have none left
// when the time is up.
func (d *drain) step(w *worker, now time.Time) {
	left := len(w.sessions)
	if steps := int(d.until.Sub(now) / wheelTick); steps > 0 {
		left = (left + steps) / (steps + 1)
	}
	for i := range left {
		// From the end: sessions that end leave the rest in place.
		w.sessions[len(w.sessions)-1-i].Close(rooms.ReasonDraining)
	}
}

// Drain takes the node out of service: it leaves the port, and ends the
// sessions, spread over DrainPeriod. It returns when no session is left, or
// with ctx's error when that comes first.
func (s *Server) Drain(ctx context.Context) error {
	door, err := findDoor(s.port)
	s.succeeded.Store(door.others > 0)
	s.draining.Store(true)
	until := time.Now().Add(s.config.DrainPeriod)
	for _, w := range s.workers {
		w.shard.Post(func(time.Time) { w.drain = &drain{until: until} })
	}
	if err = errors.Join(err, door.close(ctx)); err != nil {
		s.config.Log.Warn("the port was not left as it should be, connections may be refused", "error", err)
	}
	poll := time.NewTicker(wheelTick)
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
