package report

import (
	"strings"
	"testing"
)

func sample() *Results {
	r := &Results{Peers: []Peer{{Name: Floor}, {Name: FloorBatch}, {Name: "gateway"}}}
	add := func(peer, kase string, values ...float64) {
		for i, v := range values {
			r.Rows = append(r.Rows, Row{
				Scenario: "fanout", Case: kase, Peer: peer, Run: i + 1,
				Values: map[string]float64{"cpu_us": v, "load_ms": 1, "cpu_ms": 2},
			})
		}
	}
	add(Floor, "single/1000", 4, 5, 3)
	add(FloorBatch, "single/1000", 4)
	add("gateway", "single/1000", 4.4)
	add(Floor, "burst/1000", 4)
	add(FloorBatch, "burst/1000", 0.3)
	add("gateway", "burst/1000", 0.36)
	add(Floor, "single/10", 6)
	return r
}

func TestStatIsMedianMinimumAndMaximum(t *testing.T) {
	s := sample().Stat("fanout", "single/1000", Floor, "cpu_us")
	if s.Median != 4 || s.Least != 3 || s.Most != 5 || s.Runs != 3 {
		t.Errorf("%+v", s)
	}
	if s := sample().Stat("fanout", "single/1000", "nobody", "cpu_us"); s.Runs != 0 {
		t.Errorf("an unknown peer: %+v, want no runs", s)
	}
}

func TestBurstsAreComparedWithTheFloorThatCoalesces(t *testing.T) {
	r := sample()
	for kase, want := range map[string]string{"single/1000": "(1.10×)", "burst/1000": "(1.20×)"} {
		cell := r.cell("fanout", &column{kase: kase, value: "cpu_us", unit: micros, ratio: true}, "gateway", false)
		if !strings.Contains(cell, want) {
			t.Errorf("%s: %q, want %s", kase, cell, want)
		}
	}
}

func TestTheSummaryShowsTheSpreadOfRatios(t *testing.T) {
	r := &Results{}
	add := func(peer string, values ...float64) {
		for i, v := range values {
			r.Rows = append(r.Rows, Row{Scenario: "fanout", Case: "single/1000", Peer: peer, Run: i + 1, Values: map[string]float64{"cpu_us": v}})
		}
	}
	add(Floor, 10, 20, 30)
	add("faster", 8, 18, 24)
	add("as fast", 11, 18, 30)
	add("once", 5)
	for peer, want := range map[string]string{
		"faster": "18.0 (0.90×, 0.80…0.90)", "as fast": "18.0 (0.90×, 0.90…1.10, within the noise)", "once": "5.00 (0.25×)",
	} {
		if got := r.cell("fanout", &column{kase: "single/1000", value: "cpu_us", unit: micros, ratio: true}, peer, false); got != want {
			t.Errorf("%s: %q, want %q", peer, got, want)
		}
	}
}

func TestPointsAreInOrderOfTheirRoomSize(t *testing.T) {
	points := sample().points("fanout", Floor, "cpu_us", after("single/"))
	if len(points) != 2 || points[0].X != 10 || points[1].X != 1000 {
		t.Errorf("%v", points)
	}
}

func TestOneWrongRowFailsAndIsExplained(t *testing.T) {
	r := sample()
	if r.Failed() {
		t.Fatal("failed without a wrong row")
	}
	r.Rows[0].Wrong, r.Rows[0].Problems = 3, []string{"lost 3"}
	text := markdown(r, nil)
	if !r.Failed() || !strings.Contains(text, "Not all were right") || !strings.Contains(text, "lost 3") {
		t.Errorf("failed %v, report: %s", r.Failed(), text)
	}
}

func TestFiguresAreWrittenForReaders(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		u    unit
		want string
	}{
		{0.256, micros, "0.256"}, {7.411, micros, "7.41"}, {601.2, micros, "601"},
		{950, latency, "950 µs"}, {12340, latency, "12.3 ms"}, {2.5e6, latency, "2.50 s"},
		{3.15e6, perSec, "3.15 M"}, {254000, perSec, "254 k"}, {1427, bytes, "1427 B"},
		{13.3 * 1024, bytes, "13.3 KiB"}, {-4.5, mebi, "-4.5 MiB"},
	} {
		if got := format(tt.v, tt.u); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.v, got, tt.want)
		}
	}
}

func TestSimulationResultsAreComparedWithTheirTargets(t *testing.T) {
	r := &Results{Rows: []Row{{Scenario: "million", Case: "sessions", Peer: "gateway", Values: map[string]float64{
		"sessions": 1e6, "heap-B/session": 629, "gc-pause-p99-us": 1311, "heartbeat-ns/session": 343.8,
	}}}}
	text := markdown(r, nil)
	for _, want := range []string{
		"| heap per session | 629 B | at most 1024 B | met |",
		"| GC pause, p99 | 1.31 ms | at most 1.00 ms | **missed** |",
		"of a core | 0.14 % | at most 2.00 % | met |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("report lacks %q", want)
		}
	}
}

func TestEveryTableAndSummaryLineNamesAKnownScenario(t *testing.T) {
	known := map[string]bool{}
	for _, table := range tables {
		known[table.scenario] = true
	}
	for _, line := range summary {
		if !known[line.scenario] {
			t.Errorf("summary line %q: no table of scenario %q", line.title, line.scenario)
		}
	}
}
