package main

import (
	"fmt"

	"github.com/hometrip/gateway/bench/load"
)

const nodesPace = 2000.0 // chat events per second, whatever the number of nodes

// nodesScenario seats the two members of each room on two different nodes and
// lets them type: paced, and with a fixed number of events under way. What one
// event costs should not depend on how many other nodes there are.
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
		if _, err := t.serveWith(quietPing, redisEnv(redis)...); err != nil {
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
	for _, phase := range []struct {
		kase string
		args load.ChatArgs
	}{
		{fmt.Sprint(n), load.ChatArgs{Last: chatConns, Rate: nodesPace, For: 4 * t.window()}},
		{fmt.Sprint(n, " saturated"), load.ChatArgs{Last: chatConns, Window: chatWindow, For: 2 * t.window()}},
	} {
		before := t.helperCPU(redis)
		s, err := t.measure(func() (*load.Result, error) { return w.Chat(phase.args) })
		if err != nil {
			return err
		}
		redisCPU := t.helperCPU(redis) - before
		t.record(phase.kase, s, map[string]float64{
			"nodes": float64(n), "redis_us": float64(redisCPU.Microseconds()) / float64(max(s.Units, 1)),
		})
	}
	return nil
}

func redisEnv(redis *helper) []string {
	return []string{"USE_REDIS=true", "REDIS_HOST=127.0.0.1", "REDIS_PORT=" + redis.portText()}
}
