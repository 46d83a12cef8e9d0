package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

const (
	handoverAfter = time.Second     // of deliveries
	handoverPhase = 5 * time.Second // of deliveries, in which it happens
	handoverLimit = 30 * time.Second
)

// handoverScenario has a new process take over all connections, under paced
// deliveries: how long the clients' stream stands still, against their number.
// The worst latency of a delivery is what a client waits.
func handoverScenario(t *trial) error {
	sizes := []int32{1000, 5000}
	if t.full {
		sizes = []int32{1000, 5000, 10000, 18000}
	}
	for _, n := range sizes {
		if err := t.handOver(n); err != nil {
			return err
		}
		t.stopAll()
	}
	return nil
}

func (t *trial) handOver(n int32) error {
	dir, err := os.MkdirTemp("", "handover-") // mode 0700, and a short path
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := "HANDOVER_SOCKET=" + filepath.Join(dir, "s")
	before, err := t.serve(quietPing, socket)
	if err != nil {
		return err
	}
	w, err := t.load(int(n))
	if err != nil {
		return err
	}
	if err := t.must(w.Dial(load.DialArgs{Last: n, Window: dialWindow, PerUser: everybody})); err != nil {
		return err
	}
	resident, err := process.Resident(before.PID())
	if err != nil {
		return err
	}
	taken := make(chan error, 1)
	go func() {
		time.Sleep(handoverAfter)
		taken <- t.succeed(before, socket)
	}()
	r, err := w.Fanout(load.FanoutArgs{
		Source: load.SourceUser, Token: publishToken, Last: n, Rate: pacedDeliveries / float64(n), For: handoverPhase,
	})
	if err := errors.Join(err, <-taken); err != nil {
		return err
	}
	after := t.servers[0]
	now, err := process.Resident(after.PID())
	if err != nil {
		return err
	}
	m, err := process.Scrape(http.DefaultClient, "http://"+after.Addr+"/metrics")
	if err != nil {
		return err
	}
	t.record(fmt.Sprint(n), sample{Result: r}, map[string]float64{
		"conns": float64(n), "pause_ms": 1e3 * m["handover_pause_seconds"],
		"rss_before_mib": float64(resident) / (1 << 20), "rss_mib": float64(now) / (1 << 20),
	})
	return nil
}

// succeed starts a process on the port of one that runs, and waits for the end
// of that one.
func (t *trial) succeed(before *process.Server, socket string) error {
	var port int
	if _, err := fmt.Sscanf(before.Addr, "127.0.0.1:%d", &port); err != nil {
		return err
	}
	next, err := process.Start(process.Launch{
		Argv: t.argv[t.peer], Env: append(append(baseEnv(port, quietPing), t.peer.env...), socket), Port: port, Limit: t.patience,
		Core: t.core(serverCore), Ready: "/health", Dir: filepath.Join(t.tmp, fmt.Sprintf("%s-%d-next", t.peer.name, port)),
	})
	if err != nil {
		return err
	}
	t.servers[0] = next
	for until := time.Now().Add(handoverLimit); before.Alive() == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			before.Stop()
			return fmt.Errorf("the gateway did not hand over within %v: %s", handoverLimit, before.Output())
		}
	}
	return nil
}
