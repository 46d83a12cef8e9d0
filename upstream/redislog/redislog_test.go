package redislog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
	"github.com/hometrip/gateway/rooms/cluster"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/redislog/core"
)

const patience = testkit.Patience

func TestMain(m *testing.M) {
	code := m.Run()
	redistest.CloseShared()
	os.Exit(code)
}

// newLog returns a log with a stream named after the test.
func newLog(t testing.TB, change ...func(*Config)) *Log {
	t.Helper()
	redis := redistest.Shared(t)
	server := cluster.Server{Addresses: []string{redis.Addr}}
	c := Config{
		Open: func() (rueidis.Client, error) { return server.Open(0, nil) }, Host: redis.Addr, Key: t.Name(),
		Retention: time.Hour, MaxBytes: 1 << 30, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, f := range change {
		f(&c)
	}
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func open(t testing.TB, l *Log, at eventlog.Start) eventlog.Source {
	t.Helper()
	s, err := l.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// add appends n entries, whose bodies are their numbers.
func add(t testing.TB, l *Log, n int) (last eventlog.Position) {
	t.Helper()
	var waits []func() (eventlog.Position, error)
	for i := range n {
		waits = append(waits, l.Append(t.Context(), eventlog.Entry{Key: "k", Body: fmt.Append(nil, i)}))
	}
	for _, wait := range waits {
		p, err := wait()
		if err != nil || last != 0 && p != last+1 {
			t.Fatalf("position %d after %d, %v", uint64(p), uint64(last), err)
		}
		last = p
	}
	return last
}

// trim runs one round of trimming.
func trim(t testing.TB, l *Log) error {
	t.Helper()
	return l.trimOnce(t.Context(), &core.Trimming{Retention: l.config.Retention, MaxBytes: l.config.MaxBytes})
}

// next reads the next n entries.
func next(t testing.TB, s eventlog.Source, n int) (all []eventlog.Entry) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for len(all) < n {
		entries, err := s.Next(t.Context(), time.Second)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%d of %d entries were read, %v", len(all), n, err)
		}
		all = append(all, entries...)
	}
	return all
}

func TestAnEntryIsReadAsItWasAppended(t *testing.T) {
	l := newLog(t)
	want := []eventlog.Entry{
		{Exchange: "e", Key: "message.sent", MessageID: "m", AppID: "a", Trace: "t",
			Published: time.UnixMicro(1_800_000_000_123_456), Body: []byte("{\"a\":\"\x00\xff\"}"), Headers: map[string]any{"x": "1"}},
		{Key: "k", Body: []byte{}},
		{Body: []byte{}},
	}
	for i := range want {
		var err error
		if want[i].Position, err = l.Append(t.Context(), want[i])(); err != nil {
			t.Fatal(err)
		}
	}
	got := next(t, open(t, l, eventlog.Start{From: eventlog.FromFirst, Window: 100}), len(want))
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%+v\nwant %+v", got[i], want[i])
		}
	}
}

// Waiting for entries is canceled 50 times, as clients that recover cause. The
// connection to Redis must be kept.
func TestACanceledReadKeepsTheConnection(t *testing.T) {
	l := newLog(t)
	s := open(t, l, eventlog.Start{From: eventlog.FromNext, Window: 100})
	add(t, l, 1)
	next(t, s, 1)
	connections := func() int {
		t.Helper()
		text, err := redistest.Shared(t).CLI("INFO", "stats")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			if number, ok := strings.CutPrefix(line, "total_connections_received:"); ok {
				n, err := strconv.Atoi(strings.TrimSpace(number))
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("no number of connections in %s", text)
		return 0
	}
	before := connections()
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if entries, err := s.Next(ctx, time.Minute); err != nil || len(entries) > 0 {
			t.Fatalf("%v, %v", entries, err)
		}
	}
	if n := connections() - before - 1; n > 1 { // one is that of redis-cli
		t.Errorf("%d connections were made while the wait was ended 50 times", n)
	}
	add(t, l, 3)
	next(t, s, 3)
}

// Each start position of the log in Redis gives the entries from there on, preceded by
// the one before, by which a reader recognises the log.
func TestTheLogIsReadFromAnyPosition(t *testing.T) {
	l := newLog(t)
	last := add(t, l, 500)
	for _, c := range []struct {
		at          eventlog.Start
		first, want eventlog.Position
	}{
		{eventlog.Start{From: eventlog.FromFirst}, last - 499, last},
		{eventlog.Start{From: eventlog.FromPosition, Position: last - 9}, last - 10, last},
		{eventlog.Start{From: eventlog.FromPosition, Position: last}, last - 1, last},
		{eventlog.Start{From: eventlog.FromNext}, last, last + 1},
	} {
		c.at.Window = 50
		s := open(t, l, c.at)
		if c.at.From == eventlog.FromNext {
			if s.Info().Behind != last {
				t.Errorf("Behind is %d, want %d", uint64(s.Info().Behind), uint64(last))
			}
			add(t, l, 1)
		}
		for n, e := range next(t, s, int(c.want-c.first)+1) {
			if e.Position != c.first+eventlog.Position(n) {
				t.Fatalf("%+v: entry %d has position %d", c.at, n, uint64(e.Position))
			}
		}
	}
}

// The stream is deleted and written again. Open readers must fail instead of reading
// entries of the new log, which has another identity.
func TestADeletedStreamIsAnotherLog(t *testing.T) {
	l := newLog(t)
	add(t, l, 3)
	idle, behind := open(t, l, eventlog.Start{From: eventlog.FromNext, Window: 10}), open(t, l, eventlog.Start{From: eventlog.FromFirst, Window: 10})
	before := idle.Info().Identity
	if _, err := redistest.Shared(t).CLI("DEL", l.config.Key); err != nil {
		t.Fatal(err)
	}
	add(t, l, 5)
	for _, s := range []eventlog.Source{idle, behind} {
		for {
			entries, err := s.Next(t.Context(), time.Minute)
			if err != nil {
				break
			}
			if len(entries) > 0 {
				t.Fatalf("an entry of another log was read: %+v", entries[0])
			}
		}
	}
	s := open(t, l, eventlog.Start{From: eventlog.FromFirst, Window: 10})
	if s.Info().Identity == before {
		t.Error("the new log has the identity of the old one")
	}
	next(t, s, 5)
}

// The stream loses its last entry, as after a restart from an older file. The next
// read must fail with that reason.
func TestLostEntriesAreDetected(t *testing.T) {
	l := newLog(t)
	add(t, l, 1)
	s := open(t, l, eventlog.Start{From: eventlog.FromFirst, Window: 10})
	next(t, s, 1)
	add(t, l, 1)
	next(t, s, 1)
	const lose = "local id = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1] " +
		"redis.call('XDEL', KEYS[1], id) " +
		"redis.call('XSETID', KEYS[1], redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1])"
	if _, err := redistest.Shared(t).CLI("EVAL", lose, "1", l.config.Key); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := s.Next(t.Context(), time.Minute); err != nil {
			if !strings.Contains(err.Error(), "lost entries") {
				t.Error(err)
			}
			return
		}
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	s := open(t, newLog(t), eventlog.Start{From: eventlog.FromNext, Window: 10})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if entries, err := s.Next(ctx, time.Hour); len(entries) > 0 || err != nil {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestOldEntriesAreRemoved(t *testing.T) {
	l := newLog(t, func(c *Config) { c.Retention = time.Minute })
	const ancient = "for i = 1, 300 do redis.call('XADD', KEYS[1], '5-' .. i, 'at', '5') end"
	if _, err := redistest.Shared(t).CLI("EVAL", ancient, "1", l.config.Key); err != nil {
		t.Fatal(err)
	}
	last := add(t, l, 10)
	if err := trim(t, l); err != nil {
		t.Fatal(err)
	}
	got := next(t, open(t, l, eventlog.Start{From: eventlog.FromFirst, Window: 500}), 10)
	if got[0].Position != last-9 {
		t.Errorf("the oldest entry is at %d, want %d", uint64(got[0].Position), uint64(last-9))
	}
}

func TestTheNewestEntryStays(t *testing.T) {
	l := newLog(t, func(c *Config) { c.Retention = time.Nanosecond })
	last := add(t, l, 10)
	time.Sleep(5 * time.Millisecond) // let the clock of Redis advance
	if err := trim(t, l); err != nil {
		t.Fatal(err)
	}
	if got := next(t, open(t, l, eventlog.Start{From: eventlog.FromFirst, Window: 500}), 1); len(got) != 1 || got[0].Position != last {
		t.Errorf("entries %+v are left, want only that at position %d", got, uint64(last))
	}
}

func TestALargeLogIsTrimmed(t *testing.T) {
	l := newLog(t, func(c *Config) { c.MaxBytes = 200_000 })
	body := make([]byte, 1000)
	for range 1000 {
		if _, err := l.Append(t.Context(), eventlog.Entry{Key: "k", Body: body})(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := trim(t, l); err != nil {
			t.Fatal(err)
		}
	}
	length, err := redistest.Shared(t).CLI("XLEN", l.config.Key)
	if n := 0; err != nil {
		t.Fatal(err)
	} else if _, err := fmt.Sscan(length, &n); err != nil || n < 100 || n > 200 {
		t.Errorf("%s entries of 1,000 bytes are kept with a limit of 200,000 bytes, want 100 to 200; %v", length, err)
	}
}

// Appending to a closed log fails at once.
func TestAClosedLogRefusesEntries(t *testing.T) {
	l := newLog(t)
	l.Close()
	if _, err := l.Append(t.Context(), eventlog.Entry{Key: "k"})(); err == nil {
		t.Error("an entry was appended to a closed log")
	}
}

// The user of deploy/redis.acl has all rights that the log needs, on a single server
// and on a Redis Cluster: no command may be denied.
func TestLeastRights(t *testing.T) {
	path, err := filepath.Abs("../../deploy/redis.acl")
	if err != nil {
		t.Fatal(err)
	}
	one, err := redistest.Start(nil, "--aclfile", path)
	testkit.Need(t, err)
	t.Cleanup(one.Close)
	several, err := redistest.StartCluster("--aclfile", path)
	testkit.Need(t, err)
	t.Cleanup(several.Close)
	for name, servers := range map[string][]*redistest.Server{"one": {one}, "cluster": several.Servers} {
		t.Run(name, func(t *testing.T) {
			server := cluster.Server{Addresses: []string{servers[0].Addr}, Username: "gateway", Password: "secret"}
			l := newLog(t, func(c *Config) {
				c.Key, c.MaxBytes = "ws:0:events", 1000
				c.Open = func() (rueidis.Client, error) { return server.Open(0, nil) }
			})
			last := add(t, l, 100)
			next(t, open(t, l, eventlog.Start{From: eventlog.FromFirst, Window: 100}), 100)
			if err := trim(t, l); err != nil {
				t.Error(err)
			}
			if got := next(t, open(t, l, eventlog.Start{From: eventlog.FromFirst, Window: 100}), 1); got[0].Position <= 1 || got[0].Position > last {
				t.Errorf("the oldest entry is at position %d, want some removed and some kept", uint64(got[0].Position))
			}
			for _, s := range servers {
				if log, err := s.CLI("ACL", "LOG"); err != nil || log != "" {
					t.Errorf("denied commands: %s %v", log, err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	l := newLog(b)
	body := make([]byte, 300)
	waits := make(chan func() (eventlog.Position, error), 500)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wait := range waits {
			if _, err := wait(); err != nil {
				b.Error(err)
			}
		}
	}()
	for b.Loop() {
		waits <- l.Append(context.Background(), eventlog.Entry{Key: "message.sent", Body: body})
	}
	close(waits)
	<-done
}

func BenchmarkRead(b *testing.B) {
	l := newLog(b)
	add(b, l, 20_000)
	s := open(b, l, eventlog.Start{From: eventlog.FromFirst, Window: 500})
	n, ready := 0, 0
	for b.Loop() {
		if n == 20_000 {
			b.StopTimer()
			s, n = open(b, l, eventlog.Start{From: eventlog.FromFirst, Window: 500}), 0
			b.StartTimer()
		}
		if ready == 0 {
			entries, err := s.Next(context.Background(), time.Second)
			if err != nil || len(entries) == 0 {
				b.Fatal(err)
			}
			ready = len(entries)
		}
		ready--
		n++
	}
}
