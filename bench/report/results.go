// Package report keeps what a run of the suite measured and turns it into
// tables and plots. It measures nothing itself.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// Row is one figure set: one case of one scenario, one peer, one run.
type Row struct {
	Scenario string             `json:"scenario"`
	Case     string             `json:"case"`
	Peer     string             `json:"peer"`
	Run      int                `json:"run"`
	Values   map[string]float64 `json:"values,omitempty"`
	Wrong    uint64             `json:"wrong,omitempty"`    // deliveries lost, doubled, out of order, …
	Problems []string           `json:"problems,omitempty"` // what was wrong, in words
	Skipped  string             `json:"skipped,omitempty"`  // why the peer is not available
}

// Blame adds a problem that fails the run; an empty text none.
func (r *Row) Blame(problem string) {
	if problem != "" {
		r.Wrong++
		r.Problems = append(r.Problems, problem)
	}
}

// Results is everything of one run.
type Results struct {
	Began   time.Time     `json:"began"`
	Took    time.Duration `json:"took_ns"`
	Command string        `json:"command"`
	Machine Machine       `json:"machine"`
	Peers   []Peer        `json:"peers"`
	Rows    []Row         `json:"rows"`
}

// Peer says what stood behind a name.
type Peer struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	About   string `json:"about"`
}

// Machine says where it ran.
type Machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	MemoryMiB int64  `json:"memory_mib"`
	Kernel    string `json:"kernel"`
	OS        string `json:"os"`
	Go        string `json:"go"`
	NoFile    uint64 `json:"rlimit_nofile"`
	Pinned    bool   `json:"pinned"`
	LoadAvg   string `json:"load_average_at_start"`
}

// Failed reports whether any client of any peer got less, more or other than
// it should.
func (r *Results) Failed() bool {
	return slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Wrong > 0 })
}

// WriteJSON writes r to path.
func (r *Results) WriteJSON(path string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(path string) (*Results, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Results)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Stat is the middle and the edges of one value over the runs.
type Stat struct {
	Median, Least, Most float64
	Runs                int
}

// Stat sums up one value of a case and peer; Runs is 0 if nobody measured it.
func (r *Results) Stat(scenario, kase, peer, value string) Stat {
	var all []float64
	for _, row := range r.Rows {
		if row.Scenario == scenario && row.Case == kase && row.Peer == peer {
			if v, ok := row.Values[value]; ok {
				all = append(all, v)
			}
		}
	}
	if len(all) == 0 {
		return Stat{}
	}
	slices.Sort(all)
	median := all[len(all)/2]
	if len(all)%2 == 0 {
		median = (all[len(all)/2-1] + median) / 2
	}
	return Stat{Median: median, Least: all[0], Most: all[len(all)-1], Runs: len(all)}
}

// Cases lists the cases of a scenario in the order they were measured.
func (r *Results) Cases(scenario string) []string {
	return r.distinct(scenario, func(row Row) string { return row.Case })
}

// PeersOf lists the peers of a scenario in the order they were measured,
// without those that were not available.
func (r *Results) PeersOf(scenario string) []string {
	return r.distinct(scenario, func(row Row) string { return row.Peer })
}

func (r *Results) distinct(scenario string, of func(Row) string) []string {
	var names []string
	for _, row := range r.Rows {
		if name := of(row); row.Scenario == scenario && row.Skipped == "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
