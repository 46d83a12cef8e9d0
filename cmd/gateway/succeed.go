package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/handover"
	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/loop"
	"github.com/hometrip/gateway/rooms/cluster"
	"github.com/hometrip/gateway/upstream"
	"github.com/hometrip/gateway/upstream/eventlog"
)

// A taker is the gateway in the role of the process that takes over. Owned by
// the goroutine of the hand-over.
type taker struct {
	start  launch
	log    *slog.Logger
	began  time.Time
	g      *Gateway // nil until Build
	stop   func()   // the admin port
	ended  <-chan error
	state  *loop.ReceivedState
	before int // pid of the process that runs; 0: not known

	welcome handover.Welcome
	holds   bool   // the log
	resumes bool   // where the other process is
	collect func() // has the collector run again
}

func (h *taker) Hello() handover.Hello {
	return handover.Hello{Form: form.Version, Version: version(), Loops: eventLoops(h.start.Config), Digest: digest(h.start.Config)}
}

func (h *taker) Build(ctx context.Context, w handover.Welcome) (err error) {
	h.welcome = w
	h.start.report.say("process %d serves %d sessions; the new process connects to what it needs", h.before, w.Sessions)
	g := &Gateway{succeeds: true, watchdog: w.Watchdog, report: h.start.report}
	cfg := h.start.Config
	if w.Cluster != nil && cfg.Redis.Use && w.Cluster.Where == redisPlace(cfg) {
		g.takes = &cluster.Place{Number: w.Cluster.Number, Name: w.Cluster.Name, Session: w.Cluster.Session, Connected: w.Cluster.Connected}
	}
	if h.g, err = g.open(cfg, h.log); err != nil {
		return err
	}
	if err := g.unfit(); err != nil {
		return err
	}
	if h.stop, err = g.serveAdmin(); err != nil {
		return err
	}
	if h.ended, err = g.listen(); err != nil {
		return err
	}
	if err := h.listenToNodes(ctx); err != nil {
		return err
	}
	if g.events.kind != config.LogMemory { // else its contents come with the state
		err = h.readLog(ctx)
	}
	h.collect = g.collector.hold() // the state comes soon
	return err
}

// listenToNodes subscribes this process, too, to what is published to the node
// that is taken over.
func (h *taker) listenToNodes(ctx context.Context) error {
	if h.g.takes == nil {
		return nil
	}
	h.g.joinCluster()
	if !h.g.takes.Connected {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dependencyPatience)
	defer cancel()
	return h.g.cluster.AwaitSubscribed(ctx)
}

// readLog begins to read the log where the other process is. Entries wait until
// this process has its connections.
func (h *taker) readLog(ctx context.Context) error {
	g, place := h.g, &h.welcome.Log
	h.resumes = place.Identity != "" && place.Where == logPlace(g.cfg())
	if err := g.consumer.Hold(ctx); err != nil {
		return err
	}
	h.holds = true
	if h.resumes {
		g.consumer.Resume(place.Identity, eventlog.Position(place.Position))
	}
	g.read(ctx)
	if place.Where != "" && !place.Reading {
		return nil // it cannot be read now
	}
	return g.awaitReading(ctx)
}

// awaitReading waits until the log of the services' events is being read.
func (g *Gateway) awaitReading(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dependencyPatience)
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

// dependencyPatience is how long a successor waits for Redis, and for the log of
// the services' events.
const dependencyPatience = 10 * time.Second

func (h *taker) Fits(e *handover.State) (err error) {
	h.began = time.Now()
	if identity, _ := h.g.consumer.Place(); h.resumes && identity != e.Node.Log.Identity {
		return fmt.Errorf("the log of the services' events was made anew meanwhile: it is %s, and was %s", e.Node.Log.Identity, identity)
	}
	h.state, err = h.g.server.ReceiveState(e.Portions)
	return err
}

func (h *taker) Own(e *handover.State, paused time.Duration, begun func()) error {
	began := time.Now()
	h.takeNode(e.Node, began)
	taken, err := h.state.Take(context.Background(), func() {
		if h.g.takes != nil {
			h.g.cluster.Begin(&e.Node.Cluster)
		}
		h.release()
		h.g.server.Begin()
		begun()
	})
	h.release() // also when it was not begun
	h.state = nil
	h.collect()
	c := &h.g.handovers
	c.taken.Add(1)
	c.connections.Store(int64(taken.Connections))
	c.sessions.Store(int64(taken.Sessions))
	c.lost.Store(int64(taken.Lost))
	c.bytes.Store(int64(e.Bytes))
	c.pause.Store(int64(paused + time.Since(began)))
	h.start.report.say("%d connections taken over, %d had ended; they waited for %v", taken.Connections, taken.Lost,
		time.Duration(c.pause.Load()).Round(time.Microsecond))
	h.start.report.follows(h.before)
	h.log.Info("taken over", "connections", taken.Connections, "sessions", taken.Sessions, "lost", taken.Lost,
		"bytes", e.Bytes, "pause", time.Duration(c.pause.Load()).Round(time.Microsecond),
		"join", taken.Join.Round(time.Microsecond), "register", taken.Register.Round(time.Microsecond))
	return err
}

// takeNode takes over the state that belongs to no event loop, before the
// sessions come.
func (h *taker) takeNode(n *form.Node, now time.Time) {
	g := h.g
	g.verifier.Refuse(n.Tokens, n.Users)
	g.server.TakeRates(n.Rates, now)
	g.hub.AdoptVacant(n.Vacant, now)
	g.hub.AdoptEnded(n.Ended, now)
	g.count.add(n.Counters)
	if g.takes != nil {
		g.cluster.Assume(&n.Cluster)
	}
	h.takeLog(&n.Log)
}

func (h *taker) takeLog(f *form.Log) {
	g := h.g
	if g.events.kind == config.LogMemory {
		_ = g.consumer.Hold(context.Background())
		h.holds = true
		if f.InMemory {
			g.events.memory.Restore(f.Identity, eventlog.Position(f.Last), entriesOf(f.Entries))
			g.consumer.Resume(f.Identity, eventlog.Position(f.Position))
		}
		g.read(context.Background())
	}
	if identity, _ := g.consumer.Place(); identity == "" || identity != f.Identity {
		return
	}
	past := upstream.Past{Position: eventlog.Position(f.Position), Began: eventlog.Position(f.Began)}
	for _, e := range f.Recent {
		past.Seen = append(past.Seen, eventlog.Seen{Hash: e.Hash, Position: eventlog.Position(e.Position)})
	}
	g.consumer.Inherit(past)
}

func entriesOf(all []form.Entry) []eventlog.Entry {
	entries := make([]eventlog.Entry, len(all))
	for i := range all {
		f := &all[i]
		entries[i] = eventlog.Entry{
			Position: eventlog.Position(f.Position), Exchange: f.Exchange, Key: f.Key, MessageID: f.ID, AppID: f.App, Trace: f.Trace,
			Body: bytes.Clone(f.Body),
		}
		if f.Published != 0 {
			entries[i].Published = time.Unix(0, f.Published)
		}
	}
	return entries
}

// release lets entries of the log reach the rooms.
func (h *taker) release() {
	if h.holds {
		h.holds = false
		h.g.consumer.Release()
	}
}

// alone makes this process serve by itself: the other one has ended and has
// left nothing.
func (h *taker) alone() {
	g := h.g
	if g.takes != nil {
		g.cluster.AssumeDead()
	}
	if g.reading == nil {
		g.read(context.Background())
	}
	h.release()
	g.server.Begin()
	g.server.SharePort()
}

func (h *taker) Fresh(fd int) { h.g.server.Fresh(fd) }

func (h *taker) GiverDied() { h.g.server.SharePort() }

// close ends what Build has begun, if the hand-over fails.
func (h *taker) close() {
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
// anew if that process drains or has ended.
func succeed(ctx context.Context, start launch, wire *handover.Wire) error {
	log := start.book.Logger
	h := &taker{start: start, log: log, before: wire.Pid()}
	if start.report != nil && h.before == 1 {
		wire.Close()
		return errors.New("the running gateway is the first process of its container, which ends with it: hand over to another container, see docs/handover.md")
	}
	v := handover.Take(ctx, wire, h, handover.DefaultPace)
	switch {
	case v.Owned && v.Err != nil, !v.Owned && !v.Alone:
		h.close()
		return fmt.Errorf("take over from the running gateway: %w", v.Err)
	case v.Alone:
		log.Warn("nothing is handed over", "why", v.Why)
		start.report.say("nothing is handed over: %v", v.Why)
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
		h.collect()
		h.alone()
	}
	return r.during(ctx, h.g, func(ctx context.Context) error { return h.g.attend(ctx, h.ended) })
}
