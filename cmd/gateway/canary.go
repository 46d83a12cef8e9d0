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
	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// canaryKey is the key of the canary's events: that of an ordinary event.
const canaryKey = "notification.created"

// A canaryClient is the canary with its metrics and its connection to RabbitMQ.
// Owned by the goroutine of run; its metrics may be read by any goroutine.
type canaryClient struct {
	*canary.Canary
	latency prometheus.Histogram
	sender  *rabbitmq.Sender // nil: test events are appended to the log directly
}

// newCanary returns the canary, or nil without CANARY=true.
func (g *Gateway) newCanary() *canaryClient {
	cfg := g.cfg()
	if !cfg.Canary.Enabled {
		return nil
	}
	b := &canaryClient{latency: newCanaryLatency()}
	publish := func(ctx context.Context, body []byte) error { return g.events.append(ctx, canaryKey, body) }
	if g.events.kind == config.LogRabbitMQ {
		b.sender = rabbitmq.NewSender(cfg.RabbitMQAddresses(), cfg.RabbitMQ.Exchanges[0])
		publish = func(ctx context.Context, body []byte) error { return b.sender.Send(ctx, canaryKey, body, "") }
	}
	user := "canary-" + rand.Text()[:12]
	b.Canary = canary.New(canary.Config{
		URL:      g.ownURL,
		User:     user,
		Token:    func() (string, error) { return canaryToken(g.cfg(), user) },
		Publish:  publish,
		Observe:  func(d time.Duration) { b.latency.Observe(d.Seconds()) },
		Interval: cfg.Canary.Interval,
		Log:      g.log,
	})
	return b
}

func newCanaryLatency() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "gateway_canary_latency_seconds",
		Help:    "Time from publishing a test event to its arrival at a socket of this node.",
		Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
	})
}

// ownURL returns the URL of the gateway for programs on this machine.
func (g *Gateway) ownURL() string {
	_, port, _ := net.SplitHostPort(g.server.Addr())
	return "http://" + net.JoinHostPort(ownHost(g.cfg().Server.Host), port)
}

// canaryToken returns a token for the canary.
func canaryToken(c config.Config, user string) (string, error) {
	if c.Auth.Secret == "" {
		return "", errors.New("CANARY=true wants JWT_SECRET: with another key the gateway cannot make a token")
	}
	return mint(c, auth.Grant{UserID: user, TTL: time.Hour}, time.Now())
}

// run sends test events until ctx is done.
func (b *canaryClient) run(ctx context.Context) {
	b.Run(ctx)
	if b.sender != nil {
		b.sender.Close()
	}
}

var (
	canaryConnected = prometheus.NewDesc("gateway_canary_connected", "1 while the canary's client is connected to this node.", nil, nil)
	canaryEvents    = prometheus.NewDesc("gateway_canary_events_total",
		"Test events: published, arrived, lost (not arrived after 10 s), failed (not connected, or not accepted by RabbitMQ).", []string{"what"}, nil)
)

// Describe implements prometheus.Collector.
func (b *canaryClient) Describe(ch chan<- *prometheus.Desc) {
	b.latency.Describe(ch)
	ch <- canaryConnected
	ch <- canaryEvents
}

// Collect implements prometheus.Collector.
func (b *canaryClient) Collect(ch chan<- prometheus.Metric) {
	b.latency.Collect(ch)
	s := b.Stats()
	ch <- prometheus.MustNewConstMetric(canaryConnected, prometheus.GaugeValue, float64(flag(s.Connected)))
	for what, n := range map[string]int64{"published": s.Published, "arrived": s.Arrived, "lost": s.Lost, "failed": s.Failed} {
		ch <- prometheus.MustNewConstMetric(canaryEvents, prometheus.CounterValue, float64(n), what)
	}
}
