package main

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster"
)

// leaveTimeout is the longest time that leaving the cluster may take.
const leaveTimeout = time.Second

// redisServer returns how to reach Redis, and the number of the database.
func redisServer(c config.Config) (cluster.Server, int, error) {
	if c.Redis.URL == "" {
		return cluster.Server{
			Addresses: []string{net.JoinHostPort(c.Redis.Host, strconv.Itoa(c.Redis.Port))},
			Username:  c.Redis.Username, Password: c.Redis.Password,
		}, c.Redis.DB, nil
	}
	server, db, err := cluster.ParseURL(c.Redis.URL)
	if db < 0 {
		db = c.Redis.DB
	}
	return server, db, err
}

// openCluster returns the cluster, or nil without Redis. Nothing is connected yet.
func (g *Gateway) openCluster() (*cluster.Cluster, error) {
	cfg := g.cfg()
	if !cfg.Redis.Use {
		return nil, nil
	}
	server, db, err := redisServer(cfg)
	if err != nil {
		return nil, err
	}
	return cluster.New(cluster.Config{
		Server: server, Prefix: cfg.Redis.KeyPrefix, DB: db,
		Lease: cfg.Cluster.Lease, Linger: cfg.Cluster.RoomLinger,
		MaxQueue: cfg.Cluster.PublishQueue, MaxBytes: cfg.Cluster.PublishBytes,
		Takes:   g.takes,
		Alone:   !cfg.Deployed(),
		Answer:  g.answerNode,
		Sockets: func() int64 { return g.hub.Stats().Sockets },
		Log:     g.log,
	})
}

// clusterPort returns the cluster as a rooms.Cluster: a nil interface without
// Redis.
func (g *Gateway) clusterPort() rooms.Cluster {
	if g.cluster == nil {
		return nil
	}
	return g.cluster
}

// joinCluster starts the connections to Redis.
func (g *Gateway) joinCluster() {
	if g.cluster != nil {
		g.cluster.Start(g.hub)
	}
}

// leaveCluster publishes what is queued and removes this node's rooms from Redis.
func (g *Gateway) leaveCluster(ctx context.Context) {
	if g.cluster == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	if err := g.cluster.Close(ctx); err != nil {
		g.log.Warn("leaving the cluster failed; other nodes remove this one when its lease ends", "error", err)
	}
}

// clusterFigures is a part of GET /metrics in JSON.
type clusterFigures struct {
	Nodes            int   `json:"nodes"`
	ConnectedSockets int64 `json:"connectedSockets"` // of all nodes
	Published        int64 `json:"published"`
	Received         int64 `json:"received"`
	Queued           int64 `json:"queued"`
}

// clusterFigures returns nil without Redis.
func (g *Gateway) clusterFigures() *clusterFigures {
	if g.cluster == nil {
		return nil
	}
	s := g.cluster.Stats()
	return &clusterFigures{s.Nodes, s.Sockets, s.Published, s.Received, s.Queued}
}

// A clusterFigure is one Prometheus metric about the other nodes.
type clusterFigure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*cluster.Totals) int64
}

// newClusterFigure makes a figure; labels are pairs of a name and its fixed
// value.
func newClusterFigure(kind prometheus.ValueType, name, help string, value func(*cluster.Totals) int64, labels ...string) clusterFigure {
	return clusterFigure{newDesc("cluster_"+name, help, labels), kind, value}
}

var clusterFigureList = []clusterFigure{
	newClusterFigure(prometheus.GaugeValue, "connected", "1 when Redis answers and this node is subscribed to what others publish.",
		func(t *cluster.Totals) int64 { return flag(t.Connected) }),
	newClusterFigure(prometheus.GaugeValue, "registered", "1 when all rooms of this node are in the directory in Redis.",
		func(t *cluster.Totals) int64 { return flag(t.Registered) }),
	newClusterFigure(prometheus.GaugeValue, "nodes", "Nodes in the cluster, this one included.",
		func(t *cluster.Totals) int64 { return int64(t.Nodes) }),
	newClusterFigure(prometheus.GaugeValue, "sockets", "Socket.IO sockets on all nodes.",
		func(t *cluster.Totals) int64 { return t.Sockets }),
	newClusterFigure(prometheus.GaugeValue, "rooms", "Rooms that this node has in the directory, or is adding.",
		func(t *cluster.Totals) int64 { return t.Rooms }),
	newClusterFigure(prometheus.GaugeValue, "directory_waiting", "Rooms that wait to be added to the directory, removed or looked up.",
		func(t *cluster.Totals) int64 { return t.Waiting }),
	newClusterFigure(prometheus.GaugeValue, "publish_waiting", "Messages that wait to be published to other nodes.",
		func(t *cluster.Totals) int64 { return t.Queued }),
	newClusterFigure(prometheus.CounterValue, "published_total", "Messages sent to other nodes, counted once for each node.",
		func(t *cluster.Totals) int64 { return t.Published }),
	newClusterFigure(prometheus.CounterValue, "publishes_total", "PUBLISH commands; one may carry many messages.",
		func(t *cluster.Totals) int64 { return t.Envelopes }),
	newClusterFigure(prometheus.CounterValue, "received_total", "Messages received from other nodes.",
		func(t *cluster.Totals) int64 { return t.Received }),
	newClusterFigure(prometheus.CounterValue, "strays_total", "Messages received for rooms without members here.",
		func(t *cluster.Totals) int64 { return t.Strays }),
	newClusterFigure(prometheus.CounterValue, "directory_writes_total", "Rooms added to the directory or removed.",
		func(t *cluster.Totals) int64 { return t.Writes }),
	newClusterFigure(prometheus.CounterValue, "directory_healed_total", "Rooms added again because the directory had lost them (deleted or evicted keys).",
		func(t *cluster.Totals) int64 { return t.Healed }),
	newClusterFigure(prometheus.CounterValue, "directory_lookups_total", "Lookups of rooms in the directory in order to publish; hit: answered from this node's memory.",
		func(t *cluster.Totals) int64 { return t.Hits }, "result", "hit"),
	newClusterFigure(prometheus.CounterValue, "directory_lookups_total", "Lookups of rooms in the directory in order to publish; hit: answered from this node's memory.",
		func(t *cluster.Totals) int64 { return t.Misses }, "result", "miss"),
	newClusterFigure(prometheus.CounterValue, "sessions_total", "Times this node began to register all its rooms.",
		func(t *cluster.Totals) int64 { return t.Sessions }),
	newClusterFigure(prometheus.CounterValue, "failures_total", "Commands to Redis that failed.",
		func(t *cluster.Totals) int64 { return t.Failures }),
}

var clusterDroppedDesc = prometheus.NewDesc("gateway_cluster_dropped_total",
	"Messages between nodes that were dropped, by reason.", []string{"reason"}, nil)

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// A clusterCollector turns the cluster's figures into Prometheus metrics. Safe
// for concurrent use.
type clusterCollector struct{ cluster *cluster.Cluster }

// Describe implements prometheus.Collector.
func (c *clusterCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range clusterFigureList {
		ch <- f.desc
	}
	ch <- clusterDroppedDesc
}

// Collect implements prometheus.Collector.
func (c *clusterCollector) Collect(ch chan<- prometheus.Metric) {
	t := c.cluster.Stats()
	for _, f := range clusterFigureList {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, float64(f.value(&t)))
	}
	for reason, n := range t.Dropped {
		ch <- prometheus.MustNewConstMetric(clusterDroppedDesc, prometheus.CounterValue, float64(n), reason.String())
	}
}
