package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sys/unix"
)

const (
	// memoryShare is what the Go runtime may use of a cgroup's memory; the
	// rest is for what it does not count.
	memoryShare = 0.9

	// pendingShare is what may wait for clients that do not read.
	pendingShare = 4

	// tightShare of the limit being in live objects, nobody new is let in.
	tightShare = 0.85

	memoryInterval = time.Second // between two looks
)

// limitMemory has the runtime keep to the memory of its cgroup, unless
// GOMEMLIMIT says otherwise, and returns what the process may use: the
// machine's memory when nothing limits it.
func limitMemory(log *slog.Logger) int64 {
	_, err := memlimit.SetGoMemLimitWithOpts(memlimit.WithRatio(memoryShare))
	if err != nil && !errors.Is(err, memlimit.ErrNoLimit) && !errors.Is(err, memlimit.ErrNoCgroup) {
		log.Warn("the memory limit of the cgroup could not be read", "error", err)
	}
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		log.Info("memory limit", "bytes", limit)
		return limit
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return math.MaxInt64
	}
	return int64(min(uint64(info.Totalram)*uint64(info.Unit), math.MaxInt64))
}

// maxOwed is how many bytes may wait for all slow clients.
func (g *Gateway) maxOwed() int {
	if g.config.MaxTotalPending > 0 {
		return g.config.MaxTotalPending
	}
	return int(g.memory / pendingShare)
}

// watchMemory lets nobody new in while memory is short, until ctx is over.
func (g *Gateway) watchMemory(ctx context.Context) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	tight := false
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(live)
		now := float64(live[0].Value.Uint64()) > tightShare*float64(g.memory)
		if now != tight {
			tight = now
			g.server.Tight(tight)
			g.log.Warn("memory", "short", tight, "liveBytes", live[0].Value.Uint64(), "limit", g.memory)
		}
	}
}
