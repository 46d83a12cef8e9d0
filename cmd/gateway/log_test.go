package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/rooms"
)

const testFlush = testkit.Patience

// fakeConsole is an output that tests read and can block.
type fakeConsole struct {
	mu      sync.Mutex
	text    bytes.Buffer
	entered chan struct{} // receives a value when a write begins; nil: writes are not blocked
	release chan struct{}
}

func (s *fakeConsole) Write(text []byte) (int, error) {
	if s.entered != nil {
		s.entered <- struct{}{}
		<-s.release
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(text)
}

func (s *fakeConsole) records(t *testing.T) (records []map[string]any) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return recordsIn(t, s.text.Bytes())
}

func recordsIn(t *testing.T, text []byte) (records []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(text) {
		var record map[string]any
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		records = append(records, record)
	}
	return records
}

func readLog(t *testing.T, cfg config.Config, name string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cfg.Log.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return recordsIn(t, text)
}

func logConfig(t *testing.T) config.Config {
	return config.Config{Log: config.Log{Level: slog.LevelInfo, Dir: filepath.Join(t.TempDir(), "logs"), MaxSizeMB: 1, MaxFiles: 2}}
}

func messages(records []map[string]any) string {
	var list []string
	for _, record := range records {
		list = append(list, fmt.Sprint(record["msg"]))
	}
	return strings.Join(list, " ")
}

func TestCloseWritesAllRecordsToTheirFiles(t *testing.T) {
	cfg, out := logConfig(t), &fakeConsole{}
	book := newLog(cfg, out, false)
	log := book.With("node", 7)
	log.Debug("quiet")
	log.Info("one")
	log.WithGroup("g").Warn("two", "k", "v")
	log.Error("three", "error", errors.New("why"))
	if err := book.Close(testFlush); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]map[string]any{
		"console": out.records(t), "all.log": readLog(t, cfg, "all.log"),
	} {
		if messages(got) != "one two three" || got[0]["node"] != 7.0 || got[2]["error"] != "why" {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := messages(readLog(t, cfg, "error.log")); got != "three" {
		t.Errorf("error.log: %s", got)
	}
	book.Info("late")
	if got := droppedRecords(log); got != 1 {
		t.Errorf("%d dropped after Close, want 1", got)
	}
	if err := book.Close(testFlush); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestPrettyConsoleLeavesTheFilesJSON(t *testing.T) {
	cfg, out := logConfig(t), &fakeConsole{}
	book := newLog(cfg, out, true)
	book.Info("one", "k", "v")
	if err := book.Close(testFlush); err != nil {
		t.Fatal(err)
	}
	if got := out.text.String(); strings.Contains(got, "{") || !strings.Contains(got, "msg=one k=v") {
		t.Errorf("console: %s", got)
	}
	if got := messages(readLog(t, cfg, "all.log")); got != "one" {
		t.Errorf("all.log: %s", got)
	}
}

// The console blocks. Logging must go on without waiting, records that do not fit into
// the queue are counted, and the count is logged when there is space again.
func TestBlockedOutputDropsAndCountsRecords(t *testing.T) {
	out := &fakeConsole{entered: make(chan struct{}, 2*logQueueLen), release: make(chan struct{})}
	book := newLog(config.Config{}, out, false)
	book.Info("first")
	<-out.entered // the writer is blocked in Write and the queue is empty
	const excess = 100
	for range logQueueLen + excess {
		book.Info("more")
	}
	if droppedRecords(book.Logger) != excess {
		t.Fatalf("%d dropped, want %d", droppedRecords(book.Logger), excess)
	}
	if err := book.Close(time.Millisecond); err == nil {
		t.Error("Close returned no error although lines were not written")
	}
	close(out.release)
	if err := book.Close(testFlush); err != nil {
		t.Fatal(err)
	}
	records := out.records(t)
	if len(records) != 1+logQueueLen+1 {
		t.Errorf("%d lines, want %d", len(records), 1+logQueueLen+1)
	}
	told := 0.0
	for _, record := range records {
		if record["msg"] == "log records dropped" {
			told += record["count"].(float64)
		}
	}
	if told != excess {
		t.Errorf("the log reports %v dropped records, want %d", told, excess)
	}
}

func TestManyGoroutinesLogWholeLines(t *testing.T) {
	cfg, out := logConfig(t), &fakeConsole{}
	book := newLog(cfg, out, false)
	const writers, lines = 8, 200
	var group sync.WaitGroup
	for n := range writers {
		group.Go(func() {
			for line := range lines {
				book.Info("x", "writer", n, "line", line)
			}
		})
	}
	group.Wait()
	if err := book.Close(testFlush); err != nil {
		t.Fatal(err)
	}
	if got := len(readLog(t, cfg, "all.log")); got != writers*lines || droppedRecords(book.Logger) != 0 {
		t.Errorf("%d lines, want %d; %d dropped", got, writers*lines, droppedRecords(book.Logger))
	}
	next := [writers]float64{}
	for _, record := range out.records(t) {
		n := int(record["writer"].(float64))
		if record["line"] != next[n] {
			t.Fatalf("writer %d: line %v, want %v", n, record["line"], next[n])
		}
		next[n]++
	}
}

func TestFilesRotateAndOldOnesAreRemoved(t *testing.T) {
	cfg := logConfig(t)
	book := newLog(cfg, &fakeConsole{}, false)
	long := strings.Repeat("x", maxLogValue)
	const lines = 2500 // about 5 MB: four finished files, of which two are kept
	for range lines {
		book.Info(long)
	}
	if err := book.Close(testFlush); err != nil {
		t.Fatal(err)
	}
	if droppedRecords(book.Logger) != 0 {
		t.Fatalf("%d records dropped, want 0", droppedRecords(book.Logger))
	}
	count := func() int {
		files, _ := filepath.Glob(filepath.Join(cfg.Log.Dir, "all*.log"))
		for _, file := range files {
			if info, err := os.Stat(file); err == nil && info.Size() > 1<<20 {
				t.Errorf("%s has %d bytes", file, info.Size())
			}
		}
		return len(files)
	}
	// The library removes old files in a goroutine.
	for end := time.Now().Add(testFlush); count() != 1+cfg.Log.MaxFiles; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d log files, want %d", count(), 1+cfg.Log.MaxFiles)
		}
	}
}

func TestUnwritableDirectoryCausesOneWarning(t *testing.T) {
	blocker := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out := &fakeConsole{}
	book := newLog(config.Config{Log: config.Log{Dir: filepath.Join(blocker, "logs")}}, out, false)
	book.Info("on")
	book.Error("and on")
	if err := book.Close(testFlush); err != nil {
		t.Fatal(err)
	}
	if got := messages(out.records(t)); got != "no log files are written on and on" {
		t.Errorf("console: %s", got)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestFileThatFailsIsReportedOnce(t *testing.T) {
	out := &fakeConsole{}
	q := newLogQueue(logOutputs{console: out, all: failingWriter{}, errors: failingWriter{}}, slog.LevelInfo)
	log := slog.New(newLogHandler(q, slog.LevelInfo, false))
	log.Info("one")
	log.Info("two")
	q.close(testFlush)
	if got := messages(out.records(t)); got != "one log file not written two" {
		t.Errorf("console: %s", got)
	}
}

func TestSecretsAndLongValuesStayOutOfTheLog(t *testing.T) {
	out := &fakeConsole{}
	book := newLog(config.Config{}, out, false)
	book.Info("x", "token", "hunter2", slog.Group("auth", "Password", "hunter2"),
		"error", errors.New(strings.Repeat("é", 1<<20)))
	book.With("authorization", "Bearer hunter2").Info(strings.Repeat("m", 1<<20))
	if err := book.Close(testFlush); err != nil {
		t.Fatal(err)
	}
	if text := out.text.String(); strings.Contains(text, "hunter2") || len(text) > 4*maxLogValue {
		t.Errorf("%d bytes: %.200s", len(text), text)
	}
	out.records(t)
}

// Enumerations are logged as words, because a number is of no use to an operator.
func TestEnumerationsAreLoggedAsWords(t *testing.T) {
	cfg := config.Config{Log: config.Log{Level: slog.LevelInfo}}
	var out fakeConsole
	book := newLog(cfg, &out, false)
	book.Info("ended", "reason", rooms.ReasonParseError)
	if err := book.Close(testFlush); err != nil {
		t.Fatal(err)
	}
	if got := out.records(t)[0]["reason"]; got != "parse_error" {
		t.Errorf("reason %v, want parse_error", got)
	}
}

func TestFormatIsAutoOnlyOnATerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, row := range []struct {
		format string
		json   bool
	}{{config.FormatAuto, true}, {config.FormatJSON, true}, {config.FormatText, false}} {
		if err := file.Truncate(0); err != nil {
			t.Fatal(err)
		}
		file.Seek(0, 0)
		book := openLog(config.Config{Server: config.Server{Environment: config.Development}, Log: config.Log{Format: row.format}}, file)
		book.Info("x")
		if err := book.Close(testFlush); err != nil {
			t.Fatal(err)
		}
		if text, _ := os.ReadFile(file.Name()); json.Valid(text) != row.json {
			t.Errorf("%s: %s", row.format, text)
		}
	}
}

func BenchmarkLogInfo(b *testing.B) {
	book := newLog(config.Config{}, &fakeConsole{}, false)
	defer book.Close(testFlush)
	b.ReportAllocs()
	for b.Loop() {
		book.Info("connected", "sid", "abcdefghijklmnop", "user", "42", "transport", "websocket")
	}
}

func TestDurationsAreLoggedInMillisecondsWithTheirUnit(t *testing.T) {
	for _, pretty := range []bool{false, true} {
		cfg, out := logConfig(t), &fakeConsole{}
		book := newLog(cfg, out, pretty)
		book.Info("draining", "period", 10*time.Second, "after", 1500*time.Microsecond)
		if err := book.Close(testFlush); err != nil {
			t.Fatal(err)
		}
		got := readLog(t, cfg, "all.log")[0]
		if got["periodMs"] != 10000.0 || got["afterMs"] != 1.5 || got["period"] != nil {
			t.Errorf("pretty %v: %v", pretty, got)
		}
	}
}

func TestLevelChangesAtRuntime(t *testing.T) {
	cfg, out := logConfig(t), &fakeConsole{}
	book := newLog(cfg, out, false)
	log := book.With("node", 7)
	log.Debug("one")
	book.setLevel(slog.LevelDebug)
	log.Debug("two")
	if err := book.Close(testFlush); err != nil {
		t.Fatal(err)
	}
	if got := messages(out.records(t)); got != "two" {
		t.Errorf("got %s", got)
	}
}
