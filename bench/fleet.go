package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
	"github.com/hometrip/gateway/bench/report"
)

const (
	fleetProcesses = 6
	fleetFull      = 12 // processes with -full
	// fleetConns is what one process holds, on either side: RLIMIT_NOFILE is
	// 20,000 on many machines, and both need some descriptors for themselves.
	fleetConns   = 18000
	fleetReserve = 1000 // descriptors
	// listenFirst is for the clients of the other processes to be ready for the
	// first event.
	listenFirst = time.Second
	// fleetMemory is what one connection takes at the hungriest peer: both ends,
	// and the kernel's share of them.
	fleetMemory = 64 << 10 // bytes
)

// fleetScenario fills several processes and sends to all of their connections
// at once. Every connection is a socket of one user. The processes are joined
// through Redis and a service posts the events to the first of them; where a
// peer's nodes cannot be joined it posts each event to each.
func fleetScenario(t *trial) error {
	const (
		intervals = 2
		rate      = 0.5 // events per second
		length    = 10 * time.Second
		events    = uint32(rate * float64(length/time.Second))
	)
	n, ping := t.fleetSize()
	fleetAll := n * fleetConns
	if reason := limitsHere().refuse(n); reason != "" {
		return unavailable{reason}
	}
	t.pin = false // the servers together get what the machine has
	joined := t.peer.has(canRedis)
	low, high, loadBytes, err := t.fillFleet(n, ping, joined)
	if err != nil {
		return err
	}
	idle, err := t.together(func(_ int, w *load.Client) (*load.Result, error) { return w.Idle(intervals * ping) })
	if err != nil {
		return err
	}
	v := idle.values()
	v["conns"], v["nodes"], v["pings"] = float64(fleetAll), float64(n), float64(idle.Pings)
	v["posts"] = float64(n)
	if joined {
		v["posts"] = 1
	}
	v["bytes_per_conn"] = (high.rss - low.rss) / float64(fleetAll)
	v["kernel_bytes_per_conn"] = (high.slab - low.slab) / float64(fleetAll) / 2 // half of it is the clients'
	v["load_bytes_per_conn"] = float64(load.ConnSize) + loadBytes/float64(fleetAll)
	v["fds"] = float64(t.mostDescriptors())
	if idle.Pings > 0 {
		v["beat_us"] = float64(idle.cpu.Nanoseconds()) / 1000 / float64(idle.Pings)
		v["percent_per_100k"] = v["beat_us"] * 100_000 / 25 / 1e6 * 100
	}
	row := report.Row{Values: v, Wrong: idle.Wrong(), Problems: problems(idle.Result)}
	row.Blame(missedPings(idle.Result, uint64(fleetAll), intervals))
	t.row("fleet", "idle", row)

	broadcast, err := t.together(func(i int, w *load.Client) (*load.Result, error) {
		if joined && i > 0 {
			return w.Fanout(load.FanoutArgs{Source: load.SourceListen, Last: fleetConns, Expect: events})
		}
		if joined {
			time.Sleep(listenFirst)
		}
		return w.Fanout(load.FanoutArgs{
			Source: load.SourceUser, Token: publishToken, Last: fleetConns, Rate: rate, For: length,
		})
	})
	if err != nil {
		return err
	}
	after, err := t.fleetFootprint()
	if err != nil {
		return err
	}
	t.record("broadcast", broadcast, map[string]float64{
		"conns": float64(fleetAll), "growth_mib": (after.rss - high.rss) / (1 << 20),
	})
	return nil
}

// fleetSize is how many processes there are on either side, and an interval of
// heartbeats that two cores carry.
func (t *trial) fleetSize() (processes int, ping time.Duration) {
	if t.full {
		return fleetFull, 30 * time.Second
	}
	return fleetProcesses, 10 * time.Second
}

// fillFleet starts n processes and opens their connections, each from a load
// process of its own, all at the same time: a worker between two phases would
// let its pings pile up. It returns the memory of the servers before and after,
// and what the load processes grew by.
func (t *trial) fillFleet(n int, ping time.Duration, joined bool) (low, high footprint, loadBytes float64, err error) {
	var env []string
	if joined {
		var redis *helper
		if redis, err = t.redis(); err != nil {
			return
		}
		env = redisEnv(redis)
	}
	for range n {
		if _, err = t.serveWith(ping, env...); err != nil {
			return
		}
	}
	if low, err = t.fleetFootprint(); err != nil {
		return
	}
	all := t.servers
	for i := range all {
		t.servers = all[i : i+1]
		_, err = t.load(fleetConns)
		t.servers = all
		if err != nil {
			return
		}
	}
	loadLow := t.loadResident()
	dialed, err := t.together(func(_ int, w *load.Client) (*load.Result, error) {
		return w.Dial(load.DialArgs{Last: fleetConns, Window: dialWindow, PerUser: everybody})
	})
	if err = t.must(dialed.Result, err); err != nil {
		return
	}
	t.record("connect", dialed, map[string]float64{"conns": float64(n * fleetConns)})
	high, err = t.fleetFootprint()
	return low, high, t.loadResident() - loadLow, err
}

// fleetFootprint sums up the memory of all servers.
func (t *trial) fleetFootprint() (footprint, error) {
	time.Sleep(t.settle())
	var sum footprint
	for _, s := range t.servers {
		rss, err := process.Resident(s.PID())
		if err != nil {
			return sum, s.Alive()
		}
		sum.rss += float64(rss)
	}
	_, slab := kernelMemory()
	sum.slab = float64(slab)
	return sum, nil
}

// loadResident is the memory of all load processes, in bytes.
func (t *trial) loadResident() (sum float64) {
	for _, w := range t.workers {
		if rss, err := w.Resident(); err == nil {
			sum += float64(rss)
		}
	}
	return sum
}

func (t *trial) mostDescriptors() (most int) {
	for _, s := range t.servers {
		most = max(most, process.Descriptors(s.PID()))
	}
	return most
}

// together runs one phase on all workers at once and adds up their results.
func (t *trial) together(phase func(i int, w *load.Client) (*load.Result, error)) (sample, error) {
	return t.togetherEach(nil, phase)
}

// togetherEach is together, and gives the results of each worker too.
func (t *trial) togetherEach(each *[]*load.Result, phase func(i int, w *load.Client) (*load.Result, error)) (sample, error) {
	return t.measure(func() (*load.Result, error) {
		results, failures := make([]*load.Result, len(t.workers)), make(chan error, len(t.workers))
		for i, w := range t.workers {
			go func() {
				r, err := phase(i, w)
				results[i] = r
				failures <- err
			}()
		}
		for range t.workers {
			if err := <-failures; err != nil {
				return nil, err
			}
		}
		if each != nil {
			*each = results
		}
		return load.Sum(results), nil
	})
}

// fleetLimits are what the machine sets to the number of connections.
type fleetLimits struct {
	descriptors uint64 // of a process
	ports       uint64 // ephemeral, of one source address
	tcpPages    uint64 // where the kernel begins to save TCP memory
	free        uint64 // bytes
	files       uint64 // of the whole machine
	watches     uint64 // of epoll, of one user
}

func limitsHere() fleetLimits {
	var l fleetLimits
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		l.descriptors = files.Cur
	}
	if ports := numbersIn("/proc/sys/net/ipv4/ip_local_port_range"); len(ports) == 2 {
		l.ports = ports[1] - ports[0] + 1
	}
	if pages := numbersIn("/proc/sys/net/ipv4/tcp_mem"); len(pages) == 3 {
		l.tcpPages = pages[1]
	}
	if files := numbersIn("/proc/sys/fs/file-max"); len(files) == 1 {
		l.files = files[0]
	}
	if watches := numbersIn("/proc/sys/fs/epoll/max_user_watches"); len(watches) == 1 {
		l.watches = watches[0]
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		l.free = uint64(memInfo(string(b), "MemAvailable:"))
	}
	return l
}

func numbersIn(path string) []uint64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var numbers []uint64
	for field := range strings.FieldsSeq(string(b)) {
		n, _ := strconv.ParseUint(field, 10, 64)
		numbers = append(numbers, n)
	}
	return numbers
}

// refuse says why a fleet of n processes does not fit on the machine, or nothing.
func (l fleetLimits) refuse(n int) string {
	all := uint64(n) * fleetConns
	if l.tcpPages < all { // an event on its way takes up to a page
		return fmt.Sprintf("net.ipv4.tcp_mem begins to press at %d pages, %d may be needed", l.tcpPages, all)
	}
	return l.refuseConns(fleetConns, all, fleetMemory)
}

// refuseConns says why connections do not fit on the machine, so many of each
// process and in all, with so many bytes each, or nothing.
func (l fleetLimits) refuseConns(each, all, bytes uint64) string {
	switch {
	case l.descriptors < each+fleetReserve:
		return fmt.Sprintf("RLIMIT_NOFILE is %d, %d are needed", l.descriptors, each+fleetReserve)
	case l.ports*load.SourcesPerWorker < each:
		return fmt.Sprintf("%d ephemeral ports on each of %d addresses, %d are needed", l.ports, load.SourcesPerWorker, each)
	case l.free < all*bytes:
		return fmt.Sprintf("%d MiB are free, %d may be needed", l.free>>20, all*bytes>>20)
	}
	return ""
}
