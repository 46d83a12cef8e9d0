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
		Rooms:   g.everybody(),
		MaxBody: g.cfg().MaxEventSize,
		Token:   g.cfg().PublishToken,
		Local:   !g.cfg().deployed(),
		Log:     g.log,
	}
}

// backDoor returns the consumer of the services' events, nil without RabbitMQ.
func (g *Gateway) backDoor() (*upstream.Consumer, error) {
	cfg := g.cfg()
	if !cfg.UseRabbitMQ {
		return nil, nil
	}
	return upstream.New(upstream.Config{
		Addresses:   cfg.rabbitMQ(),
		Exchanges:   cfg.RabbitMQExchanges,
		QueuePrefix: cfg.RabbitMQQueuePrefix,
		Prefetch:    cfg.RabbitMQPrefetch,
		MaxBody:     cfg.MaxEventSize,
		Table:       g.routes,
		Rooms:       g.everybody(),
		Log:         g.log,
	})
}

// consume takes events until ctx is cancelled; ended is closed when the last
// ones are acknowledged.
func (g *Gateway) consume(ctx context.Context) (ended <-chan struct{}) {
	done := make(chan struct{})
	if g.consumer == nil {
		close(done)
		return done
	}
	go func() { defer close(done); g.consumer.Run(ctx) }()
	return done
}

// eventBus is a part of GET /health and GET /metrics.
type eventBus struct {
	IsConnected       bool       `json:"isConnected"`
	ReconnectAttempts *int       `json:"reconnectAttempts,omitempty"`
	Host              *string    `json:"host,omitempty"`
	Port              *int       `json:"port,omitempty"`
	Since             *time.Time `json:"since,omitempty"`     // connected or not
	LastError         string     `json:"lastError,omitempty"` // while not connected
	Foreign           []string   `json:"foreign,omitempty"`   // queues and exchanges used as they were found
}

// state is what everybody may know.
func (b eventBus) state() eventBus { return eventBus{IsConnected: b.IsConnected} }

func (g *Gateway) eventBus() eventBus {
	host, port, attempts := g.cfg().RabbitMQHost, g.cfg().RabbitMQPort, 0
	bus := eventBus{Host: &host, Port: &port, ReconnectAttempts: &attempts}
	if g.consumer == nil {
		return bus
	}
	s := g.consumer.Status()
	since := s.Since.UTC()
	bus.IsConnected, bus.Since, bus.Foreign, attempts = s.Connected, &since, s.Foreign, s.Attempts
	var text string
	host, text, _ = net.SplitHostPort(s.Host)
	port, _ = strconv.Atoi(text)
	if !s.Connected {
		bus.LastError = s.LastError
	}
	return bus
}

// An eventsCollector turns the consumer's counters into Prometheus metrics.
// Safe for concurrent use.
type eventsCollector struct{ consumer *upstream.Consumer }

var (
	busConnected = prometheus.NewDesc("gateway_rabbitmq_connected", "Whether RabbitMQ is connected.", nil, nil)
	busAttempts  = prometheus.NewDesc("gateway_rabbitmq_attempts", "Failed attempts since the last connection to RabbitMQ.", nil, nil)
	busSince     = prometheus.NewDesc("gateway_rabbitmq_since_seconds", "Unix time since when RabbitMQ is connected, or is not.", nil, nil)
	busConnects  = prometheus.NewDesc("gateway_rabbitmq_connections_total", "Connections to RabbitMQ made.", nil, nil)
	busEvents    = prometheus.NewDesc("gateway_service_events_total",
		"Events from RabbitMQ: received, and what became of them.", []string{"what"}, nil)
	busUnacked = prometheus.NewDesc("gateway_service_events_unacknowledged",
		"Events taken from RabbitMQ and not acknowledged yet.", nil, nil)
	busLag = prometheus.NewDesc("gateway_service_event_lag_seconds",
		"How old the event taken last was, by the timestamp property of its publisher; whole seconds.", nil, nil)
	busPoison = prometheus.NewDesc("gateway_service_events_poison_total",
		"Events from RabbitMQ that can never be delivered.", []string{"reason"}, nil)
)

// Describe sends all descriptions.
func (c *eventsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{busConnected, busAttempts, busSince, busConnects, busEvents, busUnacked, busLag, busPoison} {
		out <- d
	}
}

// Collect sends all values.
func (c *eventsCollector) Collect(out chan<- prometheus.Metric) {
	s, t := c.consumer.Status(), c.consumer.Totals()
	connected := 0.0
	if s.Connected {
		connected = 1
	}
	out <- prometheus.MustNewConstMetric(busConnected, prometheus.GaugeValue, connected)
	out <- prometheus.MustNewConstMetric(busAttempts, prometheus.GaugeValue, float64(s.Attempts))
	out <- prometheus.MustNewConstMetric(busSince, prometheus.GaugeValue, float64(s.Since.UnixMilli())/1e3)
	out <- prometheus.MustNewConstMetric(busConnects, prometheus.CounterValue, float64(s.Connections))
	for what, n := range map[string]int64{
		"received": t.Received, "delivered": t.Delivered, "left_to_other_route": t.PassedOver,
		"duplicate": t.Duplicates, "acknowledged": t.Acked, "dead_letter": t.DeadLetters, "retry": t.Retries,
		"bad_timestamp": t.BadTimestamps,
	} {
		out <- prometheus.MustNewConstMetric(busEvents, prometheus.CounterValue, float64(n), what)
	}
	out <- prometheus.MustNewConstMetric(busUnacked, prometheus.GaugeValue, float64(t.Unacked))
	out <- prometheus.MustNewConstMetric(busLag, prometheus.GaugeValue, t.Lag.Seconds())
	for reason, n := range t.Poison {
		out <- prometheus.MustNewConstMetric(busPoison, prometheus.CounterValue, float64(n), reason)
	}
}
