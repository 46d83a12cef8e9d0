package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/hometrip/gateway/bench/harness"
)

// A report is what a run has shown.
type report struct {
	began    time.Time
	revision string
	good     int
	results  []*result
}

// line is a row of the table on standard output.
func (r *result) line() string {
	p50, p99, most := r.latency()
	var b strings.Builder
	fmt.Fprintf(&b, "%-17s %-8s good p50/p99/max %s/%s/%s ms, lost %d; refused %s, closed %s; %d MiB at most, %d after; %d fds at most, %d after; CPU gateway %s, attackers %s, good %s, others %s; loop late %.0f ms\n",
		r.row.name, r.verdict(), ms(p50), ms(p99), ms(most), r.chat.Lost, count(r.attack.refused.Load()), count(r.attack.closed.Load()),
		r.observed.rss/mib, r.after.Resident/mib, r.observed.descriptors, r.after.Descriptors,
		r.observed.share(r.observed.gateway), r.observed.share(r.observed.attackers), r.observed.share(r.chat.CPU), percent(r.others()), 1000*r.observed.turnAge)
	fmt.Fprintf(&b, "%18sby %s\n", "", r.attack.work())
	if len(r.row.moved) > 0 {
		fmt.Fprintf(&b, "%18s%s\n", "", r.counters())
	}
	for _, p := range r.problems {
		fmt.Fprintf(&b, "%18sBROKEN: %s\n", "", p)
	}
	for _, p := range r.earlier {
		fmt.Fprintf(&b, "%18sat an earlier attempt: %s\n", "", p)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

// write writes attack.md and returns an error when a bound was broken.
func (r report) write(w *harness.Workspace) error {
	if err := w.WriteReport("attack.md", r.markdown(), "", time.Since(r.began)); err != nil {
		return err
	}
	for _, res := range r.results {
		if res.failed() {
			return errors.New("a bound was broken: see the report")
		}
	}
	return nil
}

func (r report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The gateway under attack\n\n%s, revision %s, %s, %d cores, %d good clients. `make attack` makes this page; SECURITY.md has the threats.\n\n",
		r.began.Format("2006-01-02 15:04"), r.revision, runtime.Version(), runtime.NumCPU(), r.good)
	fmt.Fprintf(&b, "Bounds: no event of a good client lost and none disconnected, their p99 within %v, `/health` within %v, at most %d MiB resident with GOMEMLIMIT=%d MiB; after each row the connections, descriptors (+%d), goroutines (+%d) and heap (+%d MiB) of before; at the end the resident memory of the start (+%d MiB).\n\n",
		p99Bound, healthBound, peakBound/mib, memoryLimit/mib, descriptorGrowth, goroutineGrowth, heapGrowth/mib, residentGrowth/mib)
	b.WriteString("| row | verdict | good: p50 / p99 / max, ms | lost | refused | closed | resident: most, after | descriptors: most, after | CPU: gateway, attackers, good, others | loop late, ms | /health, ms |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, res := range r.results {
		p50, p99, most := res.latency()
		fmt.Fprintf(&b, "| %s | %s | %s / %s / %s | %d | %s | %s | %d, %d MiB | %d, %d | %s, %s, %s, %s | %.0f | %s |\n",
			res.row.name, res.verdict(), ms(p50), ms(p99), ms(most), res.chat.Lost, count(res.attack.refused.Load()), count(res.attack.closed.Load()),
			res.observed.rss/mib, res.after.Resident/mib, res.observed.descriptors, res.after.Descriptors,
			res.observed.share(res.observed.gateway), res.observed.share(res.observed.attackers), res.observed.share(res.chat.CPU), percent(res.others()), 1000*res.observed.turnAge, ms(res.observed.health))
	}
	b.WriteString("\n| row | threat | stopped by | what the attackers did | what the gateway counted |\n|---|---|---|---|---|\n")
	for _, res := range r.results {
		counted := "nothing: it is no offence"
		if len(res.row.moved) > 0 {
			counted = "`" + strings.ReplaceAll(res.counters(), ", ", "`, `") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", res.row.name, res.row.threat, res.row.stops, res.attack.work(), counted)
	}
	for _, res := range r.results {
		for _, p := range res.problems {
			fmt.Fprintf(&b, "\n- **%s broken**: %s", res.row.name, p)
		}
		for _, p := range res.earlier {
			fmt.Fprintf(&b, "\n- %s, at an earlier attempt: %s", res.row.name, p)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
