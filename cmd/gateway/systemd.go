package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// watchdogNotifications is how often a healthy gateway notifies systemd within the
// watchdog interval.
const watchdogNotifications = 4

// notifySystemd notifies a service manager, if there is one (Type=notify), that
// clients are served, and then regularly that the loops are alive, until ctx
// ends.
func (g *Gateway) notifySystemd(ctx context.Context) {
	ready := daemon.SdNotifyReady
	if g.succeeds {
		ready = fmt.Sprintf("MAINPID=%d\n%s", os.Getpid(), ready)
	}
	notify(g.log, ready)
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		g.log.Warn("systemd's watchdog", "error", err)
	}
	if limit == 0 {
		limit = g.watchdog // systemd sets it in the environment of the first process only
	}
	if limit == 0 {
		return
	}
	go watchdog(ctx, limit, g.server.TurnAge, func() { notify(g.log, daemon.SdNotifyWatchdog) })
}

// watchdog calls alive regularly, as long as the loop that lags most has taken
// a turn within half of limit.
func watchdog(ctx context.Context, limit time.Duration, turnAge func(time.Time) time.Duration, alive func()) {
	ticker := time.NewTicker(limit / watchdogNotifications)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			if turnAge(now) < limit/2 {
				alive()
			}
		case <-ctx.Done():
			return
		}
	}
}

// notify sends one line to the service manager, if there is one.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd could not be notified", "state", state, "error", err)
	}
}
