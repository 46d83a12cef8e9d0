package main

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/publish"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// publisher answers POST /events/{key}.
func (g *Gateway) publisher() http.Handler {
	return &publish.Publisher{
		Table:   g.routes,
		Log:     g.events,
		MaxBody: g.cfg().Events.MaxSize,
		Token:   g.cfg().Events.PublishToken,
		Local:   !g.cfg().Deployed(),
		Reach:   g.reach,
	}
}

// reachWait is how long the answer to a published event may be delayed to find
// out whom it reaches.
const reachWait = time.Second

// reach finds out whom an event for these rooms reaches.
func (g *Gateway) reach(ctx context.Context, names []string) publish.Reach {
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	sockets, _ := g.hub.Reach(ctx, names) // too late: those that have been counted
	elsewhere, known := false, true
	if g.cluster != nil {
		elsewhere, known = g.cluster.HeldElsewhere(ctx, names)
	}
	if !known {
		return publish.Reach{Sockets: sockets}
	}
	return publish.Reach{Sockets: sockets, Elsewhere: &elsewhere}
}

// newConsumer returns the consumer that delivers the events of the log to the
// rooms.
func (g *Gateway) newConsumer() (*upstream.Consumer, error) {
	c := upstream.Config{
		Log:     g.events,
		Window:  g.cfg().RabbitMQ.Prefetch,
		MaxBody: g.cfg().Events.MaxSize,
		Table:   g.routes,
		Rooms:   g.eventRooms(),
		Missed:  func() { g.server.Renew() },
		Tail:    g.cfg().TailBytes(),
		Logger:  g.log,
	}
	if g.cluster != nil {
		c.Keep = g.cluster.Keep
		c.Orders = g.cluster.ReadOrders
	}
	if g.joined() {
		c.Tell = func(o rooms.Order, at eventlog.Position) {
			if o.User != "" { // Node servers do not know sockets by their tokens
				g.fleet.DisconnectUser(o.User, at.String())
			}
		}
	}
	return upstream.New(c)
}

// newSorter returns the sorter that writes dead letters, nil without RabbitMQ.
func (g *Gateway) newSorter() (*upstream.Sorter, error) {
	if g.events.stream == nil {
		return nil, nil
	}
	c := upstream.Config{
		Log: g.events.lasting, Window: g.cfg().RabbitMQ.Prefetch, MaxBody: g.cfg().Events.MaxSize, Table: g.routes, Logger: g.log,
	}
	g.events.letters = rabbitmq.NewLetters(streamConfig(g.cfg(), g.routes, g.log))
	return upstream.NewSorter(c, g.events.letters, g.events.stream.MoveQueues)
}

// consume reads the log until ctx is cancelled. ended is closed when reading
// has stopped.
func (g *Gateway) consume(ctx context.Context) (ended <-chan struct{}) {
	var all sync.WaitGroup
	all.Go(func() { g.consumer.Run(ctx) })
	if g.sorter != nil {
		all.Go(func() { g.sorter.Run(ctx) })
	}
	all.Go(func() { g.events.maintain(ctx) })
	done := make(chan struct{})
	go func() { all.Wait(); g.events.close(); close(done) }()
	return done
}

// logWait is how long the first attempt to open the log may delay listening.
const logWait = 3 * time.Second

// awaitLog waits until the log is being read, or cannot be opened. Clients
// cannot join rooms before: events published before reading begins would not
// reach them.
func (g *Gateway) awaitLog() (begun bool) {
	select {
	case <-g.consumer.Tried():
	case <-time.After(logWait):
	}
	select {
	case <-g.consumer.Begun():
		return true
	default:
		return false
	}
}

// renewWhenBegun makes clients reconnect that connected before the log was
// being read.
func (g *Gateway) renewWhenBegun(ctx context.Context) {
	select {
	case <-g.consumer.Begun():
		if g.server.Stats().Sessions > 0 {
			g.log.Warn("reading of the event log has begun; clients that connected earlier may have missed events and are told to reconnect")
			g.server.Renew()
		}
	case <-ctx.Done():
	}
}

// eventBus is a part of GET /health and GET /metrics.
type eventBus struct {
	IsConnected       bool       `json:"isConnected"`
	ReconnectAttempts *int       `json:"reconnectAttempts,omitempty"`
	Host              *string    `json:"host,omitempty"`
	Port              *int       `json:"port,omitempty"`
	Since             *time.Time `json:"since,omitempty"`       // connected or not
	LastError         string     `json:"lastError,omitempty"`   // while not connected
	Foreign           []string   `json:"foreign,omitempty"`     // queues and exchanges used as they were found
	Log               string     `json:"log,omitempty"`         // where events are kept: rabbitmq, redis or memory
	DeadLetters       string     `json:"deadLetters,omitempty"` // why they cannot be put aside now
	Position          string     `json:"position,omitempty"`    // of the event that was delivered last; 0: none
}

// state returns the part that needs no permission.
func (b eventBus) state() eventBus { return eventBus{IsConnected: b.IsConnected} }

func (g *Gateway) eventBus() eventBus {
	s := g.consumer.Status()
	since := s.Since.UTC()
	host, port, attempts := g.cfg().RabbitMQ.Host, g.cfg().RabbitMQ.Port, s.Attempts
	bus := eventBus{
		IsConnected: s.Connected, ReconnectAttempts: &attempts, Host: &host, Port: &port,
		Since: &since, Foreign: s.Foreign, Log: g.events.where(), Position: g.consumer.Totals().Position.String(),
	}
	if g.sorter != nil && g.sorter.Trouble() != nil {
		bus.DeadLetters = g.sorter.Trouble().Error()
	}
	if name, text, err := net.SplitHostPort(s.Host); err == nil {
		host = name
		port, _ = strconv.Atoi(text)
	}
	if err := g.events.missing(); err != nil {
		bus.IsConnected, bus.LastError = false, err.Error()
	} else if !s.Connected {
		bus.LastError = s.LastError
	}
	return bus
}

// An eventsCollector turns the figures of the log into Prometheus metrics. Safe
// for concurrent use.
type eventsCollector struct {
	consumer *upstream.Consumer
	sorter   *upstream.Sorter
	log      *eventLog
}

var (
	logConnected = prometheus.NewDesc("gateway_event_log_connected", "1 while the log of service events is being read.", []string{"log"}, nil)
	logAttempts  = prometheus.NewDesc("gateway_event_log_attempts", "Failed attempts to read the log since the last entry.", nil, nil)
	logSince     = prometheus.NewDesc("gateway_event_log_since_seconds", "Unix time of the last change of gateway_event_log_connected.", nil, nil)
	logConnects  = prometheus.NewDesc("gateway_event_log_connections_total", "Times this node began to read the log.", nil, nil)
	logPosition  = prometheus.NewDesc("gateway_event_log_position", "Position in the log up to which this node has delivered everything.", nil, nil)
	logKept      = prometheus.NewDesc("gateway_event_log_kept_bytes", "Bytes of the log that this process keeps in its memory.", nil, nil)
	logGaps      = prometheus.NewDesc("gateway_event_log_gaps_total",
		"Times that events were removed from the log before this node had read them.", nil, nil)
	logMissed  = prometheus.NewDesc("gateway_event_log_missed_total", "Events removed from the log before this node had read them.", nil, nil)
	logChanges = prometheus.NewDesc("gateway_event_log_changes_total", "Times that the log had been created anew.", nil, nil)
	busEvents  = prometheus.NewDesc("gateway_service_events_total",
		"Entries of the log, by what became of them.", []string{"what"}, nil)
	deadLettersStuck = prometheus.NewDesc("gateway_dead_letters_stuck", "1 while this node cannot write a dead letter.", nil, nil)
	busLag           = prometheus.NewDesc("gateway_service_event_lag_seconds",
		"Age of the last event read, from the timestamp property of its publisher, in whole seconds.", nil, nil)
	busPoison = prometheus.NewDesc("gateway_service_events_poison_total",
		"Entries of the log that cannot be delivered, by reason.", []string{"reason"}, nil)
)

// Describe sends all descriptions.
func (c *eventsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{logConnected, logAttempts, logSince, logConnects, logPosition, logKept, logGaps,
		logMissed, logChanges, busEvents, deadLettersStuck, busLag, busPoison} {
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
	gauge(logConnected, float64(flag(s.Connected && c.log.missing() == nil)), c.log.where())
	gauge(logAttempts, float64(s.Attempts))
	gauge(logSince, float64(s.Since.UnixMilli())/1e3)
	counter(logConnects, int64(s.Connections))
	gauge(logPosition, float64(t.Position))
	gauge(logKept, float64(c.log.kept()))
	counter(logGaps, t.Gaps)
	counter(logMissed, t.Missed)
	counter(logChanges, t.Logs)
	for what, n := range map[string]int64{
		"received": t.Received, "delivered": t.Delivered, "elsewhere": t.Elsewhere, "mark": t.Marks, "duplicate": t.Duplicates,
		"bad_timestamp": t.BadTimestamps,
	} {
		counter(busEvents, n, what)
	}
	if c.sorter != nil {
		counter(busEvents, c.sorter.PutAside(), "dead_letter")
		gauge(deadLettersStuck, float64(flag(c.sorter.Trouble() != nil)))
	}
	gauge(busLag, t.Lag.Seconds())
	for reason, n := range t.Poison {
		counter(busPoison, n, reason)
	}
}
