package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/secret"
)

// maxLogValue limits the bytes of a value in a log line, because errors may
// quote what a client sent.
const maxLogValue = 2048

// A logBook writes log records to the console, all.log and error.log. Records
// are formatted by the goroutine that logs them and written by one goroutine;
// see logQueue.
type logBook struct {
	*slog.Logger
	queue *logQueue
	level *slog.LevelVar
	files []logFile
}

// A logFile is a rotating file.
type logFile struct{ *lumberjack.Logger }

// reopen closes the file. The next record opens it again, or creates it.
func (f logFile) reopen() error {
	if err := f.Close(); err != nil {
		return err
	}
	return makeLogFile(f.Filename)
}

// openLog returns the log of cfg with console as the process's output. A
// directory that cannot be written is a warning in the log, not an error.
func openLog(cfg config.Config, console *os.File) *logBook {
	pretty := cfg.Log.Format == config.FormatText ||
		cfg.Log.Format == config.FormatAuto && cfg.Server.Environment == config.Development && isTerminal(console)
	return newLog(cfg, console, pretty)
}

func newLog(cfg config.Config, console io.Writer, pretty bool) *logBook {
	book := &logBook{level: new(slog.LevelVar)}
	book.level.Set(cfg.Log.Level)
	out := logOutputs{console: console}
	problem := book.openFiles(cfg, &out)
	book.queue = newLogQueue(out, book.level)
	book.Logger = slog.New(newLogHandler(book.queue, book.level, pretty))
	if problem != nil {
		book.Warn("no log files are written", "dir", cfg.Log.Dir, "error", problem)
	}
	return book
}

func (b *logBook) openFiles(cfg config.Config, out *logOutputs) error {
	if cfg.Log.Dir == "" {
		return nil
	}
	all, err := openLogFile(cfg, "all.log")
	if err != nil {
		return err
	}
	failures, err := openLogFile(cfg, "error.log")
	if err != nil {
		all.Close()
		return err
	}
	out.all, out.errors = all, failures
	b.files = []logFile{{all}, {failures}}
	return nil
}

// openLogFile returns a rotating file which can be written now.
func openLogFile(cfg config.Config, name string) (*lumberjack.Logger, error) {
	path := filepath.Join(cfg.Log.Dir, name)
	if err := makeLogFile(path); err != nil {
		return nil, err
	}
	return &lumberjack.Logger{Filename: path, MaxSize: cfg.Log.MaxSizeMB, MaxBackups: cfg.Log.MaxFiles}, nil
}

// makeLogFile creates the file and its directory if they are missing.
func makeLogFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

// reopen opens the files again, or creates them if they were moved or deleted.
// Safe for concurrent use.
func (b *logBook) reopen() {
	for _, file := range b.files {
		if err := file.reopen(); err != nil {
			b.Warn("log file not opened again", "file", file.Filename, "error", err)
		}
	}
}

// setLevel changes the least severe level that is logged. Safe for concurrent
// use.
func (b *logBook) setLevel(level slog.Level) { b.level.Set(level) }

// droppedRecords returns how many records log lost because its queue was full,
// 0 for a logger that is not a logBook's. Safe for concurrent use.
func droppedRecords(log *slog.Logger) uint64 {
	if h, ok := log.Handler().(logHandler); ok {
		return h.queue.dropped.Load()
	}
	return 0
}

// Close writes what is queued and closes the files. It gives up after timeout
// if an output is too slow. Records logged later are dropped.
func (b *logBook) Close(timeout time.Duration) error {
	if !b.queue.close(timeout) {
		return fmt.Errorf("log not written within %v", timeout)
	}
	for _, file := range b.files {
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}

// A logHandler formats a record once for each format. Immutable.
type logHandler struct {
	queue  *logQueue
	text   slog.Handler // to the console; nil when that takes JSON
	normal slog.Handler // JSON, below error
	failed slog.Handler // JSON, errors
}

func newLogHandler(q *logQueue, level slog.Leveler, pretty bool) slog.Handler {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: tameAttr}
	jsonTo := toConsole | toAll
	h := logHandler{queue: q}
	if pretty {
		h.text = slog.NewTextHandler(logWriter{q, toConsole}, &slog.HandlerOptions{Level: level, ReplaceAttr: prettyAttr})
		jsonTo = toAll
	}
	h.normal = slog.NewJSONHandler(logWriter{q, jsonTo}, opts)
	h.failed = slog.NewJSONHandler(logWriter{q, jsonTo | toErrors}, opts)
	return h
}

func (h logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.normal.Enabled(ctx, level)
}

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.text != nil {
		if err := h.text.Handle(ctx, r); err != nil {
			return err
		}
	}
	if r.Level >= slog.LevelError {
		return h.failed.Handle(ctx, r)
	}
	return h.normal.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(one slog.Handler) slog.Handler { return one.WithAttrs(attrs) })
}

func (h logHandler) WithGroup(name string) slog.Handler {
	return h.each(func(one slog.Handler) slog.Handler { return one.WithGroup(name) })
}

func (h logHandler) each(with func(slog.Handler) slog.Handler) slog.Handler {
	if h.text != nil {
		h.text = with(h.text)
	}
	h.normal, h.failed = with(h.normal), with(h.failed)
	return h
}

// tameAttr hides secrets and shortens values that are too long.
func tameAttr(_ []string, a slog.Attr) slog.Attr {
	switch strings.ToLower(a.Key) {
	case "token", "password", "secret", "authorization", "cookie":
		return slog.String(a.Key, secret.Hidden)
	}
	switch a.Value.Kind() {
	case slog.KindDuration: // a number says nothing without its unit
		ms := float64(a.Value.Duration().Round(time.Microsecond)) / float64(time.Millisecond)
		return slog.Float64(a.Key+"Ms", ms)
	case slog.KindString:
		a.Value = slog.StringValue(cut(secret.HideInURLs(a.Value.String())))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error:
			a.Value = slog.StringValue(cut(secret.HideInURLs(v.Error())))
		case fmt.Stringer: // an enumeration would be its number in JSON
			a.Value = slog.StringValue(cut(secret.HideInURLs(v.String())))
		}
	}
	return a
}

// prettyAttr is tameAttr for the console's readable format, which has only the
// time of day.
func prettyAttr(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 {
		return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
	}
	return tameAttr(groups, a)
}

func cut(text string) string {
	if len(text) <= maxLogValue {
		return text
	}
	end := maxLogValue
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%d bytes)", text[:end], len(text))
}

func isTerminal(file *os.File) bool {
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
