package redislog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	trimEvery  = 5 * time.Second // half as long when Retention is short
	trimMin    = 100 * time.Millisecond
	trimShare  = 20  // of Retention, between two looks
	sizeProbes = 100 // parts of the stream whose size Redis looks at
)

// Trim removes entries that are too old or too much, until ctx is cancelled.
// Every node does: it needs no agreement, since removing what is gone does
// nothing.
func (l *Log) Trim(ctx context.Context) {
	pause := max(min(trimEvery, l.config.Retention/trimShare), trimMin)
	told := false
	for {
		select {
		case <-time.After(pause/2 + rand.N(pause)): // not all nodes at once
		case <-ctx.Done():
			return
		}
		err := l.trimOnce(ctx)
		if err != nil && !told && ctx.Err() == nil {
			l.config.Logger.Warn("old events cannot be removed from the log in Redis, retrying", "error", err)
		}
		told = err != nil
	}
}

// trimOnce removes entries once.
func (l *Log) trimOnce(ctx context.Context) error {
	client, err := l.connection()
	if err != nil {
		return err
	}
	t := trimmer{l, client, ctx, nil}
	length := t.length()
	keep := t.young(length)
	fitting, sizeErr := t.fitting(length) // it may be forbidden; age counts all the same
	if keep = min(keep, fitting); t.err == nil && keep < length {
		t.do(client.B().Xtrim().Key(l.config.Key).Maxlen().Threshold(strconv.FormatInt(max(keep, 1), 10)).Build())
	}
	if t.err != nil {
		l.disconnect(client)
	}
	if err := errors.Join(t.err, sizeErr); err != nil {
		return fmt.Errorf("redis, stream %s: %w", l.config.Key, err)
	}
	return nil
}

// A trimmer finds out how much is to be removed. After an error all of its
// methods do nothing.
type trimmer struct {
	log    *Log
	client rueidis.Client
	ctx    context.Context
	err    error
}

func (t *trimmer) do(command rueidis.Completed) rueidis.RedisResult {
	r := t.client.Do(t.ctx, command)
	if err := r.Error(); err != nil && t.err == nil {
		t.err = err
	}
	return r
}

func (t *trimmer) length() int64 {
	n, _ := t.do(t.client.B().Xlen().Key(t.log.config.Key).Build()).AsInt64()
	return n
}

// young returns how many entries are not too old. Positions have no gaps, so
// the first of them is found by halves.
func (t *trimmer) young(length int64) int64 {
	first, at := t.entry("-")
	if t.err != nil || length == 0 {
		return length
	}
	end, err := t.log.look(t.ctx, t.client)
	if err != nil {
		t.err = err
		return length
	}
	oldest := end.now - t.log.config.Retention.Milliseconds()
	if at >= oldest {
		return length
	}
	gone := sort.Search(int(length), func(i int) bool {
		_, at := t.entry(id(end.log, first+eventlog.Position(i)))
		return t.err != nil || at >= oldest
	})
	return length - int64(gone)
}

// entry returns the position of the first entry from an id on, and when it was
// added. Redis may have none there any more: 0, and a time in the past.
func (t *trimmer) entry(from string) (p eventlog.Position, at int64) {
	if t.err != nil {
		return 0, 0
	}
	list, err := t.do(t.client.B().Xrange().Key(t.log.config.Key).Start(from).End("+").Count(1).Build()).AsXRangeSlices()
	if err != nil || len(list) == 0 {
		return 0, 0
	}
	_, p, t.err = parseID(list[0].ID)
	for _, f := range list[0].FieldValues {
		if f.Field == fieldAt {
			at, _ = strconv.ParseInt(f.Value, 10, 64)
		}
	}
	return p, at
}

// fitting returns how many entries fit into Config.MaxBytes, if all are of the
// same size.
func (t *trimmer) fitting(length int64) (int64, error) {
	bytes, err := t.client.Do(t.ctx, t.client.B().MemoryUsage().Key(t.log.config.Key).Samples(sizeProbes).Build()).AsInt64()
	switch limit := int64(t.log.config.MaxBytes); {
	case rueidis.IsRedisNil(err): // there is no stream
		return length, nil
	case err == nil && bytes > limit:
		return int64(float64(length) * float64(limit) / float64(bytes)), nil
	}
	return length, err
}
