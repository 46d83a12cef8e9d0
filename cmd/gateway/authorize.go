package main

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/authz"
	"github.com/hometrip/gateway/rooms"
)

// doorkeeper returns who decides about rooms, nil when nobody needs to.
func (c Config) doorkeeper(log *slog.Logger) (*authz.Gate, error) {
	server, db, err := c.redisServer()
	if err != nil {
		return nil, err
	}
	return authz.New(authz.Config{
		Policy:           c.RoomPolicy,
		OwnNotifications: c.NotificationRooms == "own",
		Concurrency:      c.RoomAuthConcurrency,
		URL:              c.RoomAuthURL,
		Token:            c.RoomAuthToken,
		Timeout:          c.RoomAuthTimeout,
		TTL:              c.RoomAuthTTL,
		Prefix:           c.KeyPrefix + aclPart,
		Connect: func(invalidated func([]rueidis.RedisMessage)) (rueidis.Client, error) {
			return server.Open(db, invalidated)
		},
		Log: log,
	})
}

// aclPart stands between KEY_PREFIX and a room in the keys of the sets that
// say who may be there.
const aclPart = "acl:"

// authorizer returns the gate as the rooms know it: nil when there is none.
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
	"Questions whether a user may join a room, by outcome.", []string{"outcome"}, nil)

// Describe implements prometheus.Collector.
func (c *gateCollector) Describe(ch chan<- *prometheus.Desc) { ch <- gateDesc }

// Collect implements prometheus.Collector.
func (c *gateCollector) Collect(ch chan<- prometheus.Metric) {
	for outcome, n := range c.gate.Counts() {
		ch <- prometheus.MustNewConstMetric(gateDesc, prometheus.CounterValue, float64(n), outcome.String())
	}
}
