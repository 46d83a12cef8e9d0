package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/authz"
	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/handover"
	"github.com/hometrip/gateway/loop"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/adapter"
	"github.com/hometrip/gateway/rooms/cluster"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/rabbitmq"
	"github.com/hometrip/gateway/upstream/routes"
)

// verifiersShare is the number of event loops for which one token is verified
// at a time, if verifying a token takes much CPU.
const verifiersShare = 2

// A Gateway is one node: the rooms, the servers for clients and operators, the
// reader of the services' events, and the connections to Redis and RabbitMQ. Its
// fields are set by open and not changed afterwards, except where noted.
type Gateway struct {
	config   atomic.Pointer[config.Config] // settings in effect; replaced by the reloader
	log      *slog.Logger
	started  time.Time
	memory   int64 // bytes the process may use
	verifier *auth.Verifier
	gate     *authz.Gate       // nil with ROOM_POLICY=open
	cluster  *cluster.Cluster  // nil without Redis
	fleet    *adapter.Adapter  // nil without servers on Node
	comparer *adapter.Comparer // nil unless deliveries are compared with those of the servers on Node
	hub      *rooms.Hub
	routes   *routes.Table
	events   *eventLog
	consumer *upstream.Consumer
	bus      *clientBus // nil without RabbitMQ

	presence       *cluster.Presence // nil without PRESENCE_EVENTS
	presenceOutlet *rabbitmq.Outlet  // nil as presence

	sorter *upstream.Sorter // nil: events that cannot be delivered are only logged
	server *loop.Server
	public swappableHandler // answers on PORT
	admin  swappableHandler // answers on ADMIN_ADDR
	canary *canaryClient    // nil without CANARY

	collector   *pacer
	count       counts
	report      *report        // progress of a hand-over for "gateway handover"; nil: none
	succeeds    bool           // it takes over from a running process
	takes       *cluster.Place // that process's number and session in the cluster; nil: new ones
	watchdog    time.Duration  // time limit of the service manager, from the predecessor; 0: none
	handovers   handoverCounters
	stopReading context.CancelFunc // ends reading of the log
	reading     <-chan struct{}    // closed when the log is not read any more
}

// serve runs the gateway until ctx is cancelled and it has drained, or another
// process has taken its place. If a process runs that can be taken over, it
// takes it over.
func serve(ctx context.Context, start launch) error {
	path := start.Shutdown.HandoverSocket
	if path == "" {
		return serveNew(ctx, start)
	}
	if err := handover.CheckFolder(path); err != nil {
		return err
	}
	wire, err := handover.Dial(path)
	switch {
	case err == nil:
		return succeed(ctx, start, wire)
	case handover.Nobody(err) && start.report == nil:
		return serveNew(ctx, start)
	case handover.Nobody(err):
		return fmt.Errorf("no process listens at HANDOVER_SOCKET=%s: is a gateway running, with that setting?", path)
	}
	return fmt.Errorf("HANDOVER_SOCKET=%q: %w", path, err)
}

// serveNew is serve if there is no process to take over.
func serveNew(ctx context.Context, start launch) error {
	if err := checkPorts(start.Config); err != nil {
		return err
	}
	r := newReloader(start)
	defer r.close()
	g, err := open(start.Config, start.book.Logger)
	if err != nil {
		return err
	}
	g.report = start.report
	defer g.verifier.Close()
	stop, err := g.serveAdmin()
	if err != nil {
		return err
	}
	defer stop()
	return r.during(ctx, g, g.run)
}

// open creates a gateway, rooms first. Nothing listens or connects yet.
func open(cfg config.Config, log *slog.Logger) (*Gateway, error) {
	return new(Gateway).open(cfg, log)
}

func (g *Gateway) open(cfg config.Config, log *slog.Logger) (*Gateway, error) {
	g.log, g.started = log, time.Now()
	g.swap(cfg)
	g.collector = paceCollector()
	g.memory = limitMemory(log)
	loops := eventLoops(cfg)
	var err error
	err = verification(cfg, func(c auth.Config) error {
		c.Log, c.Workers = log, loops/verifiersShare
		g.verifier, err = auth.New(c)
		return err
	})
	if err != nil {
		return nil, err
	}
	g.setProcessors(loops)
	if g.cluster, err = g.openCluster(); err != nil {
		return nil, err
	}
	if err := cfg.CheckFiles(); err != nil {
		return nil, err
	}
	if g.routes, err = loadRoutes(cfg); err != nil {
		return nil, err
	}
	if g.fleet, err = g.nodeFleet(); err != nil {
		return nil, err
	}
	if g.gate, err = newAuthorizer(cfg, log); err != nil {
		return nil, err
	}
	g.bus = g.newBus()
	g.openPresence()
	if err := g.openRooms(loops); err != nil {
		return nil, err
	}
	if g.events, err = g.openEventLog(); err != nil {
		return nil, err
	}
	if g.sorter, err = g.newSorter(); err != nil {
		return nil, err
	}
	if g.consumer, err = g.newConsumer(); err != nil {
		return nil, err
	}
	g.canary = g.newCanary()
	g.count.registry = g.metrics()
	g.server, err = g.newServer()
	return g, err
}

// openRooms creates the hub with the client events of the route table.
func (g *Gateway) openRooms(loops int) (err error) {
	cfg := g.cfg()
	g.hub, err = rooms.New(rooms.Config{
		Shards:         loops,
		Auth:           g.verifier,
		Authorizer:     g.authorizer(),
		Revoker:        g.verifier,
		AllowAnonymous: cfg.Auth.AllowAnonymous,
		ConnectTimeout: cfg.Connections.ConnectTimeout,
		MaxPacket:      cfg.Limits.HTTPBufferSize,
		MaxMailbox:     cfg.Limits.Mailbox,
		Limits:         g.limits(),
		Handlers:       rooms.ClientEvents(),
		Cluster:        g.clusterPort(),
		Bus:            g.busPort(),
		Presence:       g.presencePort(),
		Recovery:       g.recovery(),
		Outside:        g.outside(),
		SocketRooms:    g.joined(),
	})
	if err != nil {
		return err
	}
	return g.hub.SetClientEvents(g.routes.ClientEvents())
}

// setProcessors sets GOMAXPROCS: one processor for each event loop, one for all
// other goroutines, and one that is always idle. While none is idle, the
// runtime takes the processor from a loop that waits in epoll after 20 us, and
// checks every 20 us whether it may: at 4,000 chat events a second that was a
// third of the CPU (70 us an event against 52), and half of the latency.
// Goroutines that verify expensive tokens get additional processors.
func (g *Gateway) setProcessors(loops int) {
	if os.Getenv("GOMAXPROCS") != "" {
		return
	}
	busy := 1
	if verifiers, dear := g.verifier.Dear(); dear {
		busy += verifiers
	}
	runtime.GOMAXPROCS(loops + 1 + busy)
}

// eventLoops returns the number of event loops to start. It must be called
// before setProcessors changes GOMAXPROCS.
func eventLoops(c config.Config) int {
	if c.Connections.EventLoops > 0 {
		return c.Connections.EventLoops
	}
	return min(runtime.GOMAXPROCS(0), rooms.MaxShards)
}
