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
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/authz"
	"github.com/hometrip/gateway/internal/handover"
	"github.com/hometrip/gateway/loop"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster"
	"github.com/hometrip/gateway/upstream"
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
	config   Config
	log      *slog.Logger
	started  time.Time
	memory   int64 // bytes the process may use
	verifier *auth.Verifier
	gate     *authz.Gate      // nil when everybody may be in every room
	cluster  *cluster.Cluster // nil without Redis
	hub      *rooms.Hub
	routes   *upstream.Table
	consumer *upstream.Consumer // nil without RabbitMQ
	server   *loop.Server
	bird     *bird // nil without CANARY

	watchdog  time.Duration // of the service manager, as a predecessor tells it; 0: none
	handovers handoverCounters
}

// serve runs the gateway until ctx is cancelled and it has drained, or another
// process has taken its place. If one runs that can be taken over from, it is.
func serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	if cfg.HandoverSocket == "" {
		return serveNew(ctx, cfg, log)
	}
	if err := handover.CheckFolder(cfg.HandoverSocket); err != nil {
		return err
	}
	wire, err := handover.Dial(cfg.HandoverSocket)
	switch {
	case err == nil:
		return succeed(ctx, cfg, log, wire)
	case handover.Nobody(err):
		return serveNew(ctx, cfg, log)
	}
	return fmt.Errorf("HANDOVER_SOCKET=%q: %w", cfg.HandoverSocket, err)
}

// serveNew is serve where nobody is to be taken over from.
func serveNew(ctx context.Context, cfg Config, log *slog.Logger) error {
	g, err := open(cfg, log)
	if err != nil {
		return err
	}
	defer g.verifier.Close()
	stop, err := g.serveAdmin()
	if err != nil {
		return err
	}
	defer stop()
	return g.run(ctx)
}

// open builds the house from the inside out. Nothing listens yet.
func open(cfg Config, log *slog.Logger) (*Gateway, error) {
	g := &Gateway{config: cfg, log: log, started: time.Now()}
	paceCollector()
	g.memory = limitMemory(log)
	loops := cfg.loops()
	var err error
	g.verifier, err = auth.New(auth.Config{
		Secret:    cfg.JWTSecret,
		PublicKey: cfg.JWTPublicKey,
		JWKSURL:   cfg.JWTJWKSURL,
		Issuer:    cfg.JWTIssuer,
		Audience:  cfg.JWTAudience,
		Workers:   loops / verifiersShare,
		Log:       log,
	})
	if err != nil {
		return nil, fmt.Errorf("token verification: %w", err)
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
	if g.gate, err = cfg.doorkeeper(log); err != nil {
		return nil, err
	}
	g.hub, err = rooms.New(rooms.Config{
		Shards:         loops,
		Auth:           g.verifier,
		Authorizer:     g.authorizer(),
		Revoker:        g.verifier,
		AllowAnonymous: cfg.AllowAnonymous,
		ConnectTimeout: cfg.ConnectTimeout,
		MaxPacket:      cfg.MaxHTTPBufferSize,
		MaxMailbox:     cfg.MaxMailbox,
		Limits:         g.limits(),
		Handlers:       rooms.ClientEvents(),
		Cluster:        g.port(),
	})
	if err != nil {
		return nil, err
	}
	if g.routes, err = upstream.LoadTable(cfg.RoutesFile); err != nil {
		return nil, err
	}
	if g.consumer, err = g.backDoor(); err != nil {
		return nil, err
	}
	g.bird = g.newBird()
	g.server, err = g.frontDoor(loops)
	return g, err
}

// loops is how many event loops there are to be. It is asked before open has
// changed GOMAXPROCS.
func (c Config) loops() int {
	if c.EventLoops > 0 {
		return c.EventLoops
	}
	return min(runtime.GOMAXPROCS(0), rooms.MaxShards)
}

func (g *Gateway) frontDoor(loops int) (*loop.Server, error) {
	cfg := g.config
	connections, err := maxConnections(cfg.MaxConnections)
	if err != nil {
		return nil, err
	}
	handler, err := g.endpoints()
	if err != nil {
		return nil, err
	}
	return loop.New(loop.Config{
		Address:        net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)),
		Loops:          loops,
		Hub:            g.hub,
		Handler:        hardened(handler),
		Prepared:       []string{"/health", "/ready"},
		Authorised:     serviceTokens(cfg.MetricsToken, cfg.PublishToken),
		Log:            g.log,
		PingInterval:   cfg.PingInterval,
		PingTimeout:    cfg.PingTimeout,
		HeadTimeout:    cfg.HeadTimeout,
		KeepAlive:      cfg.KeepAliveTimeout,
		DrainPeriod:    cfg.DrainPeriod,
		MaxHead:        cfg.MaxHeadSize,
		MaxPayload:     cfg.MaxHTTPBufferSize,
		MaxPending:     cfg.MaxPendingBytes,
		MaxConnections: connections,
		MaxPerAddress:  cfg.MaxPerIP,
		MaxOwed:        g.maxOwed(),
		Handshakes:     cfg.handshakes(loops),
		HandshakesPerAddress: rooms.Rate{
			PerSecond: cfg.MaxHandshakesPerIP, Burst: handshakeBurst * cfg.MaxHandshakesPerIP,
		},
		Bytes:          cfg.bytes(),
		TrustedProxies: cfg.TrustedProxies,
		ProxyProtocol:  cfg.ProxyProtocol,
		Origins:        loop.NewOrigins(cfg.CORSOrigins...),
		Successor:      cfg.succeeds,
	})
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
		return 0, fmt.Errorf("RLIMIT_NOFILE is %d: raise it above %d", limit.Cur, descriptorReserve)
	case setting > room:
		return 0, fmt.Errorf("MAX_CONNECTIONS=%d: RLIMIT_NOFILE is %d and %d are kept in reserve, so at most %d",
			setting, limit.Cur, descriptorReserve, room)
	case setting > 0:
		return setting, nil
	}
	return room, nil
}

// run serves until ctx is cancelled, then drains and stops.
func (g *Gateway) run(ctx context.Context) error {
	ended, err := g.listen()
	if err != nil {
		return err
	}
	return g.attend(ctx, ended)
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
	g.joinCluster()
	events := g.consume(ctx)
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
		return g.shutDown(ended, events)
	case o := <-next.outcome:
		if o.Gone {
			return g.leave(o, ended)
		}
		g.drainFor(ctx, o.Err)
		cancel()
		return g.shutDown(ended, events)
	case err := <-ended:
		return err
	}
}

// shutDown drains the sessions and stops the engine, within SHUTDOWN_TIMEOUT.
// Meanwhile the consumer of events ends, which needs the loops for its last
// acknowledgements.
func (g *Gateway) shutDown(ended <-chan error, events <-chan struct{}) error {
	notify(g.log, daemon.SdNotifyStopping)
	g.log.Info("draining", "sessions", g.server.Stats().Sessions, "period", g.config.DrainPeriod)
	start := time.Now()
	drain, cancel := context.WithTimeout(context.Background(), max(g.config.ShutdownTimeout-stopTimeout, 0))
	defer cancel()
	if err := g.server.Drain(drain); err != nil {
		g.log.Warn("sessions left at the end of SHUTDOWN_TIMEOUT", "sessions", g.server.Stats().Sessions)
	}
	select {
	case <-events:
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
	cfg := g.config
	g.log.Info("listening", "address", g.server.Addr(), "environment", cfg.Environment, "version", version())
	if cfg.Environment == production && cfg.RoomPolicy == authz.Open {
		g.log.Warn("ROOM_POLICY=open: every user may join every room; claims, webhook or redis let your application decide")
	}
	if !cfg.mintsTokens() {
		return
	}
	token, err := mint(cfg, auth.Grant{UserID: "42", TTL: developmentTTL}, g.started)
	if err != nil {
		g.log.Warn("no development token", "error", err)
		return
	}
	_, port, _ := net.SplitHostPort(g.server.Addr())
	where := "The gateway is at"
	if cfg.hasConsole() {
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
	if g.config.LogStatsInterval == 0 {
		return func() {}
	}
	ticker := time.NewTicker(g.config.LogStatsInterval)
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
