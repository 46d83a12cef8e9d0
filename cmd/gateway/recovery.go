package main

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hometrip/gateway/rooms"
)

// recoveryModes are the values of RECOVERY.
var recoveryModes = map[string]rooms.RecoveryMode{
	"off": rooms.RecoveryOff, "asked": rooms.RecoveryAsked, "all": rooms.RecoveryAll,
}

// recoverySettings are about clients that come back to what they missed.
var recoverySettings = []setting{
	{group: "Recovery", name: "RECOVERY", def: "asked",
		doc:  "Who comes back to the events it missed while it was away: off, asked (clients that say recovery: true in their auth) or all. Events then have one more argument.",
		kind: oneOf(func(c *Config) *string { return &c.Recovery }, "off", "asked", "all")},
	{name: "RECOVERY_WINDOW", def: strconv.Itoa(2 * minute), doc: "Time for which a client may be away.",
		kind: millis(1000, hour, func(c *Config) *time.Duration { return &c.RecoveryWindow })},
	{name: "RECOVERY_MAX_EVENTS", def: strconv.Itoa(rooms.DefaultReplayEvents),
		doc:  "Events that one return may bring; who has missed more is connected as a new client.",
		kind: integer(1, 100_000, func(c *Config) *int { return &c.RecoveryMaxEvents })},
	{name: "RECOVERY_MAX_BYTES", def: strconv.Itoa(rooms.DefaultReplayBytes), doc: "Bytes of these events, and half of MAX_PENDING_BYTES at most.",
		kind: integer(1024, 64*mib, func(c *Config) *int { return &c.RecoveryMaxBytes })},
	{name: "PRESENCE_GRACE", def: "5000",
		doc:  "Time for which the others in a room are not told that a client has left which may come back. 0 tells at once.",
		kind: millis(0, hour, func(c *Config) *time.Duration { return &c.PresenceGrace })},
	{name: "MAX_RECOVERY_SESSIONS", def: strconv.Itoa(rooms.DefaultSessions),
		doc:  "Ended sessions that a node remembers; the oldest are forgotten beyond.",
		kind: integer(0, 10_000_000, func(c *Config) *int { return &c.MaxRecoverySessions })},
	{name: "MAX_RECOVERY_BYTES", def: strconv.Itoa(rooms.DefaultSessionBytes), doc: "Bytes of their records.",
		kind: integer(mib, 64*1024*mib, func(c *Config) *int { return &c.MaxRecoveryBytes })},
	{name: "MAX_RECOVERY_PER_USER", def: strconv.Itoa(rooms.DefaultSessionsPerUser),
		doc:  "Ended sessions of one user that a node remembers; others are not kept.",
		kind: integer(1, 1_000_000, func(c *Config) *int { return &c.MaxRecoveryPerUser })},
}

// recovers reports whether clients may come back to what they missed.
func (c Config) recovers() bool { return recoveryModes[c.Recovery] != rooms.RecoveryOff }

// tailBytes is how much of the log is kept for clients that come back.
func (c Config) tailBytes() int {
	if !c.recovers() {
		return 0
	}
	return c.EventLogTailBytes
}

// recovery says how clients come back.
func (g *Gateway) recovery() rooms.Recovery {
	cfg := g.cfg()
	r := rooms.Recovery{
		Mode: recoveryModes[cfg.Recovery], Window: cfg.RecoveryWindow, Grace: cfg.PresenceGrace,
		MaxEvents: cfg.RecoveryMaxEvents, MaxBytes: min(cfg.RecoveryMaxBytes, cfg.MaxPendingBytes/2),
		MaxSessions: cfg.MaxRecoverySessions, MaxMemory: cfg.MaxRecoveryBytes, PerUser: cfg.MaxRecoveryPerUser,
	}
	if g.log.Enabled(context.Background(), slog.LevelDebug) {
		r.Report = func(r rooms.Return) {
			g.log.Debug("a client has come back", "result", r.Result.String(), "socket", r.Socket, "user", r.User,
				"offset", r.Offset, "events", r.Events)
		}
	}
	if cfg.recovers() {
		r.History = history{g}
		if g.cluster != nil {
			r.Remote = g.cluster.Sessions()
		}
	}
	return r
}

// history is the port of the rooms to the log, which is opened later.
type history struct{ g *Gateway }

// Missed implements rooms.History.
func (h history) Missed(q rooms.Question, done func(rooms.Missed)) { h.g.consumer.Missed(q, done) }

// Wanted implements rooms.History.
func (h history) Wanted() { h.g.consumer.Wanted() }

// awaitAbsent waits until no client is expected back, so that the others are
// told who has left, or until ctx is over.
func (g *Gateway) awaitAbsent(ctx context.Context) {
	if g.cluster == nil {
		return // nobody is left to be told
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg().PresenceGrace)
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
