package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hometrip/gateway/bench/harness"
	"github.com/hometrip/gateway/bench/load"
	"github.com/hometrip/gateway/bench/process"
)

// TestMain lets the test binary also run as the worker process of the good clients, as
// the attack command does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerCommand {
		if err := load.Serve(os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// A few attacks that need neither many connections nor much time run against a gateway
// with good clients. All must be stopped and counted, and no good client may notice.
// Latencies are not checked.
func TestAttacksAreStopped(t *testing.T) {
	w, err := harness.NewWorkspace("attack", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Remove)
	s, err := newRun(w, 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	chosen, err := chooseRows("large-heads,smuggling,malformed-http,publish-forgery,sid-guessing,foreign-origins,malformed-frames,token-guessing,forged-proxies")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range chosen {
		short := *r
		short.length = 300 * time.Millisecond
		res, err := s.playRow(&short)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		if len(res.attack.problems) > 0 || res.chat.Wrong() > 0 || res.chat.Units == 0 {
			t.Errorf("%s: %q; %s", r.name, res.attack.problems, describeFaults(res.chat))
		}
		if res.attack.opened.Load() == 0 || res.observed.rss == 0 || res.after.connections != 20 {
			t.Errorf("%s: attack made %s; %d bytes resident, %d connections left, want 20", r.name, res.attack.work(), res.observed.rss, res.after.connections)
		}
		for _, p := range res.problems {
			if strings.Contains(p, "mov") { // "did not move", "moved by 3"
				t.Errorf("%s: %s", r.name, p)
			}
		}
	}
}

// held returns a result with nothing wrong.
func held() *result {
	h := hdrhistogram.New(1, 1e7, 3)
	_ = h.RecordValue(1000)
	return &result{
		row:    &row{name: "test", moved: []string{"refused_total"}, still: []string{"broadcasts_total"}},
		attack: &attack{},
		chat:   &load.Result{Events: 10, Latency: h.Export()},
		before: footprint{connections: 20, Usage: harness.Usage{Metrics: process.Metrics{"refused_total": 1}}},
		after:  footprint{connections: 20, Usage: harness.Usage{Metrics: process.Metrics{"refused_total": 2, "broadcasts_total": 10}}},
	}
}

// Each kind of fault, put into a result with nothing wrong, is found as the only
// problem.
func TestBrokenResultsAreFound(t *testing.T) {
	for want, break_ := range map[string]func(*result){
		"":                                func(*result) {},
		"good clients: 1 events lost":     func(r *result) { r.chat.Lost = 1 },
		"good clients: 0 events lost":     func(r *result) { r.chat.Closed = 1 },
		"good clients: p99":               func(r *result) { r.chat.Latency = late() },
		"1 times /health":                 func(r *result) { r.observed.unhealthy = []string{"503"} },
		"400 MiB resident":                func(r *result) { r.observed.rss = 400 * mib },
		"21 connections":                  func(r *result) { r.after.connections = 21 },
		"50 descriptors more":             func(r *result) { r.after.Descriptors = 50 },
		"50 goroutines more":              func(r *result) { r.after.goroutines = 50 },
		"50.0 MiB more on the heap":       func(r *result) { r.after.heap = 50 * mib },
		"refused_total did not move":      func(r *result) { r.after.Metrics["refused_total"] = 1 },
		"broadcasts_total moved by 1":     func(r *result) { r.after.Metrics["broadcasts_total"] = 11 },
		"panics_total moved by 1":         func(r *result) { r.after.Metrics["panics_total"] = 1 },
		"a request was smuggled past it":  func(r *result) { r.attack.problem("a request was smuggled past it") },
		"not in time: the end of the row": func(r *result) { r.attack.problem("not in time: the end of the row") },
	} {
		r := held()
		break_(r)
		r.check(20)
		switch {
		case want == "" && r.failed():
			t.Errorf("problems %q in a result with nothing wrong", r.problems)
		case want != "" && (len(r.problems) != 1 || !strings.HasPrefix(r.problems[0], want)):
			t.Errorf("problems %q, want one that begins with %s", r.problems, want)
		}
	}
}

func late() *hdrhistogram.Snapshot {
	h := hdrhistogram.New(1, 1e7, 3)
	_ = h.RecordValue(p99Bound.Microseconds() * 2)
	return h.Export()
}

func TestReportListsAllAttempts(t *testing.T) {
	first, second := held(), held()
	first.problem("the machine was busy")
	second.earlier = first.problems
	dir := t.TempDir()
	if err := (report{began: time.Now(), results: []*result{second}}).write(&harness.Workspace{Report: dir}); err != nil {
		t.Errorf("a row that held in its second attempt: %v", err)
	}
	b, err := os.ReadFile(dir + "/attack.md")
	if err != nil || !strings.Contains(string(b), "| test | held in the end |") || !strings.Contains(string(b), "the machine was busy") {
		t.Errorf("%v %s", err, b)
	}
	if err := (report{began: time.Now(), results: []*result{first}}).write(&harness.Workspace{Report: dir}); err == nil {
		t.Error("a failed row caused no error")
	}
}

func TestSamplesAreReadFromTheTests(t *testing.T) {
	root, err := process.Root()
	if err != nil {
		t.Fatal(err)
	}
	samples, err := readSamples(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`451-["x"]`, "\x81\x012", "a close frame of one byte"} {
		if !slices.Contains(samples, want) {
			t.Errorf("%q is not one of the %d samples", want, len(samples))
		}
	}
	if _, err := readSamples(t.TempDir()); err == nil {
		t.Error("a directory without samples caused no error")
	}
}

// The attacks, tests and counters that SECURITY.md names exist, and it names each
// attack.
func TestThreatTable(t *testing.T) {
	root, err := process.Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(root + "/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for word := range strings.SplitSeq(string(b), "`") {
		if name, ok := strings.CutPrefix(word, "attack:"); ok {
			named[name] = true
		}
	}
	for _, r := range rows {
		if !named[r.name] {
			t.Errorf("SECURITY.md does not name attack:%s", r.name)
		}
		delete(named, r.name)
	}
	for name := range named {
		t.Errorf("SECURITY.md names attack:%s, which does not exist", name)
	}
	tests := sources(t, root, "*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go")
	for _, name := range regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`).FindAllString(string(b), -1) {
		if !strings.Contains(tests, "func "+name+"(") {
			t.Errorf("SECURITY.md names %s, which does not exist", name)
		}
	}
	counters := sources(t, root, "cmd/gateway/*.go")
	for _, name := range regexp.MustCompile(`\b[a-z]\w+_(total|bytes|revoked)\b`).FindAllString(string(b), -1) {
		if !strings.Contains(counters, name+`"`) {
			t.Errorf("SECURITY.md names the counter %s, which does not exist", name)
		}
	}
}

// sources returns the text of all matching files.
func sources(t *testing.T, root string, patterns ...string) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
	}
	return all.String()
}
