package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/canary"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream"
)

// canaryKey is what the canary publishes: an event like any other.
const canaryKey = "notification.created"

// A bird is the canary with what it needs.
type bird struct {
	*canary.Canary
	latency prometheus.Histogram
	sender  *upstream.Sender // nil without RabbitMQ
}

// newBird returns the canary, nil without.
func (g *Gateway) newBird() *bird {
	cfg := g.cfg()
	if !cfg.Canary {
		return nil
	}
	b := &bird{latency: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "gateway_canary_latency_seconds",
		Help:    "From publishing the canary's event to its arrival at a socket of this node.",
		Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
	})}
	publish := g.deliverCanary
	if cfg.UseRabbitMQ {
		b.sender = upstream.NewSender(cfg.rabbitMQ(), cfg.RabbitMQExchanges[0])
		publish = func(ctx context.Context, body []byte) error { return b.sender.Send(ctx, canaryKey, body, "") }
	}
	user := "canary-" + rand.Text()[:12]
	b.Canary = canary.New(canary.Config{
		URL:      g.ownURL,
		User:     user,
		Token:    func() (string, error) { return g.cfg().canaryToken(user) },
		Publish:  publish,
		Observe:  func(d time.Duration) { b.latency.Observe(d.Seconds()) },
		Interval: cfg.CanaryInterval,
		Log:      g.log,
	})
	return b
}

// ownURL is where this machine reaches the gateway.
func (g *Gateway) ownURL() string {
	_, port, _ := net.SplitHostPort(g.server.Addr())
	return "http://" + net.JoinHostPort(ownHost(g.cfg().Host), port)
}

// canaryToken returns a token for the canary.
func (c Config) canaryToken(user string) (string, error) {
	if c.JWTSecret == "" {
		return "", errors.New("CANARY=true wants JWT_SECRET: with another key the gateway cannot make a token")
	}
	return mint(c, auth.Grant{UserID: user, TTL: time.Hour}, time.Now())
}

// deliverCanary is the canary's way without RabbitMQ.
func (g *Gateway) deliverCanary(ctx context.Context, body []byte) error {
	event, err := upstream.NewEncoder(g.routes, g.cfg().MaxEventSize).Encode(canaryKey, body, time.Now())
	if err != nil {
		return err
	}
	for _, room := range event.Rooms {
		if _, err := g.everybody().Deliver(ctx, rooms.Broadcast{Room: room, Message: event.Message}); err != nil {
			return err
		}
	}
	return nil
}

// run flies until ctx is over.
func (b *bird) run(ctx context.Context) {
	b.Run(ctx)
	if b.sender != nil {
		b.sender.Close()
	}
}

var (
	canaryConnected = prometheus.NewDesc("gateway_canary_connected", "Whether the canary is connected to this node.", nil, nil)
	canaryEvents    = prometheus.NewDesc("gateway_canary_events_total",
		"Events of the canary: published, arrived, lost (not there after 10 s), failed (not connected, or not taken by RabbitMQ).", []string{"what"}, nil)
)

// Describe implements prometheus.Collector.
func (b *bird) Describe(ch chan<- *prometheus.Desc) {
	b.latency.Describe(ch)
	ch <- canaryConnected
	ch <- canaryEvents
}

// Collect implements prometheus.Collector.
func (b *bird) Collect(ch chan<- prometheus.Metric) {
	b.latency.Collect(ch)
	s := b.Stats()
	ch <- prometheus.MustNewConstMetric(canaryConnected, prometheus.GaugeValue, float64(flag(s.Connected)))
	for what, n := range map[string]int64{"published": s.Published, "arrived": s.Arrived, "lost": s.Lost, "failed": s.Failed} {
		ch <- prometheus.MustNewConstMetric(canaryEvents, prometheus.CounterValue, float64(n), what)
	}
}
