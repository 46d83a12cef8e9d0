package main

import (
	"context"
	"log/slog"
	"strconv"
	"sync"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/rabbitmq"
	"github.com/hometrip/gateway/upstream/redislog"
	"github.com/hometrip/gateway/upstream/routes"
)

// An eventLog is the log of the services' events that this node reads.
type eventLog struct {
	eventlog.Log
	kind     string              // one of the values of EVENT_LOG, but auto
	stream   *rabbitmq.Log       // nil: it is not in RabbitMQ
	redis    *redislog.Log       // nil: it is not in Redis
	letters  *rabbitmq.Letters   // nil: there are none
	lasting  eventlog.Log        // it, without the fallback
	memory   *eventlog.Memory    // nil: it is not in this process
	choice   *upstream.Choice    // between stream and redis; nil: there is none
	forward  *rabbitmq.Forwarder // of what RabbitMQ gets to redis; nil without choice
	fallback *upstream.Fallback  // nil: it is where it should be from the start
}

// openEventLog returns the log that EVENT_LOG selects. It connects later.
func (g *Gateway) openEventLog() (*eventLog, error) {
	cfg := g.cfg()
	l := &eventLog{kind: cfg.EventLogKind()}
	var err error
	switch l.kind {
	case config.LogMemory:
		l.memory = eventlog.NewMemory(cfg.Events.TailBytes)
		l.Log = l.memory
		return l, nil
	case config.LogRedis:
		l.redis, err = newRedisLog(cfg, g.log)
		l.Log = l.redis
	default:
		l.stream, err = rabbitmq.New(streamConfig(cfg, g.routes, g.log))
		l.Log = l.stream
	}
	if err == nil && l.stream != nil && cfg.Events.Log == config.LogAuto && cfg.Redis.Use {
		err = l.choose(cfg, g)
	}
	if err != nil {
		return nil, err
	}
	l.lasting = l.Log
	if cfg.Events.Log == config.LogAuto && !cfg.Deployed() {
		l.memory = eventlog.NewMemory(cfg.Events.TailBytes)
		l.fallback = upstream.NewFallback(l.Log, l.memory, g.log)
		l.Log = l.fallback
	}
	return l, nil
}

// choose replaces the log by one in Redis if RabbitMQ turns out to have no
// streams.
func (l *eventLog) choose(cfg config.Config, g *Gateway) (err error) {
	if l.redis, err = newRedisLog(cfg, g.log); err != nil {
		return err
	}
	l.choice = upstream.NewChoice(l.stream, l.redis, g.log)
	l.forward = rabbitmq.NewForwarder(streamConfig(cfg, g.routes, g.log), l.redis)
	l.Log = l.choice
	return nil
}

// maintain does the log's work other than reading, until ctx ends.
func (l *eventLog) maintain(ctx context.Context) {
	if l.redis == nil {
		return
	}
	if l.choice != nil {
		select {
		case <-l.choice.Instead():
		case <-ctx.Done():
			return
		}
		var forwarding sync.WaitGroup
		forwarding.Go(func() { l.forward.Run(ctx) })
		defer forwarding.Wait()
	}
	l.redis.Trim(ctx)
}

// where returns where the log is: one of the values of EVENT_LOG but auto.
func (l *eventLog) where() string {
	switch {
	case l.missing() != nil:
		return config.LogMemory
	case l.choice != nil && l.choice.Other():
		return config.LogRedis
	}
	return l.kind
}

// newRedisLog returns the log in Redis. Its key has the number of the database, as
// all names of the cluster do.
func newRedisLog(c config.Config, log *slog.Logger) (*redislog.Log, error) {
	server, db, err := redisServer(c)
	if err != nil {
		return nil, err
	}
	return redislog.New(redislog.Config{
		Open: func() (rueidis.Client, error) { return server.Open(db, nil) },
		Host: server.Addresses[0], Key: c.Redis.KeyPrefix + strconv.Itoa(db) + ":events",
		Retention: c.Events.Retention, MaxBytes: c.Events.MaxBytes, Logger: log,
	})
}

// streamConfig returns the configuration of the log in RabbitMQ.
func streamConfig(c config.Config, table *routes.Table, log *slog.Logger) rabbitmq.Config {
	return rabbitmq.Config{
		Addresses: c.RabbitMQAddresses(), Exchanges: c.RabbitMQ.Exchanges, Keys: table.Keys(), Prefix: c.RabbitMQ.QueuePrefix,
		Retention: c.Events.Retention, MaxBytes: c.Events.MaxBytes, Logger: log,
	}
}

// missing returns why the configured log is not used yet; nil if it is.
func (l *eventLog) missing() error {
	if l.fallback == nil {
		return nil
	}
	return l.fallback.Missing()
}

// close closes the log's connections.
func (l *eventLog) close() {
	if l.stream != nil {
		l.stream.Close()
		l.letters.Close()
	}
	if l.redis != nil {
		l.redis.Close()
	}
}

// Host is for upstream.Consumer.Status: the server from which the log is read.
func (l *eventLog) Host() string {
	switch {
	case l.where() == config.LogRedis:
		return l.redis.Host()
	case l.stream != nil:
		return l.stream.Host()
	}
	return ""
}

// Foreign is for upstream.Consumer.Status: queues and exchanges that exist with
// other arguments.
func (l *eventLog) Foreign() []string {
	if l.stream == nil {
		return nil
	}
	return l.stream.Foreign()
}

// kept returns how many bytes of the log this process keeps.
func (l *eventLog) kept() int {
	if l.memory == nil {
		return 0
	}
	_, _, bytes := l.memory.Kept()
	return bytes
}

// append adds an event of the gateway itself to the log.
func (l *eventLog) append(ctx context.Context, key string, body []byte) error {
	_, err := l.Append(ctx, eventlog.Entry{Key: key, Body: body})()
	return err
}
