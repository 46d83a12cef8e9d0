package redislog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/upstream/redislog/core"
)

// Config is the configuration of a Log.
type Config struct {
	Open      func() (rueidis.Client, error) // connects to Redis
	Host      string                         // host:port of Redis, for log lines
	Key       string                         // key of the stream
	Retention time.Duration
	MaxBytes  int
	Logger    *slog.Logger
}

// A Log is a Redis stream of the services' events. It implements eventlog.Log.
// Safe for concurrent use.
type Log struct {
	config   Config
	appender appender

	mu     sync.Mutex     // guards the following; held while connecting
	client rueidis.Client // appends and trims; nil: not connected
}

// New returns a log. It connects when it is first used.
func New(c Config) (*Log, error) {
	if c.Open == nil || c.Key == "" || c.Retention <= 0 || c.MaxBytes <= 0 || c.Logger == nil {
		return nil, errors.New("redislog: want a way to connect, a key, retention, a size and a logger")
	}
	l := &Log{config: c}
	l.appender.init(l)
	return l, nil
}

// Host returns host:port of Redis.
func (l *Log) Host() string { return l.config.Host }

// Close stops appending. Append fails afterwards.
func (l *Log) Close() {
	l.appender.close()
	l.disconnect(nil)
}

// connection returns the connection for appending and trimming, and connects if
// there is none.
func (l *Log) connection() (rueidis.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		return l.client, nil
	}
	var err error
	l.client, err = l.config.Open()
	return l.client, err
}

// disconnect closes a connection after an error: Redis may have become a replica,
// or have moved. nil stands for the connection in use.
func (l *Log) disconnect(client rueidis.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil && (client == nil || client == l.client) {
		l.client.Close()
		l.client = nil
	}
}

// failure adds the stream to an error.
func (l *Log) failure(err error) error { return fmt.Errorf("redis, stream %s: %w", l.config.Key, err) }

// do executes a command, within its limit.
func (l *Log) do(ctx context.Context, client rueidis.Client, c core.Command) core.Reply {
	if c.Within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Within, fmt.Errorf("no answer in %v", c.Within))
		defer cancel()
	}
	r := replyOf(c.Kind, l.config.Key, client.Do(ctx, l.build(client, c)))
	if r.Err != nil && ctx.Err() != nil {
		r.Err = context.Cause(ctx)
	}
	return r
}

// doMulti executes commands in order, in one round trip.
func (l *Log) doMulti(ctx context.Context, client rueidis.Client, list []core.Command) []core.Reply {
	commands, replies := make([]rueidis.Completed, len(list)), make([]core.Reply, len(list))
	for i, c := range list {
		commands[i] = l.build(client, c)
	}
	for i, r := range client.DoMulti(ctx, commands...) {
		replies[i] = replyOf(list[i].Kind, l.config.Key, r)
	}
	return replies
}

func (l *Log) build(client rueidis.Client, c core.Command) rueidis.Completed {
	b := client.B().Arbitrary(c.Before...).Keys(l.config.Key).Args(c.After...)
	if c.Kind == core.Read {
		return b.Blocking()
	}
	return b.Build()
}

// replyOf converts an answer of rueidis.
func replyOf(kind core.Kind, key string, result rueidis.RedisResult) (r core.Reply) {
	switch kind {
	case core.Eval:
		r.List, r.Err = result.AsStrSlice()
	case core.Number:
		r.Number, r.Err = result.AsInt64()
	case core.Range:
		var list []rueidis.XRangeSlice
		list, r.Err = result.AsXRangeSlices()
		r.Entries = raw(list)
	case core.Read:
		var streams map[string][]rueidis.XRangeSlice
		streams, r.Err = result.AsXReadSlices()
		r.Entries = raw(streams[key])
	}
	if rueidis.IsRedisNil(r.Err) {
		r.Nil, r.Err = true, nil
	}
	return r
}

func raw(list []rueidis.XRangeSlice) []core.Raw {
	entries := make([]core.Raw, len(list))
	for i, e := range list {
		entries[i] = core.Raw{ID: e.ID, Fields: make([]string, 0, 2*len(e.FieldValues))}
		for _, f := range e.FieldValues {
			entries[i].Fields = append(entries[i].Fields, f.Field, f.Value)
		}
	}
	return entries
}
