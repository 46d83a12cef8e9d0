package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/authz"
	"github.com/hometrip/gateway/internal/bearer"
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

const (
	// descriptorReserve is what MAX_CONNECTIONS leaves of RLIMIT_NOFILE: for
	// log files, Redis, RabbitMQ, and connections on their way between loops.
	descriptorReserve = 512

	// verifiersShare: one token is verified at a time for so many event loops,
	// where that costs much.
	verifiersShare = 2

	// stopTimeout is what is kept of SHUTDOWN_TIMEOUT for stopping the engine
	// once the sessions have been drained.
	stopTimeout = 2 * time.Second
)

// A Gateway is the whole house: the rooms, the front door and what they need.
type Gateway struct {
	config   atomic.Pointer[config.Config] // in effect
	log      *slog.Logger
	started  time.Time
	memory   int64 // bytes the process may use
	verifier *auth.Verifier
	gate     *authz.Gate       // nil when everybody may be in every room
	cluster  *cluster.Cluster  // nil without Redis
	fleet    *adapter.Adapter  // nil without servers on Node
	comparer *adapter.Comparer // nil unless deliveries are compared with theirs
	hub      *rooms.Hub
	routes   *routes.Table
	events   *eventLog
	consumer *upstream.Consumer
	bus      *clientBus // nil without RabbitMQ

	presence       *cluster.Presence // nil: services are not told who is there
	presenceOutlet *rabbitmq.Outlet  // the same

	sorter *upstream.Sorter // nil: what cannot be delivered is only logged
	server *loop.Server
	public swapped // answers on PORT
	admin  swapped // answers on ADMIN_ADDR
	bird   *bird   // nil without CANARY

	count       counts
	report      *report        // nil: nobody wants to know
	succeeds    bool           // it takes the place of a process that runs
	takes       *cluster.Place // and its place among the nodes; nil: another one
	watchdog    time.Duration  // of the service manager, as a predecessor tells it; 0: none
	handovers   handoverCounters
	stopReading context.CancelFunc // of the log
	reading     <-chan struct{}    // closed when it is not read any more
}

// serve runs the gateway until ctx is cancelled and it has drained, or another
// process has taken its place. If one runs that can be taken over from, it is.
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
		return fmt.Errorf("nobody listens at HANDOVER_SOCKET=%s: is a gateway running, with that setting?", path)
	}
	return fmt.Errorf("HANDOVER_SOCKET=%q: %w", path, err)
}

// serveNew is serve where nobody is to be taken over from.
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

// during has r reload g's settings while serve runs.
func (r *reloader) during(ctx context.Context, g *Gateway, serve func(context.Context) error) error {
	r.g = g
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	reloading, enough := context.WithCancel(context.Background())
	defer enough()
	go r.run(reloading, hangUp)
	return serve(ctx)
}

// open builds the house from the inside out. Nothing listens yet.
func open(cfg config.Config, log *slog.Logger) (*Gateway, error) {
	return new(Gateway).open(cfg, log)
}

func (g *Gateway) open(cfg config.Config, log *slog.Logger) (*Gateway, error) {
	g.log, g.started = log, time.Now()
	g.swap(cfg)
	paceCollector()
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
	if os.Getenv("GOMAXPROCS") == "" {
		// One for whatever is not a loop, and one that is idle even then. While
		// none is, the runtime takes the processor from a loop that waits in
		// epoll after 20 us, and looks every 20 us whether it may: at 4,000
		// chat events a second that was a third of the CPU (70 us an event
		// against 52), and half of the latency.
		// Tokens that cost much are verified beside these.
		busy := 1
		if verifiers, dear := g.verifier.Dear(); dear {
			busy += verifiers
		}
		runtime.GOMAXPROCS(loops + 1 + busy)
	}
	if g.cluster, err = g.neighbours(); err != nil {
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
		Cluster:        g.port(),
		Bus:            g.busPort(),
		Presence:       g.presencePort(),
		Recovery:       g.recovery(),
		Outside:        g.outside(),
		SocketRooms:    g.joined(),
	})
	if err != nil {
		return nil, err
	}
	if err := g.hub.SetClientEvents(g.routes.ClientEvents()); err != nil {
		return nil, err
	}
	if g.events, err = g.openEventLog(); err != nil {
		return nil, err
	}
	if g.sorter, err = g.newSorter(); err != nil {
		return nil, err
	}
	if g.consumer, err = g.backDoor(); err != nil {
		return nil, err
	}
	g.bird = g.newBird()
	g.count.registry = g.metrics()
	g.server, err = g.frontDoor()
	return g, err
}

// eventLoops returns how many event loops there are to be. It is asked before open has
// changed GOMAXPROCS.
func eventLoops(c config.Config) int {
	if c.Connections.EventLoops > 0 {
		return c.Connections.EventLoops
	}
	return min(runtime.GOMAXPROCS(0), rooms.MaxShards)
}

func (g *Gateway) frontDoor() (*loop.Server, error) {
	connections, err := maxConnections(g.cfg().Limits.Connections)
	if err != nil {
		return nil, err
	}
	public, admin, err := g.handlers()
	if err != nil {
		return nil, err
	}
	g.public.set(public)
	g.admin.set(admin)
	return loop.New(g.doorConfig(connections))
}

// doorConfig returns how the front door behaves with the settings in effect.
func (g *Gateway) doorConfig(connections int) loop.Config {
	cfg, loops := g.cfg(), g.hub.Shards()
	return loop.Config{
		Address:              net.JoinHostPort(cfg.Server.Host, strconv.Itoa(cfg.Server.Port)),
		Loops:                loops,
		Hub:                  g.hub,
		Handler:              &g.public,
		Prepared:             []string{"/health", "/ready"},
		Authorised:           bearer.New(cfg.Metrics.Token, cfg.Events.PublishToken).Has,
		Log:                  g.log,
		PingInterval:         cfg.Connections.PingInterval,
		PingTimeout:          cfg.Connections.PingTimeout,
		HeadTimeout:          cfg.Connections.HeadTimeout,
		KeepAlive:            cfg.Connections.KeepAliveTimeout,
		DrainPeriod:          cfg.Shutdown.DrainPeriod,
		MaxHead:              cfg.Limits.HeadSize,
		MaxPayload:           cfg.Limits.HTTPBufferSize,
		MaxPending:           cfg.Limits.PendingBytes,
		MaxReplay:            cfg.Recovery.MaxBytes,
		MaxConnections:       connections,
		MaxPerAddress:        cfg.Limits.PerIP,
		MaxOwed:              g.maxOwed(),
		Handshakes:           cfg.HandshakeRate(loops),
		HandshakesPerAddress: cfg.AddressHandshakeRate(),
		Bytes:                cfg.ByteRate(),
		TrustedProxies:       cfg.Connections.TrustedProxies,
		ProxyProtocol:        cfg.Connections.ProxyProtocol,
		Origins:              loop.NewOrigins(cfg.Server.CORSOrigins...),
		LocalPages:           cfg.Server.Environment == config.Development,
		SharePort:            cfg.Server.SharePort,
		Successor:            g.succeeds,
	}
}

// maxConnections checks the setting against the descriptors the process may
// have, or derives it from them.
func maxConnections(setting int) (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read RLIMIT_NOFILE: %w", err)
	}
	room := int(min(limit.Cur, 1<<30)) - descriptorReserve
	switch {
	case room <= 0:
		return 0, config.Error{Err: fmt.Errorf("RLIMIT_NOFILE is %d: raise it (LimitNOFILE, ulimit -n) above %d", limit.Cur, descriptorReserve)}
	case setting > room:
		return 0, config.Error{Err: fmt.Errorf("MAX_CONNECTIONS=%d: RLIMIT_NOFILE is %d and %d are kept in reserve, so at most %d",
			setting, limit.Cur, descriptorReserve, room)}
	case setting > 0:
		return setting, nil
	}
	return room, nil
}

// run serves until ctx is cancelled, then drains and stops.
func (g *Gateway) run(ctx context.Context) error {
	g.read(ctx)
	begun := g.awaitLog()
	ended, err := g.listen()
	if err != nil {
		g.stopReading()
		return err
	}
	if !begun {
		go g.renewWhenBegun(ctx)
	}
	return g.attend(ctx, ended)
}

// read begins to read the log of the services' events. It goes on when ctx is
// over, until stopReading is called: clients get events until they are drained.
func (g *Gateway) read(ctx context.Context) {
	ctx, g.stopReading = context.WithCancel(context.WithoutCancel(ctx))
	g.reading = g.consume(ctx)
}

// listen starts the event loops. ended gets what their end comes to.
func (g *Gateway) listen() (ended <-chan error, err error) {
	if g.gate != nil {
		g.gate.Start(g.hub)
	}
	end := make(chan error, 1)
	go func() { end <- g.server.Run() }()
	select {
	case <-g.server.Ready():
		return end, nil
	case err := <-end:
		return nil, err
	}
}

// attend is what a gateway does beside its event loops, until ctx is cancelled
// and it has drained, or another process has taken its place. An engine that
// ends by itself is an error.
func (g *Gateway) attend(ctx context.Context, ended <-chan error) error {
	if g.gate != nil {
		defer g.gate.Close()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.greet()
	watching, enough := context.WithCancel(context.Background())
	defer enough()
	go g.watchMemory(watching)
	g.tellSystemd(watching)
	defer g.publishOutgoing()()
	g.report.serves()
	if g.takes == nil { // else it has begun before
		g.joinCluster()
	}
	if g.fleet != nil {
		g.fleet.Start(g.hub)
		defer g.fleet.Close()
	}
	if g.bird != nil {
		go g.bird.run(ctx)
	}
	stats := g.reportStats()
	defer stats()
	next, err := g.awaitSuccessor(ctx)
	if err != nil {
		g.log.Error("connections will not be handed over", "error", err)
	}
	defer next.close()
	select {
	case <-ctx.Done():
		return g.shutDown(ended)
	case o := <-next.outcome:
		if o.Gone {
			g.stopReading()
			return g.leave(o, ended)
		}
		g.drainFor(ctx, o.Err)
		cancel()
		return g.shutDown(ended)
	case err := <-ended:
		g.stopReading()
		return err
	}
}

// shutDown drains the sessions and stops the engine, within SHUTDOWN_TIMEOUT.
// Clients that are still there get events meanwhile.
func (g *Gateway) shutDown(ended <-chan error) error {
	notify(g.log, daemon.SdNotifyStopping)
	g.log.Info("draining", "sessions", g.server.Stats().Sessions, "period", g.cfg().Shutdown.DrainPeriod)
	start := time.Now()
	drain, cancel := context.WithTimeout(context.Background(), max(g.cfg().Shutdown.Timeout-stopTimeout, 0))
	defer cancel()
	if err := g.server.Drain(drain); err != nil {
		g.log.Warn("sessions were still open at the end of SHUTDOWN_TIMEOUT", "sessions", g.server.Stats().Sessions)
	}
	g.awaitAbsent(drain)
	g.stopReading()
	select {
	case <-g.reading:
	case <-drain.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	g.leaveCluster(stop)
	if err := g.server.Stop(stop); err != nil {
		return fmt.Errorf("stop the engine: %w", err)
	}
	select {
	case err := <-ended:
		g.log.Info("stopped", "after", time.Since(start).Round(time.Millisecond))
		return err
	case <-stop.Done():
		return errors.New("stop the engine: not ended in time")
	}
}

// greet says where the gateway is and, in development, how to try it.
func (g *Gateway) greet() {
	cfg := g.cfg()
	g.log.Info("listening", "address", g.server.Addr(), "environment", cfg.Server.Environment, "version", version())
	if cfg.Server.Environment == config.Production && cfg.Rooms.Policy == authz.Open {
		g.log.Warn("ROOM_POLICY=open: every user may join every room; set claims, webhook or redis to restrict it")
	}
	if !cfg.MintsTokens() {
		return
	}
	token, err := mint(cfg, auth.Grant{UserID: "42", TTL: developmentTTL}, g.started)
	if err != nil {
		g.log.Warn("no development token", "error", err)
		return
	}
	_, port, _ := net.SplitHostPort(g.server.Addr())
	where := "The gateway is at"
	if cfg.HasConsole() {
		where = "Try the gateway in a browser, at"
	}
	fmt.Printf(welcome, where, port, token, port, token)
}

// welcome is for a developer's terminal.
const welcome = `
%s http://localhost:%s/. A token for user 42, good for a day:

%s

Or in a folder where "npm install socket.io-client" has run:

  const { io } = require("socket.io-client");
  const socket = io("http://localhost:%s", { auth: { token: "%s" } });
  socket.onAny(console.log).emit("join_room", { roomType: "conversation", roomId: "1" }, console.log);

`

// reportStats logs a line of figures from time to time, until the function it
// returns is called.
func (g *Gateway) reportStats() (stop func()) {
	if g.cfg().Log.StatsInterval == 0 {
		return func() {}
	}
	ticker := time.NewTicker(g.cfg().Log.StatsInterval)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				s, r := g.server.Stats(), g.hub.Stats()
				g.log.Info("figures", "connections", s.Connections, "sessions", s.Sessions,
					"websocket", s.WebSockets, "sockets", r.Sockets, "events", r.EventsIn,
					"deliveries", r.Deliveries, "turnAge", g.server.TurnAge(time.Now()))
			case <-done:
				return
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}
