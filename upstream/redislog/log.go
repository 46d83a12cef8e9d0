package redislog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// Config says where the log is.
type Config struct {
	Open      func() (rueidis.Client, error) // connects to Redis
	Host      string                         // host:port of Redis, for people
	Key       string                         // of the stream
	Retention time.Duration
	MaxBytes  int
	Logger    *slog.Logger
}

// A Log is a Redis stream of the services' events: an eventlog.Log. Safe for
// concurrent use.
type Log struct {
	config   Config
	appender appender

	mu     sync.Mutex     // guards the following; held while it connects
	client rueidis.Client // appends and trims; nil: not connected
}

// New returns a log; it connects when it is used.
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

// Close ends what appends. Appending fails from then on.
func (l *Log) Close() {
	l.appender.close()
	l.disconnect(nil)
}

// Open implements eventlog.Log.
func (l *Log) Open(ctx context.Context, at eventlog.Start) (eventlog.Source, error) {
	client, err := l.config.Open()
	if err != nil {
		return nil, err
	}
	end, err := l.look(ctx, client)
	if err != nil {
		client.Close()
		return nil, err
	}
	s := &source{log: l, client: client, of: end.log, window: max(at.Window, 1), info: eventlog.Info{Identity: identity(end.log)}}
	switch at.From {
	case eventlog.FromNext:
		s.after, s.info.Behind = end.position, end.position
	case eventlog.FromPosition:
		s.after = max(at.Position, 1) - 1
	}
	return s, nil
}

// connection returns the connection that appends and trims.
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

// disconnect ends a connection after an error: Redis may have become a replica,
// or have moved. nil stands for the one in use.
func (l *Log) disconnect(client rueidis.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil && (client == nil || client == l.client) {
		l.client.Close()
		l.client = nil
	}
}

// script appends an entry with the fields in ARGV and tells where the log ends.
// Without fields it only tells. It makes the stream if there is none.
const script = `local key, log, n, made = KEYS[1], nil, '0', false
local t = redis.call('TIME')
local now = t[1] .. string.format('%03d', math.floor(t[2] / 1000))
if redis.call('EXISTS', key) == 1 then
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then log, n = string.match(info[i + 1], '^(%d+)-(%d+)$') end
  end
else
  log, made = now, true
end
if made or #ARGV > 0 then
  n = string.format('%.0f', n + 1)
  redis.call('XADD', key, log .. '-' .. n, 'at', now, unpack(ARGV))
end
return {log, n, now}`

// An end is what the script says: the log's number, the position of its newest
// entry, and the time of Redis in milliseconds.
type end struct {
	log      string
	position eventlog.Position
	now      int64
}

func (l *Log) command(client rueidis.Client, fields []string) rueidis.Completed {
	return client.B().Eval().Script(script).Numkeys(1).Key(l.config.Key).Arg(fields...).Build()
}

// look tells where the log ends. It makes the stream if there is none.
func (l *Log) look(ctx context.Context, client rueidis.Client) (end, error) {
	return l.end(client.Do(ctx, l.command(client, nil)))
}

// end reads an answer of the script.
func (l *Log) end(r rueidis.RedisResult) (end, error) {
	answer, err := r.AsStrSlice()
	if err == nil && len(answer) != 3 {
		err = fmt.Errorf("want three values, got %q", answer)
	}
	if err != nil {
		return end{}, fmt.Errorf("redis, stream %s: %w", l.config.Key, err)
	}
	position, err := strconv.ParseUint(answer[1], 10, 64)
	if err != nil {
		return end{}, fmt.Errorf("redis, stream %s: position: %w", l.config.Key, err)
	}
	now, err := strconv.ParseInt(answer[2], 10, 64)
	return end{answer[0], eventlog.Position(position), now}, err
}

// identity returns the log's identity, the shorter form of its number.
func identity(log string) string {
	n, err := strconv.ParseUint(log, 10, 64)
	if err != nil {
		return log
	}
	return strconv.FormatUint(n, 36)
}

// id is the id of an entry in Redis.
func id(log string, p eventlog.Position) string { return log + "-" + strconv.FormatUint(uint64(p), 10) }

// parseID reads what id returns.
func parseID(text string) (log string, p eventlog.Position, err error) {
	log, number, _ := strings.Cut(text, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("the id %q is none of an entry: %w", text, err)
	}
	return log, eventlog.Position(n), nil
}
