package main

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hometrip/gateway/upstream"
)

// publisher answers POST /events/{key}.
func (g *Gateway) publisher() http.Handler {
	return &upstream.Publisher{
		Table:   g.routes,
		Log:     g.events,
		MaxBody: g.config.MaxEventSize,
		Token:   g.config.PublishToken,
		Local:   !g.config.deployed(),
	}
}

// backDoor returns what brings the events in the log to the rooms.
func (g *Gateway) backDoor() (*upstream.Consumer, error) {
	c := upstream.Config{
		Log:     g.events,
		Window:  g.config.RabbitMQPrefetch,
		MaxBody: g.config.MaxEventSize,
		Table:   g.routes,
		Rooms:   g.hub,
		Missed:  func() { g.server.Renew() },
		Tail:    g.config.tailBytes(),
		Logger:  g.log,
	}
	if g.cluster != nil {
		c.Keep = g.cluster.Keep
	}
	return upstream.New(c)
}

// consume reads the log until ctx is cancelled; ended is closed when it does so
// no longer.
func (g *Gateway) consume(ctx context.Context) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() { defer close(done); g.consumer.Run(ctx) }()
	return done
}

// eventBus is a part of GET /health and GET /metrics.
type eventBus struct {
	IsConnected       bool       `json:"isConnected"`
	ReconnectAttempts int        `json:"reconnectAttempts"`
	Host              string     `json:"host"`
	Port              int        `json:"port"`
	Since             *time.Time `json:"since,omitempty"`     // connected or not
	LastError         string     `json:"lastError,omitempty"` // while not connected
	Foreign           []string   `json:"foreign,omitempty"`   // queues and exchanges used as they were found
	Log               string     `json:"log"`                 // where events are kept: rabbitmq or memory
	Position          string     `json:"position"`            // of the event that was delivered last; 0: none
}

func (g *Gateway) eventBus() eventBus {
	s := g.consumer.Status()
	since := s.Since.UTC()
	bus := eventBus{
		IsConnected: s.Connected, ReconnectAttempts: s.Attempts, Host: g.config.RabbitMQHost, Port: g.config.RabbitMQPort,
		Since: &since, Foreign: s.Foreign, Log: g.events.kind, Position: g.consumer.Totals().Position.String(),
	}
	if host, port, err := net.SplitHostPort(s.Host); err == nil {
		bus.Host = host
		bus.Port, _ = strconv.Atoi(port)
	}
	if err := g.events.missing(); err != nil {
		bus.IsConnected, bus.LastError, bus.Log = false, err.Error(), logMemory
	} else if !s.Connected {
		bus.LastError = s.LastError
	}
	return bus
}

// An eventsCollector turns the figures of the log into Prometheus metrics. Safe
// for concurrent use.
type eventsCollector struct {
	consumer *upstream.Consumer
	log      *eventLog
}

var (
	logConnected = prometheus.NewDesc("gateway_event_log_connected", "Whether the log of the services' events is being read.", []string{"log"}, nil)
	logAttempts  = prometheus.NewDesc("gateway_event_log_attempts", "Failed attempts to read the log since an entry came.", nil, nil)
	logSince     = prometheus.NewDesc("gateway_event_log_since_seconds", "Unix time since when the log is being read, or is not.", nil, nil)
	logConnects  = prometheus.NewDesc("gateway_event_log_connections_total", "Times the reading of the log has begun.", nil, nil)
	logPosition  = prometheus.NewDesc("gateway_event_log_position", "Position in the log up to which this node has delivered everything.", nil, nil)
	logKept      = prometheus.NewDesc("gateway_event_log_kept_bytes", "Bytes of the log that this process keeps in its memory.", nil, nil)
	logGaps      = prometheus.NewDesc("gateway_event_log_gaps_total",
		"Times events were removed from the log before this node had read them.", nil, nil)
	logMissed  = prometheus.NewDesc("gateway_event_log_missed_total", "Events that were.", nil, nil)
	logChanges = prometheus.NewDesc("gateway_event_log_changes_total", "Times the log was another one than before.", nil, nil)
	busEvents  = prometheus.NewDesc("gateway_service_events_total",
		"Entries of the log: received, and what became of them.", []string{"what"}, nil)
	busLag = prometheus.NewDesc("gateway_service_event_lag_seconds",
		"How old the event read last was, by the timestamp property of its publisher; whole seconds.", nil, nil)
	busPoison = prometheus.NewDesc("gateway_service_events_poison_total",
		"Entries of the log that can never be delivered.", []string{"reason"}, nil)
)

// Describe sends all descriptions.
func (c *eventsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{logConnected, logAttempts, logSince, logConnects, logPosition, logKept, logGaps,
		logMissed, logChanges, busEvents, busLag, busPoison} {
		out <- d
	}
}

// Collect sends all values.
func (c *eventsCollector) Collect(out chan<- prometheus.Metric) {
	s, t := c.consumer.Status(), c.consumer.Totals()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	gauge(logConnected, float64(flag(s.Connected && c.log.missing() == nil)), c.log.kind)
	gauge(logAttempts, float64(s.Attempts))
	gauge(logSince, float64(s.Since.UnixMilli())/1e3)
	counter(logConnects, int64(s.Connections))
	gauge(logPosition, float64(t.Position))
	gauge(logKept, float64(c.log.kept()))
	counter(logGaps, t.Gaps)
	counter(logMissed, t.Missed)
	counter(logChanges, t.Logs)
	for what, n := range map[string]int64{
		"received": t.Received, "delivered": t.Delivered, "elsewhere": t.Elsewhere, "unrouted": t.Unrouted, "duplicate": t.Duplicates,
	} {
		counter(busEvents, n, what)
	}
	gauge(busLag, t.Lag.Seconds())
	for reason, n := range t.Poison {
		counter(busPoison, n, reason)
	}
}
