package main

import (
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

// soakScenario repeats connect, chat, heartbeat and churn until the time is
// over. Memory and descriptors are taken at the end of each round, when
// everybody has gone: they must not grow.
func soakScenario(t *trial) error {
	s, w, err := t.start(25*time.Second, chatConns)
	if err != nil {
		return err
	}
	var first, last footprint
	var descriptors int
	total := new(load.Result)
	began, rounds := time.Now(), 0
	beganCPU, err := t.serverCPU()
	if err != nil {
		return err
	}
	for time.Since(began) < t.soak && !t.stopped.Load() {
		round, err := t.soakRound(w)
		if err != nil {
			return err
		}
		round.Latency = nil // rounds mix latencies of unlike things
		total = load.Sum([]*load.Result{total, round})
		if last, err = t.footprint(s); err != nil {
			return err
		}
		if rounds++; rounds == 1 {
			first, descriptors = last, process.Descriptors(s.PID())
		}
		t.progress("    round %d: %.1f MiB, %d descriptors, %d wrong", rounds, last.rss/(1<<20), process.Descriptors(s.PID()), total.Wrong())
	}
	total.Elapsed = time.Since(began)
	endCPU, err := t.serverCPU()
	if err != nil {
		return err
	}
	hours := total.Elapsed.Hours()
	t.record("all", sample{total, endCPU - beganCPU}, map[string]float64{
		"hours": hours, "rounds": float64(rounds), "first_mib": first.rss / (1 << 20), "last_mib": last.rss / (1 << 20),
		"slope_mib_h": (last.rss - first.rss) / (1 << 20) / hours, "fds_left": float64(process.Descriptors(s.PID()) - descriptors),
	})
	return nil
}

// soakRound takes about half a minute.
func (t *trial) soakRound(w *load.Client) (*load.Result, error) {
	if err := t.chatRooms(w); err != nil {
		return nil, err
	}
	phases := []func() (*load.Result, error){
		func() (*load.Result, error) {
			return w.Chat(load.ChatArgs{Last: chatConns, Rate: chatPace, For: 10 * time.Second})
		},
		func() (*load.Result, error) { return w.Idle(2 * time.Second) },
		func() (*load.Result, error) {
			return w.Chat(load.ChatArgs{Last: chatConns, Window: chatWindow, For: 5 * time.Second})
		},
		func() (*load.Result, error) { return nil, w.Hangup() },
		func() (*load.Result, error) { return w.Churn(load.ChurnArgs{Last: 100, For: 8 * time.Second}) },
		func() (*load.Result, error) { return nil, w.Hangup() },
	}
	total := new(load.Result)
	for _, phase := range phases {
		r, err := phase()
		if err != nil {
			return nil, err
		}
		if r != nil {
			r.Latency = nil
			total = load.Sum([]*load.Result{total, r})
		}
	}
	return total, nil
}
