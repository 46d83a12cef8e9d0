package main

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/adapter"
	"github.com/hometrip/gateway/upstream"
)

// nodeFleet returns this node's membership in a fleet of Node servers, nil
// without SOCKETIO_ADAPTER_KEY.
func (g *Gateway) nodeFleet() (*adapter.Adapter, error) {
	cfg := g.cfg()
	if cfg.Adapter.Key == "" {
		return nil, nil
	}
	server, db, err := redisServer(cfg)
	if err != nil {
		return nil, err
	}
	c := adapter.Config{
		Key:      cfg.Adapter.Key,
		Orders:   fmt.Sprintf("%s%d:adapter:order:", cfg.Redis.KeyPrefix, db),
		Open:     func() (rueidis.Client, error) { return server.Open(db, nil) },
		MaxBytes: func() int { return g.cfg().Limits.PendingBytes },
		Log:      g.log,
	}
	if cfg.Adapter.Events != config.AdapterAll {
		c.Routed = g.routes.Emits
	}
	if cfg.Adapter.Events == config.AdapterCompare {
		g.comparer = adapter.NewComparer()
		c.Compare = g.comparer
	}
	return adapter.New(c)
}

// A comparison stands for the rooms of a gateway that compares its deliveries
// with those of Node servers: every event is encoded, whether a client is in
// its room or not.
type comparison struct {
	*rooms.Hub
	comparer *adapter.Comparer
}

// Holds implements upstream.Rooms.
func (c comparison) Holds([]byte) bool { return true }

// Deliver implements upstream.Rooms.
func (c comparison) Deliver(b rooms.Broadcast) int {
	c.comparer.Deliver(b.Room, b.Message, time.Now())
	return c.Hub.Deliver(b)
}

// eventRooms returns where the events of the log are delivered.
func (g *Gateway) eventRooms() upstream.Rooms {
	if g.comparer != nil {
		return comparison{g.hub, g.comparer}
	}
	return g.hub
}

// joined reports whether this node is a member of a fleet on Node.js, and does
// not only compare.
func (g *Gateway) joined() bool { return g.fleet != nil && g.comparer == nil }

// outside returns the fleet as a rooms.Outside, nil if there is none.
func (g *Gateway) outside() rooms.Outside {
	if !g.joined() {
		return nil
	}
	return g.fleet
}

// An adapterFigure is one Prometheus metric about the fleet on Node.
type adapterFigure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*adapter.Totals) int64
}

func newAdapterFigure(kind prometheus.ValueType, name, help string, value func(*adapter.Totals) int64) adapterFigure {
	return adapterFigure{newDesc("adapter_"+name, help, nil), kind, value}
}

var adapterFigures = []adapterFigure{
	newAdapterFigure(prometheus.GaugeValue, "connected", "1 when this node shares rooms with Node servers.",
		func(t *adapter.Totals) int64 { return flag(t.Connected) }),
	newAdapterFigure(prometheus.GaugeValue, "subscriptions", "Channels of rooms this node is subscribed to.",
		func(t *adapter.Totals) int64 { return int64(t.Subscriptions) }),
	newAdapterFigure(prometheus.CounterValue, "received_total", "Events of Node servers and emitters passed on to clients.",
		func(t *adapter.Totals) int64 { return t.Received }),
	newAdapterFigure(prometheus.CounterValue, "routed_total", "Events of Node servers not passed on because the log of service events has them.",
		func(t *adapter.Totals) int64 { return t.Routed }),
	newAdapterFigure(prometheus.CounterValue, "requests_total", "Requests of Node servers.",
		func(t *adapter.Totals) int64 { return t.Requests }),
	newAdapterFigure(prometheus.CounterValue, "answers_total", "Answers to requests of Node servers.",
		func(t *adapter.Totals) int64 { return t.Answers }),
	newAdapterFigure(prometheus.CounterValue, "published_total", "Events of clients here published to Node servers.",
		func(t *adapter.Totals) int64 { return t.Published }),
	newAdapterFigure(prometheus.CounterValue, "unpublished_total", "Messages to Node servers lost because Redis could not be reached or too many waited.",
		func(t *adapter.Totals) int64 { return t.Unpublished }),
}

var adapterDroppedDesc = prometheus.NewDesc("gateway_adapter_dropped_total",
	"Messages of Node servers dropped because they would break clients, by reason.", []string{"reason"}, nil)

var adapterComparedDesc = prometheus.NewDesc("gateway_adapter_compared_total",
	"With SOCKETIO_ADAPTER_EVENTS=compare: events delivered by the gateway, the Node servers or both.", []string{"result"}, nil)

// An adapterCollector turns the adapter's figures into Prometheus metrics. Safe
// for concurrent use.
type adapterCollector struct {
	adapter  *adapter.Adapter
	comparer *adapter.Comparer // nil unless it compares
}

// Describe implements prometheus.Collector.
func (c *adapterCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range adapterFigures {
		ch <- f.desc
	}
	ch <- adapterDroppedDesc
	ch <- adapterComparedDesc
}

// Collect implements prometheus.Collector.
func (c *adapterCollector) Collect(ch chan<- prometheus.Metric) {
	t := c.adapter.Stats()
	for _, f := range adapterFigures {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, float64(f.value(&t)))
	}
	for reason, n := range t.Dropped {
		ch <- prometheus.MustNewConstMetric(adapterDroppedDesc, prometheus.CounterValue, float64(n), reason.String())
	}
	if c.comparer == nil {
		return
	}
	compared := c.comparer.Totals(time.Now())
	for result, n := range map[string]int64{
		"both": compared.Both, "node_only": compared.NodeOnly, "gateway_only": compared.LogOnly,
	} {
		ch <- prometheus.MustNewConstMetric(adapterComparedDesc, prometheus.CounterValue, float64(n), result)
	}
}
