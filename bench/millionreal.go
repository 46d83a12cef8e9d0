package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

const (
	millionPing    = 2 * time.Minute // heartbeats that two cores carry
	millionTimeout = time.Minute     // for a pong: clients answer nothing between two phases
	millionWindow  = 24              // handshakes of a load process at a time
	millionEvery   = 10              // of so many connections one is in a conversation
	millionIdle    = 2 * millionPing
	millionWatch   = 20 * time.Second
	// millionMemory is what one connection takes: both ends, and the kernel's
	// share of them.
	millionMemory = 12 << 10 // bytes
	millionPace   = 250.0    // events for users a second: each of 56 gateways reads them all
	roomPace      = 20.0     // events for the conversation a second
	// recoveredLeast is how many of a hundred clients must be recovered. A node that
	// is asked for a session has three seconds to answer, which may not be enough when a
	// hundred processes share two cores; the client is told that it has missed something.
	recoveredLeast = 90

	gatherWindow = 1 // joins of a load process at a time
	gatherGroup  = 8 // processes that have conversations with each other
	fillTogether = 4 // load processes that open connections at a time: more only keep each other waiting
	idleStep     = time.Second

	// Redis and RabbitMQ have hosts of their own elsewhere. Here they get more of the
	// processor than each of the hundred other processes: about 28 times its share.
	storesNiceness = -20
	crowdNiceness  = -5
)

// A crowdedFleet is as many gateways as load processes, in one cluster: one
// RabbitMQ with the log of events, and one Redis. Load process i is the clients
// of gateway i. Owned by the main goroutine.
type crowdedFleet struct {
	*trial
	size   crowdSize
	broker *helper
	killed *process.Server // nil: all run
}

// crowdSize is how large the fleet is and what it does.
type crowdSize struct {
	processes  int
	conns      int32 // of a process
	asking     int32 // of a process: they ask for recovery, and are cut
	userEvents uint32
	roomEvents uint32
	idle       time.Duration
	watch      time.Duration // of all clients, from when a process is killed
}

// millionRealScenario is a million real connections on one machine.
func millionRealScenario(t *trial) error {
	f := crowdedFleet{trial: t, size: crowdSize{
		processes: 56, conns: fleetConns, asking: 180, userEvents: 100_000, roomEvents: 100, idle: millionIdle, watch: millionWatch,
	}}
	if reason := limitsHere().refuseCrowd(f.size); reason != "" {
		return unavailable{reason}
	}
	return f.run()
}

func (f *crowdedFleet) run() error {
	f.pin = false // the servers together get what the machine has
	if err := f.start(); err != nil {
		return err
	}
	for _, phase := range []func() error{f.fill, f.gather, f.idle, f.users, f.room, f.recovery, f.kill} {
		if err := phase(); err != nil {
			return err
		}
	}
	return nil
}

// start starts Redis, RabbitMQ, the gateways and the load processes.
func (f *crowdedFleet) start() error {
	f.niceness = storesNiceness
	redis, err := f.redis()
	if err != nil {
		return err
	}
	if f.broker, err = f.rabbit(); err != nil {
		return err
	}
	f.niceness = crowdNiceness
	env := append(redisEnv(redis), "USE_RABBITMQ=true", "RABBITMQ_HOST=127.0.0.1", "RABBITMQ_PORT="+f.broker.portText(),
		"EVENT_LOG=rabbitmq", "PING_TIMEOUT="+strconv.FormatInt(millionTimeout.Milliseconds(), 10))
	for range f.size.processes {
		if _, err := f.serveWith(millionPing, env...); err != nil {
			return err
		}
	}
	for i := range f.servers {
		servers := slices.Concat(f.servers[i:], f.servers[:i])
		if _, err := f.loadTo(load.SetupArgs{Max: int(f.size.conns), Home: true}, servers); err != nil {
			return err
		}
	}
	return nil
}

// all is how many connections there are.
func (f *crowdedFleet) all() int { return f.size.processes * int(f.size.conns) }

// fill opens the connections, those of a few processes at a time, and takes the
// memory after each step. The clients that are there answer their heartbeats.
func (f *crowdedFleet) fill() error {
	low, err := f.fleetFootprint()
	if err != nil {
		return err
	}
	loadLow, free, began := f.loadResident(), limitsHere().free, time.Now()
	for first := 0; first < f.size.processes; first += fillTogether {
		last := min(first+fillTogether, f.size.processes)
		dialed, err := f.fillSome(first, last)
		if err != nil {
			return err
		}
		high, err := f.fleetFootprint()
		if err != nil {
			return err
		}
		n := float64(last) * float64(f.size.conns)
		f.record(fmt.Sprint("connect ", int(n)), dialed, map[string]float64{
			"conns": n, "nodes": float64(f.size.processes), "since_s": time.Since(began).Seconds(), "rss_mib": high.rss / (1 << 20),
			"machine_mib":           (float64(free) - float64(limitsHere().free)) / (1 << 20),
			"bytes_per_conn":        (high.rss - low.rss) / n,
			"kernel_bytes_per_conn": (high.slab - low.slab) / n / 2, // half of it is the clients'
		})
		if dialed.Wrong() > 0 {
			return fmt.Errorf("while connecting: %q; the gateways' counters: %s", problems(dialed.Result), f.refusals())
		}
	}
	full := f.results.Rows[len(f.results.Rows)-1].Values
	full["fds"] = float64(f.mostDescriptors())
	full["load_bytes_per_conn"] = float64(load.ConnSize) + (f.loadResident()-loadLow)/float64(f.all())
	return nil
}

// fillSome has load processes first to last-1 open all their connections, while
// those before them are idle.
func (f *crowdedFleet) fillSome(first, last int) (sample, error) {
	var dialing atomic.Int32
	dialing.Store(int32(last - first))
	return f.together(func(i int, w *load.Client) (*load.Result, error) {
		switch {
		case i >= last:
			return new(load.Result), nil
		case i >= first:
			defer dialing.Add(-1)
			return w.Dial(load.DialArgs{
				Last: f.size.conns, Window: millionWindow, PerUser: 1, FirstUser: int32(i) * f.size.conns, Ask: f.size.asking,
			})
		}
		idle, err := idleWhile(w, func() bool { return dialing.Load() > 0 })
		if err == nil {
			idle.Elapsed, idle.Pings, idle.Least = 0, 0, 0
		}
		return idle, err
	})
}

// idleWhile has clients only answer heartbeats.
func idleWhile(w *load.Client, more func() bool) (*load.Result, error) {
	sum := new(load.Result)
	for more() {
		r, err := w.Idle(idleStep)
		if err != nil {
			return nil, err
		}
		sum = load.Sum([]*load.Result{sum, r})
	}
	return sum, nil
}

// refusals are the counters of all gateways by which they refuse somebody.
func (f *crowdedFleet) refusals() string {
	sums := make(map[string]float64)
	for _, s := range f.servers {
		m, err := process.Scrape(http.DefaultClient, "http://"+s.Addr+"/metrics")
		if err != nil {
			return err.Error()
		}
		for name, v := range m {
			if strings.Contains(name, "refused") && v > 0 {
				sums[name] += v
			}
		}
	}
	return fmt.Sprint(sums)
}

// gather has one connection in ten join a conversation: one with a member on
// every process, the others with members on eight.
func (f *crowdedFleet) gather() error {
	var results []*load.Result
	s, err := f.togetherEach(&results, func(i int, w *load.Client) (*load.Result, error) {
		return w.Gather(load.GatherArgs{
			Every: millionEvery, Window: gatherWindow, Workers: int32(f.size.processes), Group: gatherGroup, Self: int32(i),
			Step: f.size.conns,
		})
	})
	if err != nil {
		return err
	}
	pairs, unmet := load.Unmet(results, gatherGroup)
	s.Lost += unmet
	f.record("join", s, map[string]float64{"pairs": float64(pairs), "joins": float64(s.Events)})
	return nil
}

// crowd runs one phase on all load processes while services publish, and records
// it.
func (f *crowdedFleet) crowd(kase string, args func(i int) load.CrowdArgs, publish func() error) (sample, error) {
	published := make(chan error, 1)
	s, err := f.together(func(i int, w *load.Client) (*load.Result, error) {
		if i == 0 {
			go func() { published <- publish() }()
		}
		return w.Crowd(args(i))
	})
	if err != nil {
		return s, err
	}
	if err := <-published; err != nil {
		return s, err
	}
	v := map[string]float64{"back": float64(s.Back), "recovered": float64(s.Resumed), "told": float64(s.Told), "pings": float64(s.Pings)}
	if s.Back > 0 {
		v["cpu_us_back"] = float64(s.cpu.Nanoseconds()) / 1000 / float64(s.Back)
	}
	if s.Pings > 0 {
		v["beat_us"] = float64(s.cpu.Nanoseconds()) / 1000 / float64(s.Pings)
	}
	f.record(kase, s, v)
	return s, nil
}

func nothing() error { return nil }

// idle only has heartbeats.
func (f *crowdedFleet) idle() error {
	before, err := f.fleetFootprint()
	if err != nil {
		return err
	}
	s, err := f.crowd("idle", func(int) load.CrowdArgs { return load.CrowdArgs{For: f.size.idle} }, nothing)
	if err != nil {
		return err
	}
	after, err := f.fleetFootprint()
	row := &f.results.Rows[len(f.results.Rows)-1]
	row.Values["growth_mib"] = (after.rss - before.rss) / (1 << 20)
	if least := uint64(f.all()) * uint64(f.size.idle/millionPing); s.Pings+uint64(f.all())/50 < least {
		row.Blame(fmt.Sprintf("%d pings, %d were due", s.Pings, least))
	}
	return err
}

// publishDrawn publishes an event to each user that a draw gives.
func (f *crowdedFleet) publishDrawn(draw load.Draw) error {
	return publishConfirmed(f.broker.url(), int(draw.Events), millionPace, func(n int, due int64) (string, []byte) {
		seq := draw.Base + uint32(n)
		return "notification.created", load.NotificationBody(draw.User(seq), seq, due)
	})
}

// publishMeanwhile publishes while the clients answer heartbeats.
func (f *crowdedFleet) publishMeanwhile(draw load.Draw) error {
	var published atomic.Bool
	failed := make(chan error, 1)
	go func() {
		failed <- f.publishDrawn(draw)
		published.Store(true)
	}()
	s, err := f.together(func(_ int, w *load.Client) (*load.Result, error) {
		return idleWhile(w, func() bool { return !published.Load() })
	})
	if err := errors.Join(err, <-failed); err != nil {
		return err
	}
	if s.Wrong() > 0 {
		return fmt.Errorf("while clients were away: %q", problems(s.Result))
	}
	return nil
}

// users publishes one event to each of many users of all processes.
func (f *crowdedFleet) users() error {
	draw := load.Draw{Events: f.size.userEvents, Groups: int32(f.size.processes), Size: f.size.conns, Step: f.size.conns}
	_, err := f.crowd("users", func(int) load.CrowdArgs { return load.CrowdArgs{Users: draw} },
		func() error { return f.publishDrawn(draw) })
	return err
}

// room publishes to the conversation of each process' first connection.
func (f *crowdedFleet) room() error {
	_, err := f.crowd("room", func(int) load.CrowdArgs { return load.CrowdArgs{RoomEvents: f.size.roomEvents} }, f.publishRoom)
	return err
}

func (f *crowdedFleet) publishRoom() error {
	return publishConfirmed(f.broker.url(), int(f.size.roomEvents), roomPace, func(n int, due int64) (string, []byte) {
		return "message.sent", load.MessageBody(0, uint32(n), due)
	})
}

// recovery cuts the clients that ask for it, publishes two events to each while
// they are away, and has them come back: every second one to another process.
func (f *crowdedFleet) recovery() error {
	cut := load.Range{Last: f.size.asking}
	if _, err := f.together(func(_ int, w *load.Client) (*load.Result, error) { return new(load.Result), w.Cut(cut) }); err != nil {
		return err
	}
	draw := load.Draw{
		Base: f.size.userEvents, Events: 2 * uint32(f.size.processes) * uint32(f.size.asking),
		Groups: int32(f.size.processes), Size: f.size.asking, Step: f.size.conns,
	}
	if err := f.publishMeanwhile(draw); err != nil {
		return err
	}
	s, err := f.crowd("recovery", func(int) load.CrowdArgs {
		return load.CrowdArgs{Users: draw, Untimed: true, Back: cut, Window: millionWindow, Home: true}
	}, nothing)
	if err == nil && s.Resumed < s.Back*recoveredLeast/100 {
		f.results.Rows[len(f.results.Rows)-1].Blame(fmt.Sprintf("%d of %d were recovered", s.Resumed, s.Back))
	}
	return err
}

// kill kills one process; its clients come back to the others, and get an event
// each, and the conversation gets its events again.
func (f *crowdedFleet) kill() error {
	last := len(f.servers) - 1
	f.killed = f.servers[last]
	f.servers = f.servers[:last]
	f.cleanups = append(f.cleanups, f.killed.Stop)
	back := func(int) load.CrowdArgs {
		return load.CrowdArgs{Killed: f.killed.Addr, Window: dialWindow, For: f.size.watch}
	}
	if _, err := f.crowd("killed", back, func() error { return syscall.Kill(f.killed.PID(), syscall.SIGKILL) }); err != nil {
		return err
	}
	draw := load.Draw{
		Base: 1 << 30, Events: uint32(f.size.conns),
		First: int32(last) * f.size.conns, Groups: 1, Size: f.size.conns, Step: f.size.conns,
	}
	_, err := f.crowd("after", func(int) load.CrowdArgs { return load.CrowdArgs{Users: draw, RoomEvents: f.size.roomEvents} },
		func() error {
			if err := f.publishRoom(); err != nil { // most processes await nothing else
				return err
			}
			return f.publishDrawn(draw)
		})
	return err
}

// refuseCrowd says why a crowded fleet does not fit on the machine, or nothing.
func (l fleetLimits) refuseCrowd(size crowdSize) string {
	all := uint64(size.processes) * uint64(size.conns)
	switch {
	case l.files < 2*all+all/10:
		return fmt.Sprintf("fs.file-max is %d, %d are needed", l.files, 2*all+all/10)
	case l.watches < 2*all:
		return fmt.Sprintf("fs.epoll.max_user_watches is %d, %d are needed", l.watches, 2*all)
	}
	return l.refuseConns(uint64(size.conns), all, millionMemory)
}
