package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/bench/report"
)

// suite is one run of the command.
type suite struct {
	options
	root, tmp string
	argv      map[*peer][]string
	peers     []*peer
	scenarios []*scenario
	results   report.Results
	nextPort  int
	patience  time.Duration // with a server that starts
	stopped   atomic.Bool   // a signal asked to stop: finish with what there is
}

// scenario is one thing to measure, at one peer, once.
type scenario struct {
	name  string
	about string
	needs ability // peers without it are left out
	long  bool    // not part of a run without -scenario
	once  bool    // repeated only with -full: it takes long, or is not about time
	// without are the peers that it tells nothing new about: part of it only
	// with -full or -peers.
	without []string
	usual   time.Duration // at one peer, on two cores of our own
	run     func(t *trial) error
}

func newSuite(root string, o options) (*suite, error) {
	tmp, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	s := &suite{options: o, root: root, tmp: tmp, argv: make(map[*peer][]string), nextPort: firstPort, patience: startTimeout}
	if s.scenarios, err = chooseScenarios(o.scenarios); err != nil {
		return nil, err
	}
	chosen, err := choosePeers(o.peers)
	if err != nil {
		return nil, err
	}
	s.results = report.Results{
		Began: time.Now(), Machine: describeMachine(o.pin), Command: "bench " + strings.Join(os.Args[1:], " "),
	}
	for _, p := range chosen {
		s.progress("preparing %s", p.name)
		version, argv, err := p.prepare(root, tmp)
		if err != nil {
			if o.peers != "" {
				return nil, fmt.Errorf("peer %s: %w", p.name, err)
			}
			s.progress("  left out: %v", err)
			continue
		}
		s.argv[p] = argv
		s.peers = append(s.peers, p)
		s.results.Peers = append(s.results.Peers, p.describe(version))
	}
	if len(s.peers) == 0 {
		return nil, errors.New("no peer could be prepared")
	}
	return s, nil
}

func (s *suite) close() { _ = os.RemoveAll(s.tmp) }

func chooseScenarios(names string) ([]*scenario, error) {
	var chosen []*scenario
	if names == "" {
		for _, sc := range scenarios {
			if !sc.long {
				chosen = append(chosen, sc)
			}
		}
		return chosen, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(scenarios, func(sc *scenario) bool { return sc.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("scenario %q: want one of %s", name, listNames(scenarios, func(sc *scenario) string { return sc.name }))
		}
		chosen = append(chosen, scenarios[i])
	}
	return chosen, nil
}

func choosePeers(names string) ([]*peer, error) {
	if names == "" {
		return peers, nil
	}
	var chosen []*peer
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(peers, func(p *peer) bool { return p.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("peer %q: want one of %s", name, listNames(peers, func(p *peer) string { return p.name }))
		}
		chosen = append(chosen, peers[i])
	}
	return chosen, nil
}

func listNames[T any](all []T, name func(T) string) string {
	var names []string
	for _, one := range all {
		names = append(names, name(one))
	}
	return strings.Join(names, ", ")
}

func printList(w io.Writer) {
	fmt.Fprintln(w, "scenarios:")
	for _, sc := range scenarios {
		note := ""
		if sc.long {
			note = " (only when named)"
		}
		fmt.Fprintf(w, "  %-10s %s%s\n", sc.name, sc.about, note)
	}
	fmt.Fprintln(w, "peers:")
	for _, p := range peers {
		fmt.Fprintf(w, "  %-12s %s\n", p.name, p.about)
	}
}

func (s *suite) progress(format string, args ...any) {
	took := time.Since(s.results.Began).Round(time.Second)
	fmt.Fprintf(os.Stderr, "[%5s] %s\n", took, fmt.Sprintf(format, args...))
}

func (s *suite) writeReport() error {
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		return err
	}
	path := filepath.Join(s.out, "results.json")
	if err := s.results.WriteJSON(path); err != nil {
		return err
	}
	if err := render(path); err != nil {
		return err
	}
	s.progress("wrote %s", filepath.Join(s.out, "report.md"))
	if s.results.Failed() {
		return errors.New("some client got less, more or other than it should: see the report")
	}
	return nil
}

// render writes report.md, machine.json and the plots beside a results.json.
func render(path string) error {
	r, err := report.ReadJSON(path)
	if err != nil {
		return err
	}
	return report.Write(r, filepath.Dir(path))
}
