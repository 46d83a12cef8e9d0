package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/handover"
	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/loop"
)

// successorPatience is how long a process that drains for its successor waits
// for that one to listen.
const successorPatience = 60 * time.Second

// handoverCounters are what metrics tell of hand-overs. Safe for concurrent use.
type handoverCounters struct {
	failed      atomic.Int64 // attempts after which this process went on
	connections atomic.Int64 // taken over at the start
	sessions    atomic.Int64
	lost        atomic.Int64 // that ended meanwhile
	bytes       atomic.Int64
	pause       atomic.Int64 // ns for which clients waited
}

// digest is what two processes must agree on for one to take the other's place.
func digest(c config.Config) string {
	return fmt.Sprintf("%s %d", strings.ToLower(c.Server.Host), c.Server.Port)
}

// unfit says why connections cannot be handed over.
func (g *Gateway) unfit() error {
	switch c := g.cfg(); {
	case g.events.kind != config.LogMemory || g.events.memory == nil:
		return fmt.Errorf("%w: with EVENT_LOG=%s sessions cannot be handed over yet", handover.ErrDrain, g.events.kind)
	case g.hub.Recoverable():
		return fmt.Errorf("%w: clients may come back to what they missed (RECOVERY), which cannot be handed over yet", handover.ErrDrain)
	case c.Redis.Use:
		return fmt.Errorf("%w: with USE_REDIS=true sessions cannot be handed over yet", handover.ErrDrain)
	case c.RabbitMQ.Use:
		return fmt.Errorf("%w: with USE_RABBITMQ=true sessions cannot be handed over yet", handover.ErrDrain)
	}
	return nil
}

// A giver is the gateway as the one that hands over. Owned by the goroutine of
// the hand-over.
type giver struct {
	g         *Gateway
	frozen    *loop.Frozen
	listeners int // of the successor
}

func (h *giver) Fits(hello *handover.Hello) error {
	if own := digest(h.g.cfg()); hello.Digest != own {
		return fmt.Errorf("the successor is to listen on %q, and this process on %q", hello.Digest, own)
	}
	if hello.Loops < 1 {
		return fmt.Errorf("a successor with %d event loops", hello.Loops)
	}
	return h.g.unfit()
}

func (h *giver) Welcome() handover.Welcome {
	limit, _ := daemon.SdWatchdogEnabled(false)
	return handover.Welcome{Loops: h.g.hub.Shards(), Watchdog: max(limit, h.g.watchdog), Sessions: h.g.server.Stats().Sessions}
}

func (h *giver) Hold(loops int) error {
	h.listeners = loops
	return h.g.server.HoldPort()
}

func (h *giver) Unhold() { h.g.server.SharePort() }

func (h *giver) Freeze(ctx context.Context) (err error) {
	h.frozen, err = h.g.server.Freeze(ctx, h.g.eventsBehind)
	return err
}

// eventsBehind says how many events of the log in memory, which ends with the
// process, have not been delivered.
func (g *Gateway) eventsBehind() string {
	_, last, _ := g.events.memory.Kept()
	if passed := g.hub.Delivered(); uint64(last) > passed {
		return fmt.Sprintf("%d events of services", uint64(last)-passed)
	}
	return ""
}

func (h *giver) Busy(err error) bool { return errors.Is(err, loop.ErrBusy) }

func (h *giver) Thaw() { h.frozen.Thaw() }

func (h *giver) State() ([]handover.Part, []byte, error) {
	parts, err := h.frozen.State()
	if err == nil {
		err = h.g.unfit() // since the greeting
	}
	if err != nil {
		return nil, nil, err
	}
	all := make([]handover.Part, len(parts))
	for i, p := range parts {
		all[i] = handover.Part(p)
	}
	node := form.Node{Rates: h.g.server.Rates(time.Now())}
	node.Tokens, node.Users = h.g.verifier.Refused()
	return all, form.AppendNode(nil, &node), nil
}

func (h *giver) LetGo(fresh func(fd int)) { h.frozen.LetGo(fresh) }

func (h *giver) PassOn() error { return h.g.server.PassPort(h.listeners) }

// A succession is what the hand-overs of a running gateway come to.
type succession struct {
	outcome <-chan handover.Outcome // Gone or Drain; nil without HANDOVER_SOCKET
	close   func()
}

// awaitSuccessor listens on HANDOVER_SOCKET, until a successor has taken over.
func (g *Gateway) awaitSuccessor(ctx context.Context) (succession, error) {
	path := g.cfg().Shutdown.HandoverSocket
	if path == "" {
		return succession{close: func() {}}, nil
	}
	listener, err := handover.Listen(path)
	if err != nil {
		return succession{close: func() {}}, err
	}
	outcome := make(chan handover.Outcome, 1)
	go func() {
		for {
			conn, err := listener.AcceptUnix()
			if err != nil {
				return // closed
			}
			result := handover.Give(ctx, conn, &giver{g: g}, handover.DefaultPace, g.log)
			if result.Gone || result.Drain {
				outcome <- result
				return
			}
			g.handovers.failed.Add(1)
			g.log.Warn("a hand-over came to nothing, and this process serves on", "error", result.Err)
		}
	}()
	return succession{outcome, func() { listener.Close() }}, nil
}

// leave ends a process whose connections are another's.
func (g *Gateway) leave(o handover.Outcome, ended <-chan error) error {
	g.log.Info("handed over", "connections", o.Conns, "sessions", o.Sessions, "bytes", o.Bytes,
		"pause", o.Pause.Round(time.Microsecond))
	if err := g.server.LeavePort(); err != nil {
		g.log.Warn("the port was not left as it should be, connections may be refused", "error", err)
	}
	stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := g.server.Stop(stop); err != nil {
		return fmt.Errorf("stop the engine: %w", err)
	}
	select {
	case err := <-ended:
		return err
	case <-stop.Done():
		return nil // nobody is left to be served
	}
}

// drainFor waits until the successor listens, before this process drains.
func (g *Gateway) drainFor(ctx context.Context, why error) {
	g.log.Warn("clients are disconnected and come back, spread over DRAIN_PERIOD", "why", why)
	ctx, cancel := context.WithTimeout(ctx, successorPatience)
	defer cancel()
	if err := g.server.AwaitSuccessor(ctx); err != nil {
		g.log.Warn("no successor listens", "error", err)
	}
}

// An heir is the gateway as the one that takes over.
type heir struct {
	start  launch
	log    *slog.Logger
	began  time.Time
	g      *Gateway // nil until Build
	stop   func()   // the admin port
	ended  <-chan error
	estate *loop.Estate
}

func (h *heir) Hello() handover.Hello {
	return handover.Hello{Form: form.Version, Version: version(), Loops: eventLoops(h.start.Config), Digest: digest(h.start.Config)}
}

func (h *heir) Build(ctx context.Context, w handover.Welcome) (err error) {
	g := &Gateway{succeeds: true, watchdog: w.Watchdog}
	if h.g, err = g.open(h.start.Config, h.log); err != nil {
		return err
	}
	if err := g.unfit(); err != nil {
		return err
	}
	if h.stop, err = h.g.serveAdmin(); err != nil {
		return err
	}
	if h.ended, err = h.g.listen(); err != nil {
		return err
	}
	// An event that a service sends to the first connection must be delivered.
	h.g.read(ctx)
	return h.g.awaitReading(ctx)
}

// awaitReading waits until the log of the services' events is being read.
func (g *Gateway) awaitReading(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	for !g.consumer.Status().Connected {
		select {
		case <-ctx.Done():
			return errors.New("the log of the services' events is not being read")
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// logPatience is how long a successor waits for the log of the services'
// events.
const logPatience = 10 * time.Second

func (h *heir) Fits(e *handover.Estate) (err error) {
	h.began = time.Now()
	h.estate, err = h.g.server.Estate(e.Loops, e.Conns)
	return err
}

func (h *heir) Own(e *handover.Estate, paused time.Duration, begun func()) error {
	began := time.Now()
	h.g.verifier.Refuse(e.Node.Tokens, e.Node.Users)
	h.g.server.TakeRates(e.Node.Rates, began)
	taken, err := h.estate.Take(context.Background(), begun)
	h.estate = nil
	c := &h.g.handovers
	c.connections.Store(int64(taken.Connections))
	c.sessions.Store(int64(taken.Sessions))
	c.lost.Store(int64(taken.Lost))
	c.bytes.Store(int64(e.Bytes))
	c.pause.Store(int64(paused + time.Since(began)))
	h.log.Info("taken over", "connections", taken.Connections, "sessions", taken.Sessions, "lost", taken.Lost,
		"bytes", e.Bytes, "pause", time.Duration(c.pause.Load()).Round(time.Microsecond))
	return err
}

func (h *heir) Fresh(conn net.Conn) { h.g.server.Fresh(conn) }

// close ends what Build has begun, when nothing comes of it.
func (h *heir) close() {
	if h.g == nil {
		return
	}
	if h.stop != nil {
		h.stop()
	}
	if h.ended != nil {
		stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		_ = h.g.server.Stop(stop)
	}
	h.g.verifier.Close()
}

// succeed takes the place of the process at the other end of wire, or serves
// if that one drains or is gone.
func succeed(ctx context.Context, start launch, wire *handover.Wire) error {
	log := start.book.Logger
	h := &heir{start: start, log: log}
	v := handover.Take(ctx, wire, h, handover.DefaultPace)
	switch {
	case v.Owned && v.Err != nil, !v.Owned && !v.Alone:
		h.close()
		return fmt.Errorf("take over from the running gateway: %w", v.Err)
	case v.Alone:
		log.Warn("nothing is handed over", "why", v.Why)
	}
	if !v.Built { // the other one drains
		start.Server.SharePort = true
		return serveNew(ctx, start)
	}
	r := newReloader(start)
	defer r.close()
	defer h.g.verifier.Close()
	defer h.stop()
	if v.Alone {
		h.g.server.SharePort()
	}
	return r.during(ctx, h.g, func(ctx context.Context) error { return h.g.attend(ctx, h.ended) })
}
