package redislog

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hometrip/gateway/upstream/redislog/core"
)

// Trim removes entries that are too old or that exceed the size limit, until ctx
// is cancelled.
func (l *Log) Trim(ctx context.Context) {
	t := core.Trimming{Retention: l.config.Retention, MaxBytes: l.config.MaxBytes}
	logged := false
	for {
		select {
		case <-time.After(t.Pause(rand.Float64())):
		case <-ctx.Done():
			return
		}
		err := l.trimOnce(ctx, &t)
		if err != nil && !logged && ctx.Err() == nil {
			l.config.Logger.Warn("old events cannot be removed from the log in Redis, retrying", "error", err)
		}
		logged = err != nil
	}
}

// trimOnce does one round.
func (l *Log) trimOnce(ctx context.Context, t *core.Trimming) error {
	client, err := l.connection()
	if err != nil {
		return err
	}
	t.Begin()
	for command, ok := t.Command(); ok; command, ok = t.Command() {
		r := l.do(ctx, client, command)
		t.Take(&r)
	}
	err, leave := t.Err()
	if leave {
		l.disconnect(client)
	}
	if err != nil {
		return l.failure(err)
	}
	return nil
}
