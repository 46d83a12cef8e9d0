package cluster

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

const (
	scanCount    = 512
	sweepTimeout = 5 * time.Minute
)

// sweepUp looks for sessions of dead nodes and removes them from the
// directory, one at a time, where no other node does.
func (k *keeper) sweepUp(ctx context.Context, v *view, sessions []int64, now time.Time) {
	silent := make(map[int64]time.Time)
	for _, s := range sessions {
		if _, gone := v.gone[s]; !gone {
			continue
		}
		since, known := k.silent[s]
		if !known {
			since = now
		}
		silent[s] = since
		if v.doubt || now.Sub(since) < k.c.config.Lease {
			continue
		}
		select {
		case k.sweeping <- struct{}{}:
			k.sweeps.Go(func() {
				defer func() { <-k.sweeping }()
				if err := k.sweep(ctx, v, s); err != nil && ctx.Err() == nil {
					k.complain(err)
				}
			})
		default:
		}
	}
	k.silent = silent
}

// sweep takes a session out of all rooms, and then out of the set of nodes. A
// lock keeps others from doing the same; when its holder dies it ends.
func (k *keeper) sweep(ctx context.Context, v *view, session int64) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	b, lock := v.client.B(), k.c.names.sweepLock(session)
	err := v.client.Do(ctx, b.Set().Key(lock).Value(decimal(v.session)).Nx().Px(sweepTimeout).Build()).Error()
	if rueidis.IsRedisNil(err) {
		return nil // somebody else is at it
	}
	if err != nil {
		return err
	}
	swept := 0
	err = k.c.scan(ctx, v, func(keys []string) error {
		commands := make([]rueidis.Completed, len(keys))
		for i, key := range keys {
			commands[i] = b.Srem().Key(key).Member(decimal(session)).Build()
		}
		for _, r := range v.client.DoMulti(ctx, commands...) {
			n, err := r.AsInt64()
			if err != nil {
				return err
			}
			swept += int(n)
		}
		return nil
	})
	if err == nil {
		err = v.client.Do(ctx, b.Srem().Key(k.c.names.nodes()).Member(decimal(session)).Build()).Error()
	}
	v.client.Do(ctx, b.Del().Key(lock).Build())
	k.c.config.Log.Info("removed a dead node from the directory", "session", session, "rooms", swept, "error", err)
	return err
}

// scan calls do with the keys of all rooms, some at a time. A key that is
// there all the time is among them, perhaps more than once.
func (c *Cluster) scan(ctx context.Context, v *view, do func(keys []string) error) error {
	for _, node := range v.client.Nodes() {
		for cursor := uint64(0); ; {
			entry, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(c.names.roomPattern()).Count(scanCount).Build()).AsScanEntry()
			if err != nil {
				return err
			}
			if len(entry.Elements) > 0 {
				if err := do(entry.Elements); err != nil {
					return err
				}
			}
			if cursor = entry.Cursor; cursor == 0 {
				break
			}
		}
	}
	return nil
}
