package main

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hometrip/gateway/bench/harness"
)

// A report is what a run has shown.
type report struct {
	*scenario
	verdict
	revision string
	took     time.Duration
}

func (r *report) broken() bool { return r.wrongs > 0 || len(r.failed) > 0 || !r.returns.enough() }

// markdown is the part of the report about returns.
func (r *returns) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## Returns\n\nAll clients ask for recovery. %d connections came with the pid of a session. Recovered were\n\n", r.all)
	fmt.Fprintf(&b, "- of those within RECOVERY_WINDOW %v,\n", r.within)
	fmt.Fprintf(&b, "- of these, of clients whose gateway was killed %v,\n", r.dead)
	fmt.Fprintf(&b, "- of these within the window, while Redis had a fault or one of the two gateways was cut off from it %v.\n", r.apart)
	fmt.Fprintf(&b, "\nAt least %.1f %% of those within the window, without the last ones, must be recovered: when a gateway and Redis are killed at the same time, nobody has the records any more.\n", leastRecovered/10.)
	b.WriteString("\n| result | returns |\n|---|---|\n")
	for _, result := range slices.Sorted(maps.Keys(r.results)) {
		fmt.Fprintf(&b, "| `%s` | %d |\n", result, r.results[result])
	}
	return b.String()
}

// write writes chaos.md and returns an error when something was wrong.
func (r *report) write(w *harness.Workspace) error {
	if err := w.WriteReport("chaos.md", r.markdown(), r.deliveries(), r.took); err != nil {
		return err
	}
	if r.broken() {
		return errors.New("something was wrong without reason: see the report")
	}
	return nil
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The gateway in chaos\n\n%s, revision %s, %s, %d cores. `make chaos SEED=%d ARGS=\"-clients %d -duration %v\"` does the same again.\n\n",
		r.began.Format("2006-01-02 15:04"), r.revision, runtime.Version(), runtime.NumCPU(), r.seed, r.options.clients, r.duration)
	fmt.Fprintf(&b, "%d gateways, Redis, RabbitMQ, %d clients in rooms of %d, %.0f events a second through RabbitMQ. Verdict: **%s**.\n\n",
		r.nodes, len(r.clients), roomSize, r.rate, r.word())
	b.WriteString("## Faults\n\nRecovered is when an event that was published after the fault had reached a member on every gateway, back is when every client was in its room again; settled is when the gateways saw each other and no dead one, and had delivered what any of them had by then; each from the end of the fault. Slowest is the longest time that an event published in the round took to a client that was in its room. Ended are connections; recovered of returns are their clients, as far as they came back within RECOVERY_WINDOW. Lost are deliveries, with reason.\n\n")
	b.WriteString("| at | fault | recovered | back | settled | slowest | ended | recovered of returns | lost | without reason |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, x := range r.rounds {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %d | %d of %d | %d | %d |\n", seconds(x.began), x,
			seconds(x.recovered-x.healed), seconds(x.seated-x.healed), seconds(x.over-x.healed), seconds(x.slowest), x.ended, x.returns.recovered, x.returns.returns, x.lost, x.wrong)
	}
	fmt.Fprintf(&b, "\n## Deliveries\n\n%s", r.deliveries())
	b.WriteString("\n| why | deliveries |\n|---|---|\n")
	for _, why := range slices.Sorted(maps.Keys(r.reasons)) {
		fmt.Fprintf(&b, "| %s | %d |\n", why, r.reasons[why])
	}
	b.WriteString(r.returns.markdown())
	b.WriteString("\n## Gateways\n\n| gateway | starts | sockets: before, after | resident: before, after | descriptors beside connections: before, after |\n|---|---|---|---|---|\n")
	for i := range r.after {
		before, after := r.before[i], r.after[i]
		if !after.there() {
			fmt.Fprintf(&b, "| %d | %d, then killed for good | %d | %d MiB | %d |\n", i, r.cluster.nodes[i].launches,
				before.sockets(), before.Resident>>20, before.beside())
			continue
		}
		fmt.Fprintf(&b, "| %d | %d | %d, %d | %d, %d MiB | %d, %d |\n", i, r.cluster.nodes[i].launches,
			before.sockets(), after.sockets(), before.Resident>>20, after.Resident>>20, before.beside(), after.beside())
	}
	if len(r.failed) == 0 {
		b.WriteString("\nAt the end each gateway sees all others and all sockets, and the directory has for each room the gateways of its members, and no room that is empty.\n")
	}
	if r.broken() {
		b.WriteString("\n## Wrong\n\n")
		if !r.returns.enough() {
			fmt.Fprintf(&b, "- of the returns within RECOVERY_WINDOW %v were recovered; while Redis had a fault %v\n", r.returns.within, r.returns.apart)
		}
		for _, p := range slices.Concat(r.failed, r.wrong) {
			fmt.Fprintf(&b, "- %s\n", p)
		}
	}
	return b.String()
}

func (r *report) word() string {
	if r.broken() {
		return "BROKEN"
	}
	return "held"
}

func (r *report) deliveries() string {
	return fmt.Sprintf("%d events, %d of them confirmed; for %d clients over %d connections these are %d deliveries: %d once, %d more than once, %d lost. Without reason: %d.\n",
		r.events, r.confirmed, len(r.clients), r.stays, r.once+r.more+r.lost, r.once, r.more, r.lost, r.wrongs)
}
