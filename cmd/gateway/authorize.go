package main

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/authz"
	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/rooms"
)

// newAuthorizer returns the gate that decides who may join which room.
func newAuthorizer(c config.Config, log *slog.Logger) (*authz.Gate, error) {
	server, db, err := redisServer(c)
	if err != nil {
		return nil, err
	}
	return authz.New(authz.Config{
		Policy:           c.Rooms.Policy,
		OwnNotifications: c.Rooms.Notifications == "own",
		Concurrency:      c.Rooms.AuthConcurrency,
		URL:              c.Rooms.AuthURL,
		Token:            c.Rooms.AuthToken,
		Timeout:          c.Rooms.AuthTimeout,
		TTL:              c.Rooms.AuthTTL,
		Prefix:           c.Redis.KeyPrefix + aclPart,
		Connect: func(invalidated func([]rueidis.RedisMessage)) (rueidis.Client, error) {
			return server.Open(db, invalidated)
		},
		Log: log,
	})
}

// aclPart is between KEY_PREFIX and a room in the keys of the sets that list
// who may be in the room.
const aclPart = "acl:"

// authorizer returns the gate as a rooms.Authorizer, nil if there is none.
func (g *Gateway) authorizer() rooms.Authorizer {
	if g.gate == nil {
		return nil
	}
	return g.gate
}

// A gateCollector turns the gate's counters into Prometheus metrics. Safe for
// concurrent use.
type gateCollector struct{ gate *authz.Gate }

var gateDesc = prometheus.NewDesc("gateway_room_authorizations_total",
	"Decisions whether a user may join a room, by outcome.", []string{"outcome"}, nil)

// Describe implements prometheus.Collector.
func (c *gateCollector) Describe(ch chan<- *prometheus.Desc) { ch <- gateDesc }

// Collect implements prometheus.Collector.
func (c *gateCollector) Collect(ch chan<- prometheus.Metric) {
	for outcome, n := range c.gate.Counts() {
		ch <- prometheus.MustNewConstMetric(gateDesc, prometheus.CounterValue, float64(n), outcome.String())
	}
}
