package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
	"github.com/hometrip/gateway/bench/report"
)

// TestMain lets the test binary also run as its own helper processes, as the bench
// command does.
func TestMain(m *testing.M) {
	if helped, err := runHelper(os.Args[1:]); helped {
		if err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// world returns a trial of a suite with one peer.
func world(t *testing.T, peerName string) *trial {
	t.Helper()
	root, err := process.Root()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSuite(root, options{peers: peerName, runs: 1, out: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	tr := &trial{suite: s, scenario: &scenario{name: "test"}, peer: s.peers[0], run: 1}
	t.Cleanup(tr.end)
	return tr
}

// right fails the test if a phase failed or anything in it was wrong.
func right(t *testing.T, what string, r *load.Result, err error) *load.Result {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if r.Wrong() > 0 {
		t.Fatalf("%s: %q", what, problems(r))
	}
	return r
}

// Each phase of the load generator runs against the floor servers without any fault
// being counted.
func TestEveryPhaseIsRightAgainstTheFloor(t *testing.T) {
	for _, name := range []string{report.Floor, report.FloorBatch} {
		t.Run(name, func(t *testing.T) {
			const n = 60
			tr := world(t, name)
			_, w, err := tr.start(quietPing, 2*n)
			if err != nil {
				t.Fatal(err)
			}
			for what, args := range map[string]load.DialArgs{
				"dial":             {Last: n / 2, Window: 16, PerUser: 1},
				"poll and upgrade": {First: n / 2, Last: n, Window: 16, PerUser: 1, Polling: true},
			} {
				r, err := w.Dial(args)
				if right(t, what, r, err); r.Units != n/2 {
					t.Fatalf("%s: %d connections, want %d", what, r.Units, n/2)
				}
			}
			r, err := w.Join(load.JoinArgs{Last: n, RoomSize: n})
			if right(t, "join", r, err); r.Units != n*(n-1)/2 {
				t.Fatalf("%d user_joined, want %d", r.Units, n*(n-1)/2)
			}
			short := 50 * time.Millisecond
			for what, args := range map[string]load.FanoutArgs{
				"typing":       {Source: load.SourceTyping, First: 1, Last: n, Window: 2, For: short},
				"typing burst": {Source: load.SourceTyping, First: 1, Last: n, Burst: 32, For: short},
				"room":         {Source: load.SourceRoom, Last: n, Token: publishToken, Window: 2, For: short},
				"room burst":   {Source: load.SourceRoom, Last: n, Token: publishToken, Burst: 32, For: short},
				"room paced":   {Source: load.SourceRoom, Last: n, Token: publishToken, Rate: 200, For: short},
				"user":         {Source: load.SourceUser, First: 7, Last: 8, User: 7, Token: publishToken, Window: 2, For: short},
			} {
				r, err = w.Fanout(args)
				if right(t, what, r, err); r.Units == 0 || r.Latency == nil {
					t.Fatalf("%s: %d deliveries, latency %v", what, r.Units, r.Latency)
				}
			}
			r, err = w.Churn(load.ChurnArgs{First: n, Last: n + 10, For: short})
			if right(t, "churn", r, err); r.Units == 0 {
				t.Fatal("churn: no cycle")
			}
		})
	}
}

// Three floor servers share rooms through Redis. Dialling, joining and chatting across
// them must be without faults.
func TestChatOverServersOfTheFloorIsRight(t *testing.T) {
	for _, name := range []string{report.Floor, report.FloorBatch} {
		t.Run(name, func(t *testing.T) {
			const conns = 120
			tr := world(t, name)
			redis, err := tr.redis()
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := tr.serve(quietPing, redisEnv(redis)...); err != nil {
					t.Fatal(err)
				}
			}
			w, err := tr.load(conns)
			if err != nil {
				t.Fatal(err)
			}
			r, err := w.Dial(load.DialArgs{Last: conns, Window: dialWindow, PerUser: 1})
			right(t, "dial", r, err)
			r, err = w.Join(load.JoinArgs{Last: conns, RoomSize: 2, Window: chatWindow})
			right(t, "join", r, err)
			r, err = w.Chat(load.ChatArgs{Last: conns, Window: conns / 4, For: 100 * time.Millisecond})
			if right(t, "chat", r, err); r.Units == 0 {
				t.Fatal("no event")
			}
		})
	}
}

func TestChatAndHeartbeatAreRightAgainstTheFloor(t *testing.T) {
	tr := world(t, report.Floor)
	const ping = 200 * time.Millisecond
	_, w, err := tr.start(ping, chatConns)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.chatRooms(w); err != nil {
		t.Fatal(err)
	}
	for what, args := range map[string]load.ChatArgs{
		"saturated": {Last: chatConns, Window: chatWindow, For: 100 * time.Millisecond},
		"paced":     {Last: chatConns, Rate: 1000, For: 100 * time.Millisecond},
	} {
		r, err := w.Chat(args)
		if right(t, what, r, err); r.Units == 0 {
			t.Fatalf("%s: no event", what)
		}
	}
	r, err := w.Idle(4 * ping)
	if right(t, "idle", r, err); r.Least == 0 || r.Pings < chatConns {
		t.Errorf("%d pings for %d connections in 4 intervals, the fewest for one %d", r.Pings, chatConns, r.Least)
	}
}

func TestStalledReadersDoNotCountAndReadOnLater(t *testing.T) {
	tr := world(t, report.Floor)
	_, w, err := tr.start(quietPing, 10)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Dial(load.DialArgs{Last: 10, Window: 10, PerUser: everybody})
	right(t, "dial", r, err)
	r, err = w.Fanout(load.FanoutArgs{
		Source: load.SourceUser, Token: publishToken, Last: 10, StallLast: 4, Rate: 200, For: 100 * time.Millisecond,
	})
	if right(t, "fanout", r, err); r.Units != 6*r.Events {
		t.Errorf("%d deliveries of %d events to 6 readers", r.Units, r.Events)
	}
	events := r.Events
	r, err = w.Resume(load.ResumeArgs{Last: 4, Quiet: 100 * time.Millisecond})
	if right(t, "resume", r, err); r.Units != 4*events || r.Least != events {
		t.Errorf("stalled readers got %d events, the fewest for one %d, want all %d for each", r.Units, r.Least, events)
	}
}

func TestDeadServerFailsTheRun(t *testing.T) {
	tr := world(t, report.Floor)
	s, w, err := tr.start(quietPing, 10)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Dial(load.DialArgs{Last: 10, Window: 10, PerUser: 1})
	right(t, "dial", r, err)
	s.Stop()
	r, err = w.Idle(100 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Closed != 10 || r.Wrong() == 0 {
		t.Errorf("closed %d, wrong %d: want 10 and more than 0", r.Closed, r.Wrong())
	}
}

func TestRunWritesAReport(t *testing.T) {
	tr := world(t, "floor")
	s := tr.suite
	s.scenarios = []*scenario{{name: "storm", run: func(t *trial) error {
		_, w, err := t.start(quietPing, 20)
		if err != nil {
			return err
		}
		if err := t.must(w.Dial(load.DialArgs{Last: 20, Window: 20, PerUser: 1})); err != nil {
			return err
		}
		joined, err := t.measure(func() (*load.Result, error) { return w.Join(load.JoinArgs{Last: 20, RoomSize: 20}) })
		if err == nil {
			t.record("join", joined, nil)
		}
		return err
	}}}
	if err := s.runAll(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"report.md", "results.json", "machine.json", "burst.svg", "burst.png"} {
		if info, err := os.Stat(filepath.Join(s.out, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(s.out, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"None was lost", "## Join storm", report.MainBegin, "| floor |"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("report.md lacks %q", want)
		}
	}
}

func TestScenarioThatFailsMakesTheRunFail(t *testing.T) {
	tr := world(t, "floor")
	tr.scenarios = []*scenario{{name: "bad", run: func(t *trial) error {
		_, err := t.serve(quietPing, "PORT=nonsense")
		return err
	}}}
	if err := tr.runAll(); err == nil || !tr.results.Failed() {
		t.Errorf("error %v, failed %v", err, tr.results.Failed())
	}
}

func TestAnUnavailablePeerIsReportedAndDoesNotFailTheRun(t *testing.T) {
	tr := world(t, "floor")
	tr.scenarios = []*scenario{
		{name: "nodes", needs: canRedis},
		{name: "amqp", run: func(*trial) error {
			return fmt.Errorf("2 nodes: %w", unavailable{"not ready: redis is not connected"})
		}},
	}
	if err := tr.runAll(); err != nil || tr.results.Failed() {
		t.Errorf("error %v, failed %v", err, tr.results.Failed())
	}
	b, err := os.ReadFile(filepath.Join(tr.out, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Not available: floor (" + lacking(canRedis) + ")", "Not available: floor (not ready: redis is not connected)",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("report.md lacks %q", want)
		}
	}
}

func TestAServerThatIsNotReadyDiffersFromOneThatDied(t *testing.T) {
	tr := world(t, "floor")
	_, err := tr.serveWith(quietPing, "PORT=nonsense")
	if errors.As(err, new(unavailable)) || err == nil {
		t.Errorf("died at start: %v", err)
	}
	tr.patience = 200 * time.Millisecond
	tr.peer = &peer{name: "floor", ready: "/never"} // the floor answers 400 to it
	tr.argv[tr.peer] = tr.argv[tr.peers[0]]
	var absent unavailable
	if _, err := tr.serveWith(quietPing); !errors.As(err, &absent) || !strings.Contains(absent.reason, "400") {
		t.Errorf("not ready: %v, want it to name the answer", err)
	}
}

func TestPingsMayBeATickLateButNotMissing(t *testing.T) {
	for _, tt := range []struct {
		name         string
		pings, least uint64
		right        bool
	}{
		{"each in its interval", 300, 3, true},
		{"a tick late in each round", 281, 2, true},
		{"early and late at the edges", 400, 3, true},
		{"one connection forgotten", 297, 0, false},
		{"every second left out", 150, 1, false},
		{"too many", 401, 3, false},
	} {
		if got := missedPings(&load.Result{Pings: tt.pings, Least: tt.least}, 100, 3); (got == "") != tt.right {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestUnknownNamesAreRefusedWithTheKnownOnes(t *testing.T) {
	if _, err := chooseScenarios("fanout,fanin"); err == nil || !strings.Contains(err.Error(), "fanout") {
		t.Errorf("scenario: %v", err)
	}
	if _, err := choosePeers("gatway"); err == nil || !strings.Contains(err.Error(), "gateway") {
		t.Errorf("peer: %v", err)
	}
}

func TestLongScenariosRunOnlyWhenNamed(t *testing.T) {
	all, err := chooseScenarios("")
	if err != nil || slices.ContainsFunc(all, func(sc *scenario) bool { return sc.long }) {
		t.Errorf("err %v, a long scenario among the default ones", err)
	}
	if soak, err := chooseScenarios("soak"); err != nil || len(soak) != 1 {
		t.Errorf("soak: %v, %v", soak, err)
	}
}

func TestFlagsHaveDefaultsFromTheEnvironment(t *testing.T) {
	t.Setenv("RUNS", "7")
	t.Setenv("PIN", "off")
	o, err := parse([]string{"-runs", "2"})
	if err != nil || o.runs != 2 || o.pin {
		t.Errorf("runs %d, pin %v, err %v: want the flag to win, and pin off", o.runs, o.pin, err)
	}
	t.Setenv("RUNS", "many")
	if _, err := parse(nil); err == nil || !strings.Contains(err.Error(), "RUNS") {
		t.Errorf("err %v: want it to name RUNS", err)
	}
}
