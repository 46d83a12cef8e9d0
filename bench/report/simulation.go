package report

import (
	"fmt"
	"strings"
)

// measure is one figure of the simulation and what is expected of it.
type measure struct {
	title string
	unit  string // as the simulation prints it, and as Row.Values has it
	form  func(v float64) string
	limit float64 // the most that is right, in unit; 0: nothing is expected
}

var simulation = []measure{
	{"heap per session", "heap-B/session", func(v float64) string { return format(v, bytes) }, 1024},
	{"GC pause, p99", "gc-pause-p99-us", func(v float64) string { return format(v, latency) }, 1000},
	// 2 % of a core for 100,000 sessions at 25 s is 4,000 heartbeats of 5 us a second.
	{"heartbeats of 100,000 sessions at 25 s, of a core", "heartbeat-ns/session",
		func(v float64) string { return format(v/1e9*1e5/defaultInterval*100, percent) }, 5000},
	{"connect, authenticate and join, each", "connect-us/session", func(v float64) string { return format(v, latency) }, 0},
	{"broadcast to all, per delivery", "broadcast-ns/delivery", func(v float64) string { return format(v/1000, latency) }, 0},
	{"turn of a loop during the broadcast, p99", "turn-p99-us", func(v float64) string { return format(v, latency) }, 0},
	{"longest turn", "turn-max-us", func(v float64) string { return format(v, latency) }, 0},
}

// SimulationUnits are the figures a simulation must give.
func SimulationUnits() []string {
	var units []string
	for _, m := range simulation {
		units = append(units, m.unit)
	}
	return units
}

// writeSimulation sets the figures beside what is expected.
func writeSimulation(b *strings.Builder, r *Results) {
	stat := func(unit string) Stat { return r.Stat("million", "sessions", "gateway", unit) }
	sessions := stat("sessions")
	if sessions.Runs == 0 {
		return
	}
	fmt.Fprintf(b, "## A million, simulated\n\n%s real sessions in one process, in rooms of four, each with its timers; "+
		"the socket is replaced by one that counts what is written. So this is what the gateway costs beside the kernel.\n\n"+
		"| what | measured | expected | |\n|---|---|---|---|\n", number(sessions.Median))
	for _, m := range simulation {
		s, expected, verdict := stat(m.unit), none, ""
		if m.limit > 0 {
			expected = "at most " + m.form(m.limit)
			verdict = "met"
			if s.Median > m.limit {
				verdict = "**missed**"
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", m.title, m.form(s.Median), expected, verdict)
	}
	b.WriteString("\n")
}
