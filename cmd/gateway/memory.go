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

	"github.com/hometrip/gateway/rooms"
)

const (
	// memoryShare is the part of a cgroup's memory that the Go runtime may use;
	// the rest is for memory that the runtime does not count.
	memoryShare = 0.9

	// pendingShare is what may wait for clients that do not read.
	pendingShare = 4

	// roomsShare is what rooms may hold.
	roomsShare = 4

	// Joins are refused if live objects use narrowShare of the limit, and new
	// clients if they use tightShare.
	narrowShare = 0.75
	tightShare  = 0.85

	memoryInterval = 200 * time.Millisecond // between two looks
	quietInterval  = time.Second            // the same after one that found it quiet

	// Garbage is collected and its memory returned to the system if less than
	// quietAllocation was allocated between two checks and the garbage may be
	// wasteLeast and more than one part in wasteShare of what is live. So idle
	// connections do not keep the memory of the burst in which they came.
	quietAllocation = 64 << 10
	wasteLeast      = 1 << 20
	wasteShare      = 8
)

// limitMemory sets the runtime's limit from the memory of the cgroup, unless
// GOMEMLIMIT is set, and returns what the process may use: the machine's memory
// if nothing limits it.
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

// maxHeld returns how many bytes may wait for all clients together.
func (g *Gateway) maxHeld() int {
	if g.cfg().Limits.TotalPendingBytes > 0 {
		return g.cfg().Limits.TotalPendingBytes
	}
	return int(g.memory / pendingShare)
}

// limits returns what a client may do in rooms.
func (g *Gateway) limits() rooms.Limits {
	l := g.cfg().RoomLimits()
	if l.RoomBytes == 0 {
		l.RoomBytes = int(g.memory / roomsShare)
	}
	if g.cluster != nil {
		l.Linger = g.cfg().Cluster.RoomLinger
	}
	return l
}

// watchMemory releases memory when the node is idle, and refuses joins and then
// new clients while memory is short, until ctx ends.
func (g *Gateway) watchMemory(ctx context.Context) {
	const live, objects, free, allocated = 0, 1, 2, 3
	now := []metrics.Sample{
		live:      {Name: "/gc/heap/live:bytes"},
		objects:   {Name: "/memory/classes/heap/objects:bytes"},
		free:      {Name: "/memory/classes/heap/free:bytes"},
		allocated: {Name: "/gc/heap/allocs:bytes"},
	}
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	narrow, tight := false, false
	for before := uint64(0); ; before = now[allocated].Value.Uint64() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		g.hub.Forget(time.Now())
		metrics.Read(now)
		alive := now[live].Value.Uint64()
		if short := float64(alive) > narrowShare*float64(g.memory); short != narrow {
			narrow = short
			g.hub.MemoryIsShort(short)
			g.log.Warn("memory for rooms", "short", short, "liveBytes", alive, "limit", g.memory)
		}
		if short := float64(alive) > tightShare*float64(g.memory); short != tight {
			tight = short
			g.server.Tight(tight)
			g.log.Warn("memory", "short", tight, "liveBytes", alive, "limit", g.memory)
		}
		quiet := now[allocated].Value.Uint64()-before < quietAllocation
		if quiet {
			ticker.Reset(quietInterval)
		} else {
			ticker.Reset(memoryInterval)
		}
		held := now[objects].Value.Uint64() + now[free].Value.Uint64()
		if quiet && held > alive+max(wasteLeast, alive/wasteShare) {
			debug.FreeOSMemory()
		}
	}
}
