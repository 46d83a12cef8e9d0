package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/rooms"
)

// recovery returns the configuration of rooms.Recovery.
func (g *Gateway) recovery() rooms.Recovery {
	cfg := g.cfg()
	r := rooms.Recovery{
		Mode: config.RecoveryModes[cfg.Recovery.Mode], Window: cfg.Recovery.Window, Grace: cfg.Recovery.PresenceGrace,
		MaxEvents: cfg.Recovery.MaxEvents, MaxBytes: cfg.Recovery.MaxBytes,
		MaxSessions: cfg.Recovery.MaxSessions, MaxMemory: cfg.Recovery.MaxSessionBytes, PerUser: cfg.Recovery.MaxPerUser,
	}
	if g.log.Enabled(context.Background(), slog.LevelDebug) {
		r.Report = func(r rooms.Return) {
			g.log.Debug("a client has come back", "result", r.Result.String(), "socket", r.Socket, "user", r.User,
				"offset", r.Offset, "events", r.Events)
		}
	}
	if cfg.Recovers() {
		r.History = history{g}
		if g.cluster != nil {
			r.Remote = g.cluster.Sessions()
		}
	}
	return r
}

// history is the log as a rooms.History. The log is opened later.
type history struct{ g *Gateway }

// Missed implements rooms.History.
func (h history) Missed(q rooms.Question, done func(rooms.Missed)) { h.g.consumer.Missed(q, done) }

// Wanted implements rooms.History.
func (h history) Wanted() { h.g.consumer.Wanted() }

// awaitAbsent waits until no absent client can come back any more, so that the
// others are notified who has left, or until ctx is over.
func (g *Gateway) awaitAbsent(ctx context.Context) {
	if g.cluster == nil {
		return // nobody is left to be told
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg().Recovery.PresenceGrace)
	defer cancel()
	ticker := time.NewTicker(absentPoll)
	defer ticker.Stop()
	for g.hub.Stats().Absent > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			g.hub.DismissAbsent()
			return
		}
	}
}

const absentPoll = 20 * time.Millisecond

var (
	recoveriesDesc = prometheus.NewDesc("gateway_recoveries_total",
		"Clients that came back with the pid of a session, by what became of it.", []string{"result"}, nil)
	recoverySessionsDesc = prometheus.NewDesc("gateway_recovery_sessions",
		"Sessions that clients may come back to: of connected clients, and ended ones.", []string{"state"}, nil)
	recoveryBytesDesc = prometheus.NewDesc("gateway_recovery_bytes",
		"Bytes kept for clients that come back: records of ended sessions, and events.", []string{"of"}, nil)
	recoveryEvictedDesc = prometheus.NewDesc("gateway_recovery_evicted_total",
		"Ended sessions that were forgotten before RECOVERY_WINDOW because there were too many.", nil, nil)
)

// A recoveryCollector turns the figures of returns into Prometheus metrics.
// Safe for concurrent use.
type recoveryCollector struct{ g *Gateway }

// Describe implements prometheus.Collector.
func (c recoveryCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{recoveriesDesc, recoverySessionsDesc, recoveryBytesDesc, recoveryEvictedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c recoveryCollector) Collect(ch chan<- prometheus.Metric) {
	for result, n := range c.g.hub.Recoveries() {
		ch <- prometheus.MustNewConstMetric(recoveriesDesc, prometheus.CounterValue, float64(n), result.String())
	}
	kept := c.g.hub.KeptSessions()
	gauge := func(d *prometheus.Desc, n int, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), label)
	}
	gauge(recoverySessionsDesc, kept.Live, "live")
	gauge(recoverySessionsDesc, kept.Ended, "ended")
	gauge(recoveryBytesDesc, kept.Bytes, "sessions")
	gauge(recoveryBytesDesc, c.g.consumer.Kept(), "events")
	ch <- prometheus.MustNewConstMetric(recoveryEvictedDesc, prometheus.CounterValue, float64(kept.Evicted))
}
