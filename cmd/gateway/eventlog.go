package main

import (
	"context"
	"log/slog"

	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// Values of EVENT_LOG.
const (
	logAuto     = "auto"
	logRabbitMQ = "rabbitmq"
	logMemory   = "memory"
)

// An eventLog is the log of the services' events that this node reads.
type eventLog struct {
	eventlog.Log
	kind     string             // one of the values of EVENT_LOG, but auto
	stream   *rabbitmq.Log      // nil: it is not in RabbitMQ
	letters  *rabbitmq.Letters  // nil: there are none
	memory   *eventlog.Memory   // nil: it is not in this process
	fallback *upstream.Fallback // nil: it is where it should be from the start
}

// openEventLog returns the log that EVENT_LOG asks for. It connects later.
func (g *Gateway) openEventLog() (*eventLog, error) {
	cfg := g.cfg()
	kind := cfg.EventLog
	if kind == logAuto {
		kind = logMemory
		if cfg.UseRabbitMQ {
			kind = logRabbitMQ
		}
	}
	l := &eventLog{kind: kind}
	if kind == logMemory || !cfg.deployed() {
		l.memory = eventlog.NewMemory(cfg.EventLogTailBytes)
	}
	if kind == logMemory {
		l.Log = l.memory
		return l, nil
	}
	var err error
	if l.stream, err = rabbitmq.New(cfg.streamConfig(g.routes, g.log)); err != nil {
		return nil, err
	}
	l.Log = l.stream
	if cfg.EventLog == logAuto && !cfg.deployed() {
		l.fallback = upstream.NewFallback(l.stream, l.memory, g.log)
		l.Log = l.fallback
	} else {
		l.memory = nil
	}
	return l, nil
}

// streamConfig says where the log in RabbitMQ is.
func (c Config) streamConfig(table *upstream.Table, log *slog.Logger) rabbitmq.Config {
	return rabbitmq.Config{
		Addresses: c.rabbitMQ(), Exchanges: c.RabbitMQExchanges, Keys: table.Keys(), Prefix: c.RabbitMQQueuePrefix,
		Retention: c.EventLogRetention, MaxBytes: c.EventLogMaxBytes, Logger: log,
	}
}

// missing returns why the log is not where it should be yet; nil when it is.
func (l *eventLog) missing() error {
	if l.fallback == nil {
		return nil
	}
	return l.fallback.Missing()
}

// close ends what the log still has open.
func (l *eventLog) close() {
	if l.stream != nil {
		l.stream.Close()
		l.letters.Close()
	}
}

// Host and Foreign are for upstream.Consumer.Status.
func (l *eventLog) Host() string {
	if l.stream == nil {
		return ""
	}
	return l.stream.Host()
}

// Foreign is described at Host.
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

// append adds an event of the gateway's own to the log.
func (l *eventLog) append(ctx context.Context, key string, body []byte) error {
	_, err := l.Append(ctx, eventlog.Entry{Key: key, Body: body})()
	return err
}
