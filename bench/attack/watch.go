package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hometrip/gateway/bench/process"
)

const watchInterval = 200 * time.Millisecond

// observation is what a watcher measured during a row.
type observation struct {
	rss         int64   // most, bytes
	descriptors int     // most
	turnAge     float64 // most, seconds
	health      time.Duration
	unhealthy   []string // answers of /health that were not 200, or late

	length             time.Duration
	gateway, attackers time.Duration // CPU
	machine            float64       // share of all cores that was busy, whoever with
}

// A watcher looks at the gateway while a row is played, as its operator and as
// its load balancer do.
type watcher struct {
	t        *target
	probed   string // host:port that /health is asked for on
	stop     chan struct{}
	done     sync.WaitGroup
	observed observation

	began, cpu, own time.Duration
	busy, idle      float64
}

func watch(t *target, probed string) *watcher {
	w := &watcher{t: t, probed: probed, stop: make(chan struct{})}
	w.began = time.Duration(time.Now().UnixNano())
	w.cpu, _ = process.CPU(t.PID())
	w.own = ownCPU()
	w.busy, w.idle = machineCPU()
	w.done.Go(func() { w.every(w.sampleProcess) })
	w.done.Go(func() { w.every(w.probeHealth) })
	return w
}

func (w *watcher) every(look func()) {
	for {
		look()
		select {
		case <-time.After(watchInterval):
		case <-w.stop:
			return
		}
	}
}

func (w *watcher) sampleProcess() {
	p, err := w.t.footprint()
	if err != nil {
		return // judge meets it again
	}
	w.observed.rss = max(w.observed.rss, p.Resident)
	w.observed.descriptors = max(w.observed.descriptors, p.Descriptors)
	w.observed.turnAge = max(w.observed.turnAge, p.Metrics["loop_turn_age_seconds"])
}

// probeHealth is a load balancer's question, from an address and on a connection
// of its own.
func (w *watcher) probeHealth() {
	client := http.Client{Timeout: healthBound, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.2.0.1")}}).DialContext,
	}}
	began := time.Now()
	res, err := client.Get("http://" + w.probed + "/health")
	switch {
	case err != nil:
		w.observed.unhealthy = append(w.observed.unhealthy, err.Error())
		return
	case res.StatusCode != http.StatusOK:
		w.observed.unhealthy = append(w.observed.unhealthy, res.Status)
	}
	res.Body.Close()
	w.observed.health = max(w.observed.health, time.Since(began))
}

// end stops watching.
func (w *watcher) end() observation {
	close(w.stop)
	w.done.Wait()
	s := &w.observed
	s.length = time.Duration(time.Now().UnixNano()) - w.began
	cpu, _ := process.CPU(w.t.PID())
	s.gateway, s.attackers = cpu-w.cpu, ownCPU()-w.own
	busy, idle := machineCPU()
	s.machine = (busy - w.busy) / (busy - w.busy + idle - w.idle)
	return *s
}

// ownCPU is what this process, the attackers', has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// machineCPU is how long all cores have been busy and idle, in ticks.
func machineCPU() (busy, idle float64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, field := range strings.Fields(line)[1:] {
		n, _ := strconv.ParseFloat(field, 64)
		switch i {
		case 3, 4: // idle, iowait
			idle += n
		case 0, 1, 2, 5, 6, 7: // user, nice, system, irq, softirq, steal
			busy += n
		}
	}
	return busy, idle
}

// share is a CPU time as a part of one core.
func (s *observation) share(cpu time.Duration) string {
	return percent(cpu.Seconds() / s.length.Seconds())
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }
