package main

import (
	"testing"
	"time"

	"github.com/hometrip/gateway/bench/report"
)

// Only what ratios are computed from is run several times by default. A full run, or
// one that names its peers, repeats more. Some scenarios run once, or leave out a
// peer.
func TestOnlyScenariosWithRatiosAreRepeated(t *testing.T) {
	expensive := &scenario{name: "connect", without: []string{report.FloorBatch}}
	cheap, once := &scenario{name: "chat"}, &scenario{name: "slow", once: true}
	floor, batch, node := peers[0], peers[1], &peer{name: "node"}
	for _, tt := range []struct {
		named    string
		full     bool
		scenario *scenario
		peer     *peer
		want     int
	}{
		{"", false, cheap, floor, 3},
		{"", false, cheap, node, 1},
		{"", false, once, floor, 1},
		{"", false, expensive, batch, 0},
		{"", true, expensive, batch, 3},
		{"", true, once, node, 3},
		{"node", false, cheap, node, 3},
		{"node", false, once, node, 1},
		{"floor-batch", false, expensive, batch, 3},
	} {
		s := &suite{options: options{runs: 3, peers: tt.named, full: tt.full}}
		if got := s.runsOf(tt.scenario, tt.peer); got != tt.want {
			t.Errorf("%s at %s, named %q, full %v: %d runs, want %d", tt.scenario.name, tt.peer.name, tt.named, tt.full, got, tt.want)
		}
	}
}

func TestEstimateFollowsTheMeasuredTimes(t *testing.T) {
	quick, slow := &scenario{usual: time.Second}, &scenario{usual: 10 * time.Second}
	steps := []*step{{quick, peers[0], 1}, {quick, peers[1], 1}, {quick, peers[0], 2}, {slow, peers[0], 1}}
	took := map[*step]time.Duration{}
	if got := left(steps, took); got != 13*time.Second {
		t.Errorf("at the start %v, want 13s", got)
	}
	// The first peer takes twice as long as usual, the second one three times as long.
	took[steps[0]], took[steps[1]] = 2*time.Second, 3*time.Second
	if got := left(steps, took); got != 22*time.Second {
		t.Errorf("after two steps %v, want 2s and 20s", got)
	}
	steps = append(steps, &step{slow, peers[2], 1})
	if got := left(steps, took); got != 47*time.Second {
		t.Errorf("with a peer not seen yet %v, want 25s more: the pace of all", got)
	}
}
