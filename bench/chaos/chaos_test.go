package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/bench/harness"
	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(gatewaytest.Main(m)) }

// brief returns some kinds of faults, each of a short duration.
func brief(chosen ...string) (some []*faultKind) {
	for _, k := range kinds {
		if slices.Contains(chosen, k.name+" "+string(k.to)) {
			short := *k
			short.least, short.most = 400*time.Millisecond, 800*time.Millisecond
			some = append(some, &short)
		}
	}
	return some
}

// A small scenario with several kinds of faults holds all rules, and its report says
// so.
func TestScenario(t *testing.T) {
	o := options{
		seed: 4, duration: 4 * time.Second, clients: 60, nodes: 3, rate: 100, calm: 500 * time.Millisecond,
		kinds:    brief("kill -9 of gateway", "cut of the way to RabbitMQ of gateway", "kill -9 of Redis", "reset in flight on the ways of the clients of gateway"),
		settings: []string{"NODE_LEASE=1000"},
	}
	r, err := judged(o, gatewaytest.Program(t), t.TempDir())
	testkit.Need(t, err)
	if r.broken() {
		t.Errorf("%q %q %+v", r.failed, r.wrong, r.returns)
	}
	if r.returns.within.recovered == 0 || r.returns.dead.returns == 0 {
		t.Errorf("reconnects: %+v, want some recovered and some after a kill", r.returns)
	}
	if len(r.rounds) == 0 || r.confirmed == 0 || r.once < r.confirmed || r.stays <= len(r.clients) {
		t.Errorf("%d rounds, %s", len(r.rounds), r.deliveries())
	}
	dir := t.TempDir()
	if err := r.write(&harness.Workspace{Report: dir}); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(dir + "/chaos.md")
	if err != nil || !strings.Contains(string(b), "SEED=4") || !strings.Contains(string(b), "then killed for good") || !strings.Contains(string(b), "Verdict: **held**") {
		t.Errorf("%v %s", err, b)
	}
	r.fail("the directory is wrong")
	if err := r.write(&harness.Workspace{Report: dir}); err == nil {
		t.Error("a failed scenario caused no error")
	}
}

// Hand-overs lose no event and disconnect no client. Only the kill in the last round
// disconnects clients.
func TestHandOversLoseNoEventAndDisconnectNoClient(t *testing.T) {
	o := options{
		seed: 5, duration: 6 * time.Second, clients: 60, nodes: 3, rate: 100, calm: 500 * time.Millisecond,
		kinds: brief("hand-over of gateway"),
	}
	r, err := judged(o, gatewaytest.Program(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if r.broken() || r.once < r.confirmed {
		t.Errorf("%q %q %s", r.failed, r.wrong, r.deliveries())
	}
	launches := 0
	for _, n := range r.cluster.nodes {
		launches += n.launches
	}
	handOvers := r.rounds[:len(r.rounds)-1]
	if launches < 4 || len(handOvers) == 0 {
		t.Errorf("%d processes, %d rounds; want 4 processes or more and a hand-over", launches, len(r.rounds))
	}
	for _, round := range handOvers {
		if round.ended > 0 {
			t.Errorf("%s: %d connections were closed, want none", round, round.ended)
		}
	}
}

func TestTheSeedDeterminesThePlan(t *testing.T) {
	deal := func(seed uint64) (s string) {
		p := newPlan(seed, kinds, 3)
		for range 20 {
			s += (&round{faults: p.next()}).String() + "\n"
		}
		return s
	}
	one := deal(1)
	if again, other := deal(1), deal(2); again != one || other == one {
		t.Errorf("seed 1:\n%sagain:\n%sseed 2:\n%s", one, again, other)
	}
	for _, k := range kinds {
		if !strings.Contains(one, k.name+" "+string(k.to)) {
			t.Errorf("the fault %s %s is not in the plan\n%s", k.name, k.to, one)
		}
	}
}

// The directory in Redis is compared with where the clients are. Each kind of wrong
// entry must be an error.
func TestDirectoryIsCompared(t *testing.T) {
	s := &scenario{}
	for i := range 4 {
		c := (&clientPool{}).client(1, i, i%2, -1)
		c.at.Store(int32(i / 2))
		s.clients = append(s.clients, c)
	}
	right := func() map[string][]string {
		return map[string][]string{
			"user:u0": {"100"}, "user:u1": {"100"}, "user:u2": {"200"}, "user:u3": {"200"},
			"conversation:0": {"200", "100"}, "conversation:1": {"100", "200"},
		}
	}
	if err := s.compare(right()); err != nil {
		t.Error(err)
	}
	for what, corrupt := range map[string]func(map[string][]string){
		"a room lacks a gateway":   func(d map[string][]string) { d["conversation:0"] = []string{"100"} },
		"a room has one too many":  func(d map[string][]string) { d["conversation:0"] = []string{"100", "200", "300"} },
		"a room is not there":      func(d map[string][]string) { delete(d, "conversation:1") },
		"an empty room is there":   func(d map[string][]string) { d["conversation:9"] = []string{"100"} },
		"a gateway has two":        func(d map[string][]string) { d["user:u3"] = []string{"300"} },
		"a user is in two places":  func(d map[string][]string) { d["user:u3"] = []string{"100", "200"} },
		"a former session is left": func(d map[string][]string) { d["user:u0"] = []string{"99"} },
	} {
		d := right()
		corrupt(d)
		if err := s.compare(d); err == nil {
			t.Errorf("%s: compare found no error in %v", what, fmt.Sprint(d))
		}
	}
}
