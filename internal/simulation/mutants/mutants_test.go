package mutants

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	search = flag.Bool("search", false, "search a run for the mutants that are not in the table, or that -only names")
	only   = flag.String("only", "", "only the mutants whose name contains this text")
)

const (
	table      = "testdata/found.txt"
	searchTime = 45 * time.Second // CPU time for the search of one mutant
	patience   = 20 * searchTime  // elapsed time, on a busy machine
	rootFolder = "../../.."
)

// Each mutant is compiled into the simulation. The run that the table has for it
// must break a rule with the mutant, and none without it. With -search the test
// looks for such runs, from the first seed on, and writes the table.
func TestMutantsAreFound(t *testing.T) {
	if !*search && os.Getenv("MUTANTS") == "" {
		t.Skip("compiling each mutant takes minutes: make mutants runs this test")
	}
	root, err := filepath.Abs(rootFolder)
	if err != nil {
		t.Fatal(err)
	}
	known, err := readTable()
	if err != nil && !*search {
		t.Fatal(err)
	}
	none := mutants[0]
	none.new = none.old
	plain := build(t, root, none)
	for _, m := range mutants {
		if !strings.Contains(m.name, *only) {
			continue
		}
		if *search && *only == "" && known[m.name].run != "" {
			continue
		}
		binary := build(t, root, m)
		if binary == "" {
			continue
		}
		var found row
		if *search {
			if found = find(t, binary, plain, m); found.run != "" {
				known[m.name] = found
			}
			if err := writeTable(known); err != nil {
				t.Fatal(err)
			}
		} else if found = known[m.name]; found.run == "" {
			t.Errorf("%s: the table has no run that finds it", m.name)
			continue
		} else if _, _, broken := simulate(t, binary, "-run", found.run); !broken {
			t.Errorf("%s: %s breaks no rule with the mutant, want a broken rule: look for another run with -search", m.name, found.run)
		} else if out, _, broken := simulate(t, plain, "-run", found.run); broken {
			t.Errorf("%s: %s breaks a rule without the mutant, want none:\n%s", m.name, found.run, out)
		}
		os.Remove(binary)
	}
}

// The text that a mutant replaces must occur exactly once in its file, so that
// each mutant still applies to the present code.
func TestMutantsApply(t *testing.T) {
	if len(mutants) < 25 {
		t.Errorf("the list has %d mutants, want 25 at least", len(mutants))
	}
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join(rootFolder, m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: %q is in %s %d times, want once: the mutant is out of date", m.name, m.old, m.file, n)
		}
	}
}

// build compiles the simulation with a mutant, and returns the binary's path. It
// returns "" if the mutant does not apply or does not compile.
func build(t *testing.T, root string, m mutant) string {
	t.Helper()
	source := filepath.Join(root, m.file)
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		t.Errorf("%s: %q is in %s %d times, want once: the mutant is out of date", m.name, m.old, m.file, n)
		return ""
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, filepath.Base(m.file))
	overlay := filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err == nil {
		err = os.WriteFile(overlay, list, 0o600)
	}
	if err == nil {
		err = os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "simulate")
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", binary, "./bench/simulate")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s does not compile: %v\n%s", m.name, err, out)
		return ""
	}
	return binary
}

// simulate runs a binary. It returns the output and the CPU time, and whether a
// rule was broken.
func simulate(t *testing.T, binary string, args ...string) (out string, used time.Duration, broken bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"-shrink=false"}, args...)...)
	text, err := cmd.CombinedOutput()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if broken = ended && exit.ExitCode() > 0; err != nil && !broken { // a panic has an exit code as well
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), broken
}

var (
	rulePattern = regexp.MustCompile(`(?m)^at [^:]*: ([^:]*): `)
	runPattern  = regexp.MustCompile(`(?m)^Its trace: .*RUN='(.*)'$`)
)

// find searches for a run that breaks a rule with the mutant and none without it.
func find(t *testing.T, binary, plain string, m mutant) (found row) {
	t.Helper()
	seed := max(m.from, 1)
	for left := searchTime; left > 0; {
		out, used, broken := simulate(t, binary, "-seed", strconv.FormatUint(seed, 10),
			"-for", patience.String(), "-cpu", left.String())
		left -= used
		rule, run := rulePattern.FindStringSubmatch(out), runPattern.FindStringSubmatch(out)
		if !broken || rule == nil || run == nil {
			break
		}
		if _, _, broken := simulate(t, plain, "-run", run[1]); !broken {
			found = row{rule: rule[1], run: run[1], seconds: (searchTime - left).Seconds()}
			t.Logf("%s: %.1f s, %s", m.name, found.seconds, found.rule)
			return found
		}
		t.Errorf("%s breaks a rule without a mutant, want none", run[1])
		if _, err := fmt.Sscanf(run[1], "seed=%d", &seed); err != nil {
			t.Fatal(err)
		}
		seed++
	}
	t.Errorf("%s: no run breaks a rule within %v of CPU time", m.name, searchTime)
	return row{}
}

// A row is the run that finds a mutant, and the CPU time of the search.
type row struct {
	seconds float64
	rule    string
	run     string
}

// readTable reads the table of runs, by the names of the mutants.
func readTable() (map[string]row, error) {
	known := make(map[string]row)
	text, err := os.ReadFile(table)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 4 {
			return known, fmt.Errorf("%s: %q: want a name, seconds, a rule and a run", table, line)
		}
		r := row{rule: cells[2], run: cells[3]}
		if _, err := fmt.Sscan(cells[1], &r.seconds); err != nil {
			return known, err
		}
		known[cells[0]] = r
	}
	return known, err
}

func writeTable(known map[string]row) error {
	var b strings.Builder
	b.WriteString("# Mutant | seconds of CPU until it was found | rule that it breaks | run that finds it.\n")
	b.WriteString("# Written by: go test ./internal/simulation/mutants -search\n")
	total := 0.0
	for _, m := range mutants {
		if r := known[m.name]; r.run != "" {
			fmt.Fprintf(&b, "%s | %.1f | %s | %s\n", m.name, r.seconds, r.rule, r.run)
			total += r.seconds
		}
	}
	fmt.Fprintf(&b, "# Together: %.0f seconds.\n", total)
	return os.WriteFile(table, []byte(b.String()), 0o644)
}
