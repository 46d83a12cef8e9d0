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

	"github.com/hometrip/gateway/internal/bearer"
	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/console"
)

const serviceName = "websocket-gateway"

// Values of "status" in /health.
const (
	statusHealthy  = "healthy"
	statusDegraded = "degraded"
	statusDraining = "draining"
)

// States of a dependency in /health.
const (
	dependencyDisabled     = "disabled"
	dependencyDisconnected = "disconnected"
	dependencyConnected    = "connected"
)

// endpoints returns the handler of everything on PORT that is not Socket.IO. It
// runs outside of the event loops.
func (g *Gateway) endpoints() (http.Handler, error) {
	mux := http.NewServeMux()
	page, err := g.console()
	if err != nil {
		return nil, err
	}
	if page != nil {
		page.Register(mux)
	}
	console.RegisterClient(mux)
	mux.HandleFunc("OPTIONS /{$}", g.handleOptions)
	mux.HandleFunc("GET /health", g.handleHealth(g.mayHaveDetails))
	mux.HandleFunc("GET /ready", g.handleReady(g.mayHaveDetails))
	mux.Handle("POST /events/{key}", g.publisher())
	g.registerUsers(mux)
	if g.cfg().Metrics.Enabled && g.cfg().Server.AdminAddr == "" {
		mux.Handle("GET /metrics", withToken(g.cfg().Metrics.Token, g.metricsHandler(g.mayHaveDetails)))
	}
	mux.HandleFunc("/", notFound)
	return mux, nil
}

// mayHaveDetails reports whether the answer to a request on PORT may have
// details: addresses, figures, errors. In production the request needs
// METRICS_TOKEN.
func (g *Gateway) mayHaveDetails(r *http.Request) bool {
	return !g.cfg().Deployed() || bearer.New(g.cfg().Metrics.Token).Has(bearerToken(r))
}

// metricsHandler answers GET /metrics; details says which requests may see
// addresses and errors.
func (g *Gateway) metricsHandler(details func(*http.Request) bool) http.Handler {
	text := promhttp.HandlerFor(&g.count, promhttp.HandlerOpts{DisableCompression: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wantsText(r) {
			text.ServeHTTP(w, r)
			return
		}
		body := g.snapshot(g.cfg().Metrics.RoomsLimit)
		if !details(r) {
			body.EventBus = body.EventBus.state()
		}
		writeJSON(w, http.StatusOK, body)
	})
}

// metrics returns all metrics of this process.
func (g *Gateway) metrics() prometheus.Gatherer {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{g},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if g.cluster != nil {
		registry.MustRegister(&clusterCollector{g.cluster})
	}
	if g.fleet != nil {
		registry.MustRegister(&adapterCollector{g.fleet, g.comparer})
	}
	registry.MustRegister(&eventsCollector{g.consumer, g.sorter, g.events})
	registry.MustRegister(recoveryCollector{g})
	registry.MustRegister(outletCollector{g})
	if g.canary != nil {
		registry.MustRegister(g.canary)
	}
	if g.gate != nil {
		registry.MustRegister(&gateCollector{g.gate})
	}
	return registry
}

func notFound(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusNotFound, map[string]string{"error": "Not found", "path": r.URL.Path})
}

// wantsText reports whether a request for /metrics comes from a Prometheus
// server, by its Accept header.
func wantsText(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "application/openmetrics-text") || strings.HasPrefix(accept, "text/plain")
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // to memory
}

// health is the body of GET /health. Without permission for details, only the
// first fields are sent.
type health struct {
	Status           string   `json:"status"`
	Service          string   `json:"service"`
	Redis            string   `json:"redis"`
	EventBus         eventBus `json:"eventBus"`
	Version          string   `json:"version,omitempty"`
	ConnectedSockets *int64   `json:"connectedSockets,omitempty"`
}

// handleHealth answers GET /health; details says which requests may see
// details.
func (g *Gateway) handleHealth(details func(*http.Request) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body := health{Status: g.status(), Service: serviceName, Redis: g.redis(), EventBus: g.eventBus()}
		if details(r) {
			sockets := g.hub.Stats().Sockets
			body.Version, body.ConnectedSockets = version(), &sockets
		} else {
			body.EventBus = body.EventBus.state()
		}
		code := http.StatusOK
		if body.Status == statusDraining {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, body)
	}
}

func (g *Gateway) status() string {
	switch {
	case g.server.Draining():
		return statusDraining
	case len(g.missingDependencies(false)) > 0:
		return statusDegraded
	}
	return statusHealthy
}

func (g *Gateway) redis() string {
	switch {
	case g.cluster == nil:
		return dependencyDisabled
	case g.cluster.Connected():
		return dependencyConnected
	}
	return dependencyDisconnected
}

// missingDependencies returns why the node is degraded: one line for each
// required dependency that it cannot use. With details, the lines have errors.
func (g *Gateway) missingDependencies(details bool) (reasons []string) {
	switch {
	case g.cluster == nil:
	case !g.cluster.Connected():
		reasons = append(reasons, "redis is not connected")
	case !g.cluster.Ready():
		reasons = append(reasons, "the orders in redis are not read yet")
	}
	if bus := g.eventBus(); g.events.kind != config.LogMemory && !bus.IsConnected {
		reason := g.events.kind + " is not connected"
		if g.events.where() == config.LogRedis { // it is another connection than the cluster's
			reason = "the log in redis is not read"
		}
		if details {
			reason += " since " + bus.Since.Format(time.RFC3339)
		}
		if details && bus.LastError != "" {
			reason += fmt.Sprintf(": %d attempts, the last: %s", *bus.ReconnectAttempts, bus.LastError)
		}
		reasons = append(reasons, reason)
	}
	if f := g.events.forward; f != nil && f.Trouble() != nil {
		reasons = append(reasons, "events of rabbitmq are not forwarded to the log in redis")
	}
	return reasons
}

// handleReady answers GET /ready, which says whether a load balancer should
// send clients here. In production the node must be connected to Redis and
// RabbitMQ, in development it need not be.
func (g *Gateway) handleReady(details func(*http.Request) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var reasons []string
		if g.server.Draining() {
			reasons = append(reasons, statusDraining)
		}
		if g.cfg().Server.Environment == config.Production {
			reasons = append(reasons, g.missingDependencies(details(r))...)
		}
		if len(reasons) > 0 {
			writeJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "reasons": reasons})
			return
		}
		body := map[string]any{"ready": true}
		if trouble := g.eventBus().DeadLetters; trouble != "" {
			warning := "dead letters cannot be written"
			if details(r) {
				warning += ": " + trouble
			}
			body["warnings"] = []string{warning}
		}
		writeJSON(w, http.StatusOK, body)
	}
}

// handleOptions answers the health check that HAProxy makes by default.
func (g *Gateway) handleOptions(w http.ResponseWriter, _ *http.Request) {
	if g.server.Draining() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// snapshot is the body of GET /metrics in JSON.
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

// snapshot returns the current figures, with the names of some rooms.
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
