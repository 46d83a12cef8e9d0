package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const serviceName = "websocket-gateway"

// Values of "status" in /health.
const (
	statusHealthy  = "healthy"
	statusDegraded = "degraded"
	statusDraining = "draining"
)

// States of a neighbour in /health.
const (
	neighbourDisabled     = "disabled"
	neighbourDisconnected = "disconnected"
	neighbourConnected    = "connected"
)

// endpoints answers everything on PORT that is not Socket.IO. It runs off the
// event loops.
func (g *Gateway) endpoints() (http.Handler, error) {
	mux := http.NewServeMux()
	page, err := g.console()
	if err != nil {
		return nil, err
	}
	if page != nil {
		page.Register(mux)
	}
	mux.HandleFunc("GET /health", g.handleHealth)
	mux.HandleFunc("GET /ready", g.handleReady)
	mux.Handle("POST /events/{key}", g.publisher())
	if g.config.Metrics && g.config.AdminAddr == "" {
		mux.Handle("GET /metrics", g.metricsHandler())
	}
	mux.HandleFunc("/", notFound)
	return mux, nil
}

// metricsHandler answers GET /metrics.
func (g *Gateway) metricsHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{g},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if g.cluster != nil {
		registry.MustRegister(&clusterCollector{g.cluster})
	}
	registry.MustRegister(&eventsCollector{g.consumer, g.events})
	registry.MustRegister(recoveryCollector{g})
	if g.bird != nil {
		registry.MustRegister(g.bird)
	}
	if g.gate != nil {
		registry.MustRegister(&gateCollector{g.gate})
	}
	text := promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})
	return withToken(g.config.MetricsToken, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wantsText(r) {
			text.ServeHTTP(w, r)
			return
		}
		g.handleMetrics(w, r)
	}))
}

func notFound(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusNotFound, map[string]string{"error": "Not found", "path": r.URL.Path})
}

// wantsText reports whether a request for /metrics comes from a Prometheus
// server, which says so in Accept.
func wantsText(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "application/openmetrics-text") || strings.HasPrefix(accept, "text/plain")
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // to memory
}

// health is the body of GET /health.
type health struct {
	Status           string   `json:"status"`
	Service          string   `json:"service"`
	Version          string   `json:"version"`
	Redis            string   `json:"redis"`
	EventBus         eventBus `json:"eventBus"`
	ConnectedSockets int64    `json:"connectedSockets"`
}

func (g *Gateway) handleHealth(w http.ResponseWriter, _ *http.Request) {
	body := health{
		Status:           g.status(),
		Service:          serviceName,
		Version:          version(),
		Redis:            g.redis(),
		EventBus:         g.eventBus(),
		ConnectedSockets: g.hub.Stats().Sockets,
	}
	code := http.StatusOK
	if body.Status == statusDraining {
		code = http.StatusServiceUnavailable
	}
	writeJSON(w, code, body)
}

func (g *Gateway) status() string {
	switch {
	case g.server.Draining():
		return statusDraining
	case len(g.absent()) > 0:
		return statusDegraded
	}
	return statusHealthy
}

func (g *Gateway) redis() string {
	switch {
	case g.cluster == nil:
		return neighbourDisabled
	case g.cluster.Connected():
		return neighbourConnected
	}
	return neighbourDisconnected
}

// absent lists the neighbours that should be there and are not.
func (g *Gateway) absent() (reasons []string) {
	switch {
	case g.cluster == nil:
	case !g.cluster.Connected():
		reasons = append(reasons, "redis is not connected")
	case !g.cluster.Ready():
		reasons = append(reasons, "the orders in redis are not read yet")
	}
	if bus := g.eventBus(); g.events.kind != logMemory && !bus.IsConnected {
		reason := g.events.kind + " is not connected since " + bus.Since.Format(time.RFC3339)
		if bus.LastError != "" {
			reason += fmt.Sprintf(": %d attempts, the last: %s", bus.ReconnectAttempts, bus.LastError)
		}
		reasons = append(reasons, reason)
	}
	return reasons
}

// handleReady tells a load balancer whether to send clients here. In
// production they need the neighbours, in development they can do without.
func (g *Gateway) handleReady(w http.ResponseWriter, _ *http.Request) {
	var reasons []string
	if g.server.Draining() {
		reasons = append(reasons, statusDraining)
	}
	if g.config.Environment == production {
		reasons = append(reasons, g.absent()...)
	}
	if len(reasons) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reasons": reasons})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"ready": true})
}

// snapshot is the body of GET /metrics for people and scripts.
type snapshot struct {
	ConnectedSockets int64            `json:"connectedSockets"`
	Rooms            []string         `json:"rooms"` // at most METRICS_ROOMS_LIMIT
	TotalRooms       int              `json:"totalRooms"`
	Connections      int64            `json:"connections"`
	Transports       map[string]int64 `json:"transports"`
	EventsReceived   int64            `json:"eventsReceived"`
	Deliveries       int64            `json:"deliveries"`
	MailboxWaiting   int64            `json:"mailboxWaiting"`
	LoopTurnAge      float64          `json:"loopTurnAge"` // seconds
	Cluster          *clusterFigures  `json:"cluster,omitempty"`
	EventBus         eventBus         `json:"eventBus"`
	Uptime           float64          `json:"uptime"` // seconds
	Timestamp        time.Time        `json:"timestamp"`
}

func (g *Gateway) handleMetrics(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, g.snapshot(g.config.MetricsRoomsLimit))
}

// snapshot returns the figures of now, with the names of some rooms.
func (g *Gateway) snapshot(names int) snapshot {
	s, r := g.server.Stats(), g.hub.Stats()
	now := time.Now()
	body := snapshot{
		ConnectedSockets: r.Sockets,
		Connections:      s.Connections,
		Transports:       map[string]int64{"websocket": s.WebSockets, "polling": s.Sessions - s.WebSockets},
		EventsReceived:   r.EventsIn,
		Deliveries:       r.Deliveries,
		MailboxWaiting:   r.MailboxWaiting,
		LoopTurnAge:      g.server.TurnAge(now).Seconds(),
		Cluster:          g.clusterFigures(),
		EventBus:         g.eventBus(),
		Uptime:           now.Sub(g.started).Seconds(),
		Timestamp:        now.UTC(),
	}
	body.Rooms, body.TotalRooms = g.hub.Names(names)
	if body.Rooms == nil {
		body.Rooms = []string{}
	}
	return body
}
