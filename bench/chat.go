package main

import (
	"fmt"
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

const (
	chatConns  = 2000
	chatWindow = 64
	chatPace   = 4000.0 // events per second
)

// chatScenario is the everyday load: small rooms, everybody typing. Paced at a
// fixed rate for all, and at half of what this peer just did.
func chatScenario(t *trial) error {
	_, w, err := t.start(quietPing, chatConns)
	if err != nil {
		return err
	}
	if err := t.chatRooms(w); err != nil {
		return err
	}
	full, err := t.measure(func() (*load.Result, error) {
		return w.Chat(load.ChatArgs{Last: chatConns, Window: chatWindow, For: 3 * t.window()})
	})
	if err != nil {
		return err
	}
	t.record("saturated", full, nil)
	half := full.values()["per_s"] / 2
	for _, mode := range []struct {
		name string
		rate float64
	}{{"paced", chatPace}, {"half", half}} {
		s, err := t.measure(func() (*load.Result, error) {
			return w.Chat(load.ChatArgs{Last: chatConns, Rate: mode.rate, For: 2 * t.window()})
		})
		if err != nil {
			return err
		}
		t.record(mode.name, s, map[string]float64{"rate": mode.rate})
	}
	return nil
}

// chatRooms connects chatConns clients and seats them in rooms of two.
func (t *trial) chatRooms(w *load.Client) error {
	if err := t.must(w.Dial(load.DialArgs{Last: chatConns, Window: dialWindow, PerUser: 1})); err != nil {
		return err
	}
	return t.must(w.Join(load.JoinArgs{Last: chatConns, RoomSize: 2, Window: chatWindow}))
}

// churnScenario lets 100 slots connect and go. Memory and descriptors are
// compared after a warm-up and at the end.
func churnScenario(t *trial) error {
	const slots = 100
	s, w, err := t.start(quietPing, slots)
	if err != nil {
		return err
	}
	length := 3 * t.window()
	args := load.ChurnArgs{Last: slots, For: length}
	if err := t.must(w.Churn(args)); err != nil {
		return err
	}
	warm, err := t.footprint(s)
	if err != nil {
		return err
	}
	descriptors := process.Descriptors(s.PID())
	churned, err := t.measure(func() (*load.Result, error) { return w.Churn(args) })
	if err != nil {
		return err
	}
	end, err := t.footprint(s)
	if err != nil {
		return err
	}
	t.record("cycle", churned, map[string]float64{
		"rss_warm_mib": warm.rss / (1 << 20), "growth_mib": (end.rss - warm.rss) / (1 << 20),
		"fds_left": float64(process.Descriptors(s.PID()) - descriptors),
	})
	return nil
}

// slowScenario stops half of a user's sockets from reading while 250 large
// notifications a second go to all: first beside nobody slow, for comparison.
func slowScenario(t *trial) error {
	const (
		readers = 100
		stalled = 50
		rate    = 250.0
		pad     = 8000 // bytes: fills the kernel's 4 MB a socket in 2 s
		stall   = 3200 * time.Millisecond
		quiet   = time.Second
	)
	s, w, err := t.start(quietPing, readers)
	if err != nil {
		return err
	}
	if err := t.must(w.Dial(load.DialArgs{Last: readers, Window: readers, PerUser: everybody})); err != nil {
		return err
	}
	args := load.FanoutArgs{
		Source: load.SourceUser, Token: publishToken, Last: readers, Rate: rate, Pad: pad, For: 2 * t.window(),
	}
	before, err := t.measure(func() (*load.Result, error) { return w.Fanout(args) })
	if err != nil {
		return err
	}
	t.record("all read", before, nil)
	low, err := t.footprint(s)
	if err != nil {
		return err
	}
	args.StallLast, args.For = stalled, stall
	peak := t.watchMemory(s)
	during, err := t.measure(func() (*load.Result, error) { return w.Fanout(args) })
	most := peak()
	if err != nil {
		return err
	}
	kicked := min(during.Closed, stalled) // giving a stalled reader up is right
	during.Closed -= kicked
	tcp, _ := kernelMemory()
	resumed, err := w.Resume(load.ResumeArgs{Last: stalled, Quiet: quiet})
	if err != nil {
		return err
	}
	t.record("half stalled", during, map[string]float64{
		"growth_mib": (most - low.rss) / (1 << 20), "tcp_mib": float64(tcp) / (1 << 20),
		"kicked": float64(max(kicked, resumed.Closed)), "stalled_least": float64(resumed.Least),
		"stalled_mean": float64(resumed.Units) / stalled, "stalled_doubled": float64(resumed.Doubled),
	})
	if resumed.Doubled > 0 {
		return fmt.Errorf("stalled readers got %d events twice or out of order", resumed.Doubled)
	}
	return nil
}

// watchMemory samples a server's memory until the function it returns is
// called, which gives the largest.
func (t *trial) watchMemory(s *process.Server) func() float64 {
	const every = 100 * time.Millisecond
	stop, most := make(chan struct{}), make(chan float64)
	go func() {
		var seen float64
		for {
			if rss, err := process.Resident(s.PID()); err == nil {
				seen = max(seen, float64(rss))
			}
			select {
			case <-stop:
				most <- seen
				return
			case <-time.After(every):
			}
		}
	}()
	return func() float64 {
		close(stop)
		return <-most
	}
}
