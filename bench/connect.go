package main

import (
	"fmt"
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
	"github.com/hometrip/gateway/bench/report"
)

const (
	dialWindow = 128 // handshakes at a time
	baseConns  = 1000
	// heartbeatPing is short, so that a few of them fit into the measurement; the
	// report scales the cost to the default interval. The connections are opened
	// over one interval too, as they would come, because pings that fall together
	// cost less.
	heartbeatPing      = time.Second
	heartbeatIntervals = 3
	heartbeatConns     = 2000
)

// connectScenario opens baseConns connections, then many more. The slope of
// memory between the two is what a connection costs; all sit in user rooms of
// their own.
func connectScenario(t *trial) error {
	most := int32(5000)
	if t.full || t.peer.reference { // whose figures are compared: what a process grows by anyway must not count
		most = 19000
	}
	s, w, err := t.start(quietPing, int(most))
	if err != nil {
		return err
	}
	if err := t.must(w.Dial(load.DialArgs{Last: baseConns, Window: dialWindow, PerUser: 1})); err != nil {
		return err
	}
	low, err := t.footprint(s)
	if err != nil {
		return err
	}
	loadBefore, err := w.Resident()
	if err != nil {
		return err
	}
	dialed, err := t.measure(func() (*load.Result, error) {
		return w.Dial(load.DialArgs{First: baseConns, Last: most, Window: dialWindow, PerUser: 1})
	})
	if err != nil {
		return err
	}
	t.record("websocket", dialed, nil)
	high, err := t.footprint(s)
	if err != nil {
		return err
	}
	loadAfter, err := w.Resident()
	if err != nil {
		return err
	}
	t.memoryRows(low, high, baseConns, most, float64(load.ConnSize)+float64(loadAfter-loadBefore)/float64(most-baseConns))
	return t.heartbeat()
}

// footprint is memory, once things have settled.
type footprint struct{ rss, heap, tcp, slab float64 }

func (t *trial) footprint(s *process.Server) (footprint, error) {
	time.Sleep(t.settle())
	rss, err := process.Resident(s.PID())
	if err != nil {
		return footprint{}, s.Alive()
	}
	tcp, slab := kernelMemory()
	f := footprint{rss: float64(rss), tcp: float64(tcp), slab: float64(slab)}
	if t.peer.has(canJSON) {
		f.heap = heapOf(s)
	}
	return f, nil
}

// settle is how long memory is left alone before it is read.
func (t *trial) settle() time.Duration {
	if t.full {
		return 3 * time.Second
	}
	return 700 * time.Millisecond
}

func (t *trial) memoryRows(low, high footprint, few, many int32, loadBytes float64) {
	n := float64(many - few)
	v := map[string]float64{
		"conns": float64(many), "rss_mib": high.rss / (1 << 20),
		"bytes_per_conn": (high.rss - low.rss) / n,
		// Both ends of a connection are on this machine: half of it is the server's.
		"kernel_bytes_per_conn": (high.slab - low.slab) / n / 2,
		"load_bytes_per_conn":   loadBytes,
	}
	if high.heap > 0 {
		v["heap_bytes_per_conn"] = (high.heap - low.heap) / n
	}
	t.row("idle", "memory", report.Row{Values: v})
	t.row("memory", fmt.Sprint(few), report.Row{Values: map[string]float64{"conns": float64(few), "rss_mib": low.rss / (1 << 20)}})
	t.row("memory", fmt.Sprint(many), report.Row{Values: map[string]float64{"conns": float64(many), "rss_mib": high.rss / (1 << 20)}})
}

// heartbeat measures pings on a server of its own, whose interval is short.
func (t *trial) heartbeat() error {
	if !t.peer.has(canPing) || t.run > 1 && !t.full && !t.peer.reference {
		return nil
	}
	t.stopAll()
	_, w, err := t.start(heartbeatPing, heartbeatConns)
	if err != nil {
		return err
	}
	if err := t.must(w.Dial(load.DialArgs{
		Last: heartbeatConns, Window: dialWindow, PerUser: 1, Rate: heartbeatConns / heartbeatPing.Seconds(),
	})); err != nil {
		return err
	}
	idle, err := t.measure(func() (*load.Result, error) { return w.Idle(heartbeatIntervals * heartbeatPing) })
	if err != nil {
		return err
	}
	v := idle.values()
	v["conns"], v["pings"] = heartbeatConns, float64(idle.Pings)
	if idle.Pings > 0 {
		v["cpu_us"] = float64(idle.cpu.Nanoseconds()) / 1000 / float64(idle.Pings)
		v["load_us"] = float64(idle.CPU.Nanoseconds()) / 1000 / float64(idle.Pings)
		// Share of a core that 10,000 connections need at the default of 25 s.
		v["percent_per_10k"] = v["cpu_us"] * 10000 / 25 / 1e6 * 100
	}
	row := report.Row{Values: v, Wrong: idle.Wrong(), Problems: problems(idle.Result)}
	row.Blame(missedPings(idle.Result, heartbeatConns, heartbeatIntervals))
	t.row("idle", "heartbeat", row)
	return nil
}

// missedPings says what is wrong with the pings of some whole intervals, or
// nothing. A server's timer ticks, and a ping may come a tick late in each
// round: so an interval's ping may fall outside at either end, but not two.
func missedPings(r *load.Result, conns, intervals uint64) string {
	switch most := conns * (intervals + 1); {
	case r.Least+1 < intervals:
		return fmt.Sprintf("a connection got %d pings in %d intervals", r.Least, intervals)
	case r.Pings > most:
		return fmt.Sprintf("%d pings in %d intervals for %d connections, at most %d are right", r.Pings, intervals, conns, most)
	}
	return ""
}

// pollingScenario is the JavaScript client's default: long-polling, CONNECT
// over it, and the upgrade.
func pollingScenario(t *trial) error {
	most := int32(1200)
	if t.full {
		most = 6000
	}
	_, w, err := t.start(quietPing, int(most))
	if err != nil {
		return err
	}
	warm := int32(200)
	if err := t.must(w.Dial(load.DialArgs{Last: warm, Window: dialWindow, PerUser: 1, Polling: true})); err != nil {
		return err
	}
	dialed, err := t.measure(func() (*load.Result, error) {
		return w.Dial(load.DialArgs{First: warm, Last: most, Window: dialWindow, PerUser: 1, Polling: true})
	})
	if err != nil {
		return err
	}
	t.record("upgrade", dialed, nil)
	return nil
}
