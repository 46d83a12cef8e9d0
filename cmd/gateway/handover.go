package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/handover"
	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/loop"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// successorPatience is how long a process that drains for its successor waits
// until the successor listens.
const successorPatience = 60 * time.Second

// handoverCounters are the metrics of hand-overs. Safe for concurrent use.
type handoverCounters struct {
	taken       atomic.Int64 // times this process took another one's place: 1 at most
	failed      atomic.Int64 // attempts after which this process went on
	connections atomic.Int64 // taken over at the start
	sessions    atomic.Int64
	lost        atomic.Int64 // that ended meanwhile
	bytes       atomic.Int64
	pause       atomic.Int64 // ns for which clients waited
}

// digest returns a hash of the settings that must be equal in two processes for
// one to take the other's place.
func digest(c config.Config) string {
	return fmt.Sprintf("%s %d", strings.ToLower(c.Server.Host), c.Server.Port)
}

// unfit returns why connections cannot be handed over, nil if they can.
func (g *Gateway) unfit() error {
	if g.fleet != nil {
		return fmt.Errorf("%w: with SOCKETIO_ADAPTER_KEY, servers on Node know this process by a name of its own", handover.ErrDrain)
	}
	return nil
}

// fingerprint returns a hash of settings, to compare those of two processes without
// showing secrets.
func fingerprint(settings ...any) string {
	sum := sha256.Sum256(fmt.Append(nil, settings...))
	return hex.EncodeToString(sum[:8])
}

// redisPlace names the Redis that the cluster uses.
func redisPlace(c config.Config) string {
	server, db, _ := redisServer(c)
	return fingerprint(server.Addresses, server.MasterSet, db, c.Redis.KeyPrefix)
}

// logPlace names the log of the services' events.
func logPlace(c config.Config) string {
	if c.EventLogKind() == config.LogMemory {
		return config.LogMemory
	}
	return fingerprint(c.Events.Log, c.EventLogKind(), c.Redis.Use, redisPlace(c), c.RabbitMQAddresses(), c.RabbitMQ.QueuePrefix)
}

// A giver is the gateway in the role of the process that hands over. Owned by
// the goroutine of the hand-over.
type giver struct {
	g         *Gateway
	frozen    *loop.Frozen
	listeners int    // of the successor
	held      bool   // nothing comes from the log
	connected bool   // to Redis, when the successor was greeted
	collect   func() // has the collector run again; nil: it has not been held
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
	g := h.g
	limit, _ := daemon.SdWatchdogEnabled(false)
	w := handover.Welcome{Loops: g.hub.Shards(), Watchdog: max(limit, g.watchdog), Sessions: g.server.Stats().Sessions}
	if log, position := g.consumer.Place(); g.lasting() {
		w.Log = handover.LogPlace{
			Where: logPlace(g.cfg()), Identity: log, Position: uint64(position), Reading: g.consumer.Status().Connected,
		}
	}
	if g.cluster != nil {
		place := g.cluster.Place()
		h.connected = place.Connected
		w.Cluster = &handover.NodePlace{
			Where: redisPlace(g.cfg()), Number: place.Number, Name: place.Name, Session: place.Session, Connected: place.Connected,
		}
	}
	return w
}

// lasting reports whether the log outlives the process.
func (g *Gateway) lasting() bool { return g.events.where() != config.LogMemory }

func (h *giver) Hold(loops int) error {
	h.listeners = loops
	return h.g.server.HoldPort()
}

func (h *giver) Freeze(ctx context.Context) (err error) {
	if h.collect == nil {
		h.collect = h.g.collector.hold()
	}
	h.frozen, err = h.g.server.Freeze(ctx, loop.Rest{Hold: h.hold, Behind: h.behind})
	if err != nil {
		h.release()
	}
	return err
}

// hold stops deliveries from the log and from the other nodes.
func (h *giver) hold(ctx context.Context) error {
	g := h.g
	for g.forgotten() > 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: %d events of services", loop.ErrBusy, g.forgotten())
		}
	}
	if err := g.consumer.Hold(ctx); err != nil {
		return fmt.Errorf("%w: an event of a service", loop.ErrBusy)
	}
	h.held = true
	if g.cluster == nil {
		return nil
	}
	if h.connected && !g.cluster.Place().Connected { // who has taken what came from other nodes would not be known
		return fmt.Errorf("%w: the connection to Redis, which was lost", loop.ErrBusy)
	}
	if err := g.cluster.Hold(ctx); err != nil {
		return fmt.Errorf("%w: %w", loop.ErrBusy, err)
	}
	return nil
}

// release reverses hold.
func (h *giver) release() {
	if h.held {
		h.held = false
		h.g.consumer.Release()
	}
	if h.g.cluster != nil {
		h.g.cluster.Release()
	}
}

// behind describes what has not reached RabbitMQ or Redis, "" if everything
// has. While RabbitMQ is away, events for services are awaited no longer than
// at any other end of the process.
func (h *giver) behind() string {
	for _, o := range h.g.outlets() {
		if n := o.Stats().Waiting; n > 0 && o.Connected() {
			return fmt.Sprintf("%d events for services", n)
		}
	}
	if h.g.cluster == nil {
		return ""
	}
	return h.g.cluster.Rest()
}

// forgotten returns how many undelivered events end with the process: those of
// a log in memory that stands in for one that cannot be reached yet.
func (g *Gateway) forgotten() uint64 {
	if g.lasting() || g.events.kind == config.LogMemory {
		return 0
	}
	_, last, _ := g.events.memory.Kept()
	return uint64(last) - min(g.hub.Delivered(), uint64(last))
}

func (h *giver) Busy(err error) bool { return errors.Is(err, loop.ErrBusy) }

func (h *giver) Thaw() {
	h.release()
	h.frozen.Thaw()
}

func (h *giver) State(send func(handover.Part) error) ([]byte, error) {
	if err := h.g.unfit(); err != nil { // since the greeting
		return nil, err
	}
	counters := make(chan []form.Counter, 1)
	go func() { counters <- h.g.count.all() }() // not before: a counter that goes back is a restart to Prometheus
	if err := h.frozen.State(func(p loop.Part) error { return send(handover.Part(p)) }); err != nil {
		return nil, err
	}
	return form.AppendNode(nil, h.node(time.Now(), <-counters)), nil
}

// node describes the state that belongs to no event loop.
func (h *giver) node(now time.Time, counters []form.Counter) *form.Node {
	g := h.g
	n := &form.Node{Rates: g.server.Rates(now), Vacant: g.hub.Vacant(now), Ended: g.hub.Ended(now), Log: g.logForm(), Counters: counters}
	n.Tokens, n.Users = g.verifier.Refused()
	if g.cluster != nil {
		n.Cluster = g.cluster.Identity(now)
	}
	return n
}

// logForm describes how far the log was read. It is called between Hold and
// Release of the consumer.
func (g *Gateway) logForm() (f form.Log) {
	identity, _ := g.consumer.Place()
	if identity == "" || !g.lasting() && g.events.kind != config.LogMemory {
		return f
	}
	past := g.consumer.Past()
	f = form.Log{Identity: identity, Position: uint64(past.Position), Began: uint64(past.Began)}
	for _, s := range past.Seen {
		f.Recent = append(f.Recent, form.Event{Hash: s.Hash, Position: uint64(s.Position)})
	}
	if g.events.kind != config.LogMemory {
		return f
	}
	f.InMemory = true
	_, last, entries := g.events.memory.Contents()
	f.Last = uint64(last)
	for i := range entries {
		f.Entries = append(f.Entries, entryForm(&entries[i]))
	}
	return f
}

func entryForm(e *eventlog.Entry) form.Entry {
	f := form.Entry{Position: uint64(e.Position), Exchange: e.Exchange, Key: e.Key, ID: e.MessageID, App: e.AppID, Trace: e.Trace, Body: e.Body}
	if !e.Published.IsZero() {
		f.Published = e.Published.UnixNano()
	}
	return f
}

func (h *giver) Yield() {
	if h.g.cluster != nil {
		h.g.cluster.Abandon()
	}
}

func (h *giver) LetGo(fresh func(fd int)) {
	h.frozen.LetGo(fresh)
}

func (h *giver) PassOn() error { return h.g.server.PassPort(h.listeners) }

// A succession counts and reports the hand-overs of a running gateway.
type succession struct {
	outcome <-chan handover.Outcome // Gone or Drain; nil without HANDOVER_SOCKET
	close   func()
}

// awaitSuccessor listens on HANDOVER_SOCKET until a successor has taken over.
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
			host := &giver{g: g}
			result := handover.Give(ctx, conn, host, handover.DefaultPace, g.log)
			if host.collect != nil {
				host.collect()
			}
			if result.Gone || result.Drain {
				outcome <- result
				return
			}
			g.handovers.failed.Add(1)
			g.log.Warn("a hand-over failed; this process continues to serve", "error", result.Err)
		}
	}()
	return succession{outcome, func() { listener.Close() }}, nil
}

// leave ends a process whose connections another process has.
func (g *Gateway) leave(o handover.Outcome, ended <-chan error) error {
	g.log.Info("handed over", "connections", o.Conns, "sessions", o.Sessions, "bytes", o.Bytes,
		"pause", o.Pause.Round(time.Microsecond), "freeze", o.Freeze.Round(time.Microsecond), "send", o.Send.Round(time.Microsecond))
	if err := g.server.LeavePort(); err != nil {
		g.log.Warn("the port was not left as it should be, connections may be refused", "error", err)
	}
	stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := g.server.Stop(stop); err != nil {
		g.log.Warn("the event loops did not stop in time; all sessions have ended", "error", err)
		return nil
	}
	return <-ended
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
