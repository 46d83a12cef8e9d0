package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/bench/report"
)

const (
	simulatedSessions = 1_000_000
	simulationLimit   = 5 * time.Minute
)

// millionScenario measures the gateway above the sockets, in one process: real
// sessions, rooms, timers and broadcasts, and connections that only count what
// is written. The simulation is a benchmark of package loop.
func millionScenario(t *trial) error {
	ctx, cancel := context.WithTimeout(context.Background(), simulationLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkSimulated$",
		"-benchtime", "1x", "-timeout", simulationLimit.String(), "./loop", "-simulated", strconv.Itoa(simulatedSessions))
	cmd.Dir = t.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	v, err := parseSimulation(string(out))
	if err != nil {
		return err
	}
	v["sessions"] = simulatedSessions
	t.row("million", "sessions", report.Row{Values: v})
	return nil
}

// parseSimulation reads the one line of figures: pairs of a value and a unit.
func parseSimulation(out string) (map[string]float64, error) {
	lines := strings.Split(out, "\n")
	at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "BenchmarkSimulated") })
	if at < 0 {
		return nil, fmt.Errorf("no line of BenchmarkSimulated in %q", out)
	}
	v := make(map[string]float64)
	fields := strings.Fields(lines[at])
	if len(fields) < 2 {
		return nil, fmt.Errorf("figures of %q: none", lines[at])
	}
	for pair := range slices.Chunk(fields[2:], 2) { // after the name and the count
		n, err := strconv.ParseFloat(pair[0], 64)
		if len(pair) < 2 || err != nil {
			return nil, fmt.Errorf("figure %q in %q", pair, lines[at])
		}
		v[pair[1]] = n
	}
	var missing []error
	for _, unit := range report.SimulationUnits() {
		if _, ok := v[unit]; !ok {
			missing = append(missing, fmt.Errorf("no %s in %q", unit, lines[at]))
		}
	}
	return v, errors.Join(missing...)
}
