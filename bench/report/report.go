package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Floor names the peers that ratios are taken against: a burst or a storm is
// compared with the one that coalesces, the rest with the plain one.
const (
	Floor      = "floor"
	FloorBatch = "floor-batch"
)

// MainBegin and MainEnd enclose the main table and its plots in report.md, for
// who wants to quote them.
const (
	MainBegin = "<!-- main -->"
	MainEnd   = "<!-- /main -->"
)

// Write renders r into dir: report.md, machine.json, and the plots as SVG and
// PNG. Paths in report.md are relative to it.
func Write(r *Results, dir string) error {
	b, err := json.MarshalIndent(r.Machine, "", " ")
	if err != nil {
		return fmt.Errorf("machine: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "machine.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	plots, err := drawAll(r, dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "report.md"), []byte(markdown(r, plots)), 0o644)
}

func markdown(r *Results, plots []plotted) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark of %s\n\n", r.Began.Format("2 January 2006, 15:04"))
	writeVerdict(&b, r)
	b.WriteString("\n" + MainBegin + "\n")
	writeSummary(&b, r)
	for _, p := range plots {
		fmt.Fprintf(&b, "\n![%s](%s.svg)\n", p.title, p.file)
	}
	b.WriteString(MainEnd + "\n\n")
	writeMachine(&b, r)
	for i := range tables {
		writeTable(&b, r, &tables[i])
	}
	writeSimulation(&b, r)
	writeMillion(&b, r)
	writeProblems(&b, r)
	return b.String()
}

func writeVerdict(b *strings.Builder, r *Results) {
	var units float64
	for _, row := range r.Rows {
		units += row.Values["units"]
	}
	fmt.Fprintf(b, "%s deliveries, connections and cycles were checked one by one. ", number(units))
	if r.Failed() {
		b.WriteString("**Not all were right: see the end of this page.**\n")
		return
	}
	b.WriteString("None was lost, doubled or out of order.\n")
}

func writeSummary(b *strings.Builder, r *Results) {
	names := peerNames(r)
	b.WriteString("\n| |" + strings.Join(names, " | ") + " |\n|---|" + strings.Repeat("---|", len(names)) + "\n")
	for i := range summary {
		line := &summary[i]
		cells, any := []string{}, false
		for _, name := range names {
			cell := r.cell(line.scenario, &line.column, name, false)
			any = any || cell != none
			cells = append(cells, cell)
		}
		if any {
			fmt.Fprintf(b, "| %s | %s |\n", line.title, strings.Join(cells, " | "))
		}
	}
	b.WriteString("\nMedians of the runs (what has no spread in the tables below ran once); in brackets the ratio to the floor (for bursts and the storm: to `floor-batch`), and its least and most in one run; *within the noise* if 1 is between them.\n")
}

func peerNames(r *Results) []string {
	var names []string
	for _, p := range r.Peers {
		names = append(names, p.Name)
	}
	return names
}

func writeMachine(b *strings.Builder, r *Results) {
	m := r.Machine
	pinned := "servers on core 0, load on core 1"
	if !m.Pinned {
		pinned = "not pinned"
	}
	fmt.Fprintf(b, "## Where and what\n\n%s, %d cores, %d MiB; %s, Linux %s, %s; RLIMIT_NOFILE %d; %s; load average at the start %s. `%s`, %s.\n\n",
		m.CPU, m.Cores, m.MemoryMiB, m.OS, m.Kernel, m.Go, m.NoFile, pinned, m.LoadAvg, r.Command, r.Took.Round(1e9))
	b.WriteString("| peer | version | what |\n|---|---|---|\n")
	for _, p := range r.Peers {
		fmt.Fprintf(b, "| %s | %s | %s |\n", p.Name, p.Version, p.About)
	}
	b.WriteString("\n")
}

func writeTable(b *strings.Builder, r *Results, t *table) {
	columns := slices.DeleteFunc(slices.Clone(t.columns), func(c column) bool {
		return !slices.ContainsFunc(r.Rows, func(row Row) bool {
			return row.Scenario == t.scenario && row.Case == c.kase && has(row, c.value)
		})
	})
	absent := r.absent(t)
	if len(columns) == 0 && absent == "" {
		return
	}
	fmt.Fprintf(b, "## %s\n\n", t.title)
	if t.note != "" {
		b.WriteString(t.note + "\n\n")
	}
	if len(columns) > 0 {
		writeRows(b, r, t, columns)
	}
	b.WriteString(absent)
}

func writeRows(b *strings.Builder, r *Results, t *table, columns []column) {
	b.WriteString("| peer |")
	for _, c := range columns {
		b.WriteString(" " + c.title + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, peer := range r.PeersOf(t.scenario) {
		cells, measured := "", false
		for _, c := range columns {
			cell := r.cell(t.scenario, &c, peer, true)
			cells += " " + cell + " |"
			measured = measured || cell != none
		}
		if measured {
			b.WriteString("| " + peer + " |" + cells + "\n")
		}
	}
	b.WriteString("\n")
}

func has(row Row, value string) bool {
	if value == loadShare {
		value = "load_ms"
	}
	_, ok := row.Values[value]
	return ok
}

// absent says which peers the table lacks, and why; the second table of a
// scenario, which has no note, does not repeat it.
func (r *Results) absent(t *table) string {
	var reasons []string
	peers := make(map[string][]string)
	for _, row := range r.Rows {
		if row.Scenario != t.scenario || row.Skipped == "" || t.note == "" || slices.Contains(peers[row.Skipped], row.Peer) {
			continue
		}
		if peers[row.Skipped] == nil {
			reasons = append(reasons, row.Skipped)
		}
		peers[row.Skipped] = append(peers[row.Skipped], row.Peer)
	}
	if len(reasons) == 0 {
		return ""
	}
	for i, reason := range reasons {
		reasons[i] = strings.Join(peers[reason], ", ") + " (" + reason + ")"
	}
	return "Not available: " + strings.Join(reasons, "; ") + ".\n\n"
}

// none is the cell of what was not measured.
const none = "–"

// cell writes the median, the ratio to the floor, and with spread the least
// and the most.
func (r *Results) cell(scenario string, c *column, peer string, spread bool) string {
	if c.value == loadShare {
		load, server := r.Stat(scenario, c.kase, peer, "load_ms"), r.Stat(scenario, c.kase, peer, "cpu_ms")
		if load.Runs == 0 || server.Median == 0 {
			return none
		}
		return format(load.Median/server.Median, share)
	}
	s := r.Stat(scenario, c.kase, peer, c.value)
	if s.Runs == 0 {
		return none
	}
	text := format(s.Median, c.unit)
	if c.ratio && peer != Floor && peer != FloorBatch {
		if floor := r.Stat(scenario, c.kase, floorOf(scenario, c.kase), c.value); floor.Median > 0 {
			text += fmt.Sprintf(" (%.2f×", s.Median/floor.Median)
			if !spread {
				text += r.ratioSpread(scenario, c, peer)
			}
			text += ")"
		}
	}
	if spread && s.Runs > 1 && s.Most > s.Least {
		text += fmt.Sprintf(" <sub>%s…%s</sub>", format(s.Least, c.unit), format(s.Most, c.unit))
	}
	return text
}

// ratioSpread returns the least and the largest ratio to the floor of the same
// run, and whether 1 is between them: then the runs do not tell which of the two
// is better. It is empty if fewer than two runs have both.
func (r *Results) ratioSpread(scenario string, c *column, peer string) string {
	floor := make(map[int]float64)
	for _, row := range r.Rows {
		if row.Scenario == scenario && row.Case == c.kase && row.Peer == floorOf(scenario, c.kase) && row.Values[c.value] > 0 {
			floor[row.Run] = row.Values[c.value]
		}
	}
	var ratios []float64
	for _, row := range r.Rows {
		if v, ok := row.Values[c.value]; ok && row.Scenario == scenario && row.Case == c.kase && row.Peer == peer && floor[row.Run] > 0 {
			ratios = append(ratios, v/floor[row.Run])
		}
	}
	if len(ratios) < 2 {
		return ""
	}
	least, most := slices.Min(ratios), slices.Max(ratios)
	text := fmt.Sprintf(", %.2f…%.2f", least, most)
	if least <= 1 && most >= 1 {
		text += ", within the noise"
	}
	return text
}

// floorOf is the floor a case is judged against.
func floorOf(scenario, kase string) string {
	if strings.Contains(kase, "burst") || (scenario == "storm" && kase == "join") || scenario == "chat" {
		return FloorBatch
	}
	return Floor
}

func format(v float64, u unit) string {
	switch u {
	case micros:
		return digits3(v)
	case latency:
		switch {
		case v < 1000:
			return digits3(v) + " µs"
		case v < 1e6:
			return digits3(v/1000) + " ms"
		}
		return digits3(v/1e6) + " s"
	case perSec:
		return number(v)
	case bytes:
		if math.Abs(v) < 10000 {
			return fmt.Sprintf("%.0f B", v)
		}
		return digits3(v/1024) + " KiB"
	case mebi:
		return fmt.Sprintf("%.1f MiB", v)
	case percent:
		return fmt.Sprintf("%.2f %%", v)
	case share:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// digits3 writes three digits where they matter.
func digits3(v float64) string {
	switch a := math.Abs(v); {
	case a < 1:
		return fmt.Sprintf("%.3f", v)
	case a < 10:
		return fmt.Sprintf("%.2f", v)
	case a < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func number(v float64) string {
	switch {
	case v >= 1e6:
		return digits3(v/1e6) + " M"
	case v >= 1e4:
		return digits3(v/1e3) + " k"
	}
	return fmt.Sprintf("%.0f", v)
}

func writeProblems(b *strings.Builder, r *Results) {
	heading := "## What went wrong\n\n"
	for _, row := range r.Rows {
		if row.Wrong == 0 && len(row.Problems) == 0 {
			continue
		}
		b.WriteString(heading)
		heading = ""
		fmt.Fprintf(b, "- %s, %s, %s, run %d: %s\n", row.Scenario, row.Case, row.Peer, row.Run,
			strings.ReplaceAll(strings.Join(row.Problems, "; "), "\n", " "))
	}
}
