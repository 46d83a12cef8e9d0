package main

import (
	"fmt"
	"time"

	"github.com/hometrip/gateway/bench/load"
)

const nodesPace = 2000.0 // chat events per second, whatever the number of nodes

// nodesScenario seats the two members of each room on two different nodes and
// lets them type. What one event costs should not depend on how many other
// nodes there are.
func nodesScenario(t *trial) error {
	counts := []int{1, 2, 4}
	if t.full {
		counts = append(counts, 8)
	}
	for _, n := range counts {
		if err := t.nodesOf(n); err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
		t.end()
		t.cleanups = nil
	}
	return nil
}

func (t *trial) nodesOf(n int) error {
	redis, err := t.redis()
	if err != nil {
		return err
	}
	for range n {
		if _, err := t.serve(quietPing, redisEnv(redis)...); err != nil {
			return err
		}
	}
	w, err := t.load(chatConns)
	if err != nil {
		return err
	}
	if err := t.chatRooms(w); err != nil {
		return err
	}
	before := t.helperCPU(redis)
	s, err := t.measure(func() (*load.Result, error) {
		return w.Chat(load.ChatArgs{Last: chatConns, Rate: nodesPace, For: 4 * t.window()})
	})
	if err != nil {
		return err
	}
	redisCPU := t.helperCPU(redis) - before
	t.record(fmt.Sprint(n), s, map[string]float64{
		"nodes": float64(n), "redis_us": float64(redisCPU.Microseconds()) / float64(max(s.Units, 1)),
	})
	return nil
}

func redisEnv(redis *helper) []string {
	return []string{"USE_REDIS=true", "REDIS_HOST=127.0.0.1", "REDIS_PORT=" + redis.portText()}
}

// fleetConns is what one process can hold: RLIMIT_NOFILE is 20,000 on many
// machines, and a server needs a few descriptors for itself.
const fleetConns = 18000

// fleetScenario fills several processes, joined by Redis, and sends to all of
// their connections at once. Every connection is a socket of one user.
func fleetScenario(t *trial) error {
	const (
		processes = 6
		ping      = 25 * time.Second
		rate      = 0.2 // broadcasts per second
		length    = 30 * time.Second
		patience  = 20 * time.Second // for the last broadcast to reach everyone
	)
	t.pin = false // the servers together get what the machine has
	redis, err := t.redis()
	if err != nil {
		return err
	}
	for range processes {
		if _, err := t.serve(ping, redisEnv(redis)...); err != nil {
			return err
		}
	}
	low, err := t.fleetFootprint()
	if err != nil {
		return err
	}
	all := t.servers
	for i := range all {
		t.servers = all[i : i+1]
		w, err := t.load(fleetConns)
		t.servers = all
		if err != nil {
			return err
		}
		if err := t.must(w.Dial(load.DialArgs{Last: fleetConns, Window: dialWindow, PerUser: everybody})); err != nil {
			return err
		}
		t.progress("    %d connections", (i+1)*fleetConns)
	}
	high, err := t.fleetFootprint()
	if err != nil {
		return err
	}
	idle, err := t.together(func(_ int, w *load.Client) (*load.Result, error) { return w.Idle(ping) })
	if err != nil {
		return err
	}
	conns := float64(processes * fleetConns)
	t.record("idle", idle, map[string]float64{
		"conns": conns, "nodes": processes, "pings": float64(idle.Pings),
		"bytes_per_conn":        (high.rss - low.rss) / conns,
		"kernel_bytes_per_conn": (high.slab - low.slab) / conns / 2,
		"heartbeat_percent":     idle.cpu.Seconds() / idle.Elapsed.Seconds() * 100,
	})
	var sent uint64
	broadcast, err := t.together(func(i int, w *load.Client) (*load.Result, error) {
		args := load.FanoutArgs{Source: load.SourceListen, Last: fleetConns, For: length + patience, Token: publishToken}
		if i == 0 {
			args.Source, args.Rate, args.For = load.SourceUser, rate, length
		}
		r, err := w.Fanout(args)
		if i == 0 && err == nil {
			sent = r.Events
		}
		return r, err
	})
	if err != nil {
		return err
	}
	if want := sent * processes * fleetConns; broadcast.Units < want {
		broadcast.Lost = want - broadcast.Units
	}
	t.record("broadcast", broadcast, map[string]float64{"conns": conns, "nodes": processes})
	return nil
}

// fleetFootprint sums up the memory of all servers.
func (t *trial) fleetFootprint() (footprint, error) {
	time.Sleep(t.settle())
	var sum footprint
	for _, s := range t.servers {
		rss, err := residentOf(s.pid())
		if err != nil {
			return sum, s.alive()
		}
		sum.rss += float64(rss)
	}
	_, slab := kernelMemory()
	sum.slab = float64(slab)
	return sum, nil
}

// together runs one phase on all workers at once and adds up their results.
func (t *trial) together(phase func(i int, w *load.Client) (*load.Result, error)) (sample, error) {
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
		return load.Sum(results), nil
	})
}
