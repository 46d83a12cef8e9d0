package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/bench/load"
)

// The scenario of a million connections runs with 600 connections. Every case must
// have a row without anything wrong.
func TestACrowdedFleetHasNoWrongRows(t *testing.T) {
	for _, program := range []string{"redis-server", rabbitScript} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	f := crowdedFleet{trial: world(t, "gateway"), size: crowdSize{
		processes: 3, conns: 200, asking: 40, userEvents: 300, roomEvents: 10, idle: time.Second,
	}}
	if err := f.run(); err != nil {
		t.Fatal(err)
	}
	cases := make(map[string]bool)
	for _, row := range f.results.Rows {
		cases[row.Case] = true
		if row.Wrong > 0 && row.Case != "idle" { // no heartbeat is due within a second
			t.Errorf("%s: %d wrong: %q", row.Case, row.Wrong, row.Problems)
		}
	}
	for _, name := range []string{"connect 600", "join", "idle", "users", "room", "recovery", "killed", "after"} {
		if !cases[name] {
			t.Errorf("no row for %q", name)
		}
	}
}

func TestADrawGivesEveryUserOneEventBeforeASecondOne(t *testing.T) {
	for name, draw := range map[string]load.Draw{
		"one group":           {Events: 20, Groups: 1, Size: 10, Step: 10, First: 30},
		"parts of groups":     {Events: 24, Groups: 4, Size: 3, Step: 100, Base: 7},
		"groups without gaps": {Events: 200, Groups: 10, Size: 10, Step: 10},
	} {
		users := make(map[int32]int)
		for k := range draw.Events {
			user := draw.User(draw.Base + k)
			group := (user - draw.First) / draw.Step
			if at := (user - draw.First) % draw.Step; user < draw.First || group >= draw.Groups || at >= draw.Size {
				t.Fatalf("%s: user %d", name, user)
			}
			users[user]++
		}
		if want := int(draw.Groups * draw.Size); len(users) != want {
			t.Errorf("%s: %d users, want %d", name, len(users), want)
		}
		for user, n := range users {
			if n != int(draw.Events)/len(users) {
				t.Errorf("%s: user %d has %d events", name, user, n)
			}
		}
	}
}

func TestACrowdedFleetIsRefusedWithTheLimitThatIsTooLow(t *testing.T) {
	size := crowdSize{processes: 56, conns: fleetConns}
	enough := fleetLimits{descriptors: 20000, ports: 28232, files: 2_466_000, watches: 5_400_000, free: 22 << 30}
	if reason := enough.refuseCrowd(size); reason != "" {
		t.Errorf("refused although there is enough of everything: %q", reason)
	}
	for want, change := range map[string]func(*fleetLimits){
		"RLIMIT_NOFILE":    func(l *fleetLimits) { l.descriptors = 1024 },
		"ports":            func(l *fleetLimits) { l.ports = 100 },
		"file-max":         func(l *fleetLimits) { l.files = 1 << 20 },
		"max_user_watches": func(l *fleetLimits) { l.watches = 1 << 20 },
		"MiB":              func(l *fleetLimits) { l.free = 1 << 30 },
	} {
		little := enough
		change(&little)
		if reason := little.refuseCrowd(size); !strings.Contains(reason, want) {
			t.Errorf("%q, want it to name %s", reason, want)
		}
	}
}
