package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hometrip/gateway/bench/report"
)

func TestSimulationOutputMustBeComplete(t *testing.T) {
	line := "BenchmarkSimulated-2 \t 5\t 400467596 ns/op"
	for i, unit := range report.SimulationUnits() {
		line += fmt.Sprintf("\t %d.5 %s", i, unit)
	}
	v, err := parseSimulation("goos: linux\n" + line + "\nPASS\n")
	if first := report.SimulationUnits()[0]; err != nil || v[first] != 0.5 || v["ns/op"] != 400467596 {
		t.Errorf("%v, %v", v, err)
	}
	for _, bad := range []string{"PASS", strings.Replace(line, "turn-p99-us", "turn", 1), line + " 7", "BenchmarkSimulated-2"} {
		if _, err := parseSimulation(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
