package main

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// stopTimeout is the part of SHUTDOWN_TIMEOUT that is reserved for stopping the
// engine after the sessions have been drained. It gets all the time that
// draining leaves.
const stopTimeout = 2 * time.Second

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

// read begins to read the log of the services' events. It continues when ctx is
// over, until stopReading is called: clients get events until they are drained.
func (g *Gateway) read(ctx context.Context) {
	ctx, g.stopReading = context.WithCancel(context.WithoutCancel(ctx))
	g.reading = g.consume(ctx)
}

// listen starts the event loops. ended receives the result of their end.
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

// attend does a gateway's work outside the event loops, until ctx is cancelled
// and it has drained, or another process has taken its place. It returns an
// error if the engine ends by itself.
func (g *Gateway) attend(ctx context.Context, ended <-chan error) error {
	if g.gate != nil {
		defer g.gate.Close()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.announce()
	watching, enough := context.WithCancel(context.Background())
	defer enough()
	go g.watchMemory(watching)
	g.notifySystemd(watching)
	defer g.publishOutgoing()()
	g.report.serves()
	if g.takes == nil { // else it has begun before
		g.joinCluster()
	}
	if g.fleet != nil {
		g.fleet.Start(g.hub)
		defer g.fleet.Close()
	}
	if g.canary != nil {
		go g.canary.run(ctx)
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
// Clients that are still connected get events meanwhile.
func (g *Gateway) shutDown(ended <-chan error) error {
	notify(g.log, daemon.SdNotifyStopping)
	g.log.Info("draining", "sessions", g.server.Stats().Sessions, "period", g.cfg().Shutdown.DrainPeriod)
	start := time.Now()
	limit := start.Add(g.cfg().Shutdown.Timeout)
	drain, cancel := context.WithDeadline(context.Background(), limit.Add(-stopTimeout))
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
	stop, cancel := context.WithTimeout(context.Background(), max(time.Until(limit), stopTimeout))
	defer cancel()
	g.leaveCluster(stop)
	if err := g.server.Stop(stop); err != nil {
		return fmt.Errorf("stop the engine: %w", err)
	}
	err := <-ended
	g.log.Info("stopped", "after", time.Since(start).Round(time.Millisecond))
	return err
}

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
