package main

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// flushTimeout is how long a stopping process waits until its events for
// services are published.
const flushTimeout = time.Second

// A clientBus publishes declared client events to services: the port rooms.Bus.
// Safe for concurrent use.
type clientBus struct {
	outlet *rabbitmq.Outlet
	prefix string // of this process's message ids
	count  atomic.Uint64
}

// newBus returns nil without RabbitMQ.
func (g *Gateway) newBus() *clientBus {
	cfg := g.cfg()
	if !cfg.RabbitMQ.Use {
		return nil
	}
	return &clientBus{
		outlet: rabbitmq.NewOutlet(rabbitmq.OutletConfig{
			Addresses: cfg.RabbitMQAddresses(), Exchange: cfg.RabbitMQ.Exchanges[0], Purpose: "events of clients", Required: true, Logger: g.log,
		}),
		prefix: rand.Text()[:12] + ".",
	}
}

// Publish implements rooms.Bus.
func (b *clientBus) Publish(e rooms.Outgoing, done func(error)) bool {
	return b.outlet.Publish(rabbitmq.Message{
		Key: e.Key, ID: b.prefix + strconv.FormatUint(b.count.Add(1), 36), Type: e.Event, Body: e.Body, Published: time.Now(),
	}, done)
}

// busPort returns the bus as a rooms.Bus, nil if there is none.
func (g *Gateway) busPort() rooms.Bus {
	if g.bus == nil {
		return nil
	}
	return g.bus
}

// publishOutgoing publishes events for services. The function that it returns
// waits until RabbitMQ has everything, at most for a second, and then stops.
func (g *Gateway) publishOutgoing() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	outlets := g.outlets()
	for _, o := range outlets {
		running.Go(func() { o.Run(ctx) })
	}
	return func() {
		flush, enough := context.WithTimeout(context.Background(), flushTimeout)
		defer enough()
		for _, o := range outlets {
			if err := o.Flush(flush); err != nil {
				g.log.Warn("events for services are lost", "error", err)
			}
		}
		cancel()
		running.Wait()
	}
}

// outlets returns the outlets of this process, by what they are for.
func (g *Gateway) outlets() map[string]*rabbitmq.Outlet {
	outlets := make(map[string]*rabbitmq.Outlet)
	if g.bus != nil {
		outlets["client_events"] = g.bus.outlet
	}
	if g.presenceOutlet != nil {
		outlets["presence"] = g.presenceOutlet
	}
	return outlets
}

// An outletCollector turns the figures of what is published to services into
// Prometheus metrics. Safe for concurrent use.
type outletCollector struct{ g *Gateway }

var (
	outgoingWaiting = prometheus.NewDesc("gateway_outgoing_events_waiting",
		"Events for services that RabbitMQ has not confirmed yet.", []string{"kind"}, nil)
	outgoingEvents = prometheus.NewDesc("gateway_outgoing_events_total",
		"Events for services, by what became of them: confirmed by RabbitMQ; full: refused, too many waited; no_queue: no queue took them; expired: not published, the client had its answer.",
		[]string{"kind", "result"}, nil)
	presenceRooms = prometheus.NewDesc("gateway_presence_rooms",
		"Rooms, users' own included, whose sockets this node counts in Redis for services.", nil, nil)
	presenceEventsDesc = prometheus.NewDesc("gateway_presence_events_total",
		"Events of presence by what became of them: told is confirmed by RabbitMQ; failed are published again.", []string{"result"}, nil)
	presenceSwept = prometheus.NewDesc("gateway_presence_sessions_removed_total",
		"Sessions of dead nodes whose users and rooms this node has told.", nil, nil)
)

// Describe sends all descriptions.
func (c outletCollector) Describe(out chan<- *prometheus.Desc) {
	out <- outgoingWaiting
	out <- outgoingEvents
	out <- presenceRooms
	out <- presenceEventsDesc
	out <- presenceSwept
}

// Collect sends all values.
func (c outletCollector) Collect(out chan<- prometheus.Metric) {
	for kind, o := range c.g.outlets() {
		s := o.Stats()
		out <- prometheus.MustNewConstMetric(outgoingWaiting, prometheus.GaugeValue, float64(s.Waiting), kind)
		for result, n := range map[string]int64{"confirmed": s.Confirmed, "full": s.Full, "no_queue": s.NoQueue, "expired": s.Expired} {
			out <- prometheus.MustNewConstMetric(outgoingEvents, prometheus.CounterValue, float64(n), kind, result)
		}
	}
	if c.g.presence == nil {
		return
	}
	s := c.g.presence.Stats()
	out <- prometheus.MustNewConstMetric(presenceRooms, prometheus.GaugeValue, float64(s.Rooms))
	out <- prometheus.MustNewConstMetric(presenceEventsDesc, prometheus.CounterValue, float64(s.Told), "told")
	out <- prometheus.MustNewConstMetric(presenceEventsDesc, prometheus.CounterValue, float64(s.Failed), "failed")
	out <- prometheus.MustNewConstMetric(presenceSwept, prometheus.CounterValue, float64(s.Swept))
}
