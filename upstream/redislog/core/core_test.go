package core

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// entryAt is an entry with this id and time, as Redis returns it.
func entryAt(id string, at int64) []Raw {
	return []Raw{{ID: id, Fields: []string{fieldAt, fmt.Sprint(at)}}}
}

// round runs one round of trimming on a stream of 10 entries from position 5 on.
// Entries before position young are too old. It returns the last command.
func round(t *testing.T, trimming *Trimming, young int, bytes int64) (last Command) {
	t.Helper()
	const now, first, length = 1_700_000_100_000, 5, 10
	at := func(p int) int64 {
		if p >= young {
			return now
		}
		return now - trimming.Retention.Milliseconds() - 1
	}
	trimming.Begin()
	for range 100 {
		c, ok := trimming.Command()
		if !ok {
			return last
		}
		last = c
		var r Reply
		switch words := c.Words("key"); words[0] {
		case "XLEN":
			r.Number = length
		case "MEMORY":
			r.Number = bytes
		case "EVAL":
			r.List = []string{"17", fmt.Sprint(first + length - 1), fmt.Sprint(int64(now)), ""}
		case "XRANGE":
			p := int(first)
			_, _ = fmt.Sscanf(words[2], "17-%d", &p)
			r.Entries = entryAt(fmt.Sprintf("17-%d", p), at(p))
		}
		trimming.Take(&r)
	}
	t.Fatal("the round has not ended after 100 commands")
	return last
}

// Entries are removed by id, not by number: other nodes append and remove during a
// round, after which a number would mean other entries.
func TestTrimmingRemovesByID(t *testing.T) {
	for name, c := range map[string]struct {
		young int
		bytes int64
		want  string
	}{
		"some are too old": {8, 100, "XTRIM key MINID 17-8"},
		"all are too old":  {99, 100, "XTRIM key MINID 17-14"},
		"it is too large":  {5, 2000, "XTRIM key MINID 17-10"},
		"nothing goes":     {5, 100, "MEMORY USAGE key SAMPLES 100"},
	} {
		t.Run(name, func(t *testing.T) {
			trimming := &Trimming{Retention: time.Minute, MaxBytes: 1000}
			last := round(t, trimming, c.young, c.bytes)
			if got := strings.Join(last.Words("key"), " "); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// XTRIM of Redis before 6.2 has no MINID. Its syntax error makes this and later rounds
// remove by number; a second error is reported.
func TestTrimmingOfOldRedisRemovesByNumber(t *testing.T) {
	trimming := &Trimming{Retention: time.Minute, MaxBytes: 1000}
	trimming.Begin()
	trimming.step, trimming.log, trimming.first, trimming.length, trimming.gone = stepRemove, "17", 5, 10, 3
	trimming.Take(&Reply{Err: errors.New("ERR syntax error")})
	for range 2 {
		c, _ := trimming.Command()
		if got := strings.Join(c.Words("key"), " "); got != "XTRIM key MAXLEN 7" {
			t.Errorf("%s, want 7 entries kept", got)
		}
		trimming.Take(&Reply{Number: 3})
		if err, _ := trimming.Err(); err != nil {
			t.Error(err)
		}
		trimming.Begin() // the next round knows that MINID is missing
		trimming.step, trimming.length, trimming.gone = stepRemove, 9, 2
	}
	trimming.Take(&Reply{Err: errors.New("ERR syntax error")})
	if err, _ := trimming.Err(); err == nil {
		t.Error("a second syntax error is not reported")
	}
}

// All entries are too old, and other nodes have removed some since they were counted.
// The newest entry must stay.
func TestConcurrentTrimmingKeepsTheNewestEntry(t *testing.T) {
	trimming := &Trimming{Retention: time.Minute, MaxBytes: 1000}
	trimming.Begin()
	for _, r := range []Reply{{Number: 10}, {Entries: entryAt("17-14", 5)}, {List: []string{"17", "14", "1700000000000", ""}}} {
		trimming.Take(&r)
	}
	for trimming.step == stepSearch { // also positions after the newest entry
		trimming.Take(&Reply{Entries: entryAt("17-14", 5)})
	}
	trimming.Take(&Reply{Number: 100})
	c, _ := trimming.Command()
	if got := strings.Join(c.Words("key"), " "); got != "XTRIM key MINID 17-14" {
		t.Errorf("%s removes the newest entry", got)
	}
}

// Other nodes remove entries during the search, so there are fewer than were counted.
// Only entries that are too old may be removed.
func TestConcurrentTrimmingRemovesOldEntriesOnly(t *testing.T) {
	trimming := &Trimming{Retention: time.Minute, MaxBytes: 1000}
	trimming.Begin()
	for _, r := range []Reply{{Number: 100}, {Entries: entryAt("17-90", 5)}, {List: []string{"17", "99", "1700000000000", ""}}} {
		trimming.Take(&r)
	}
	for trimming.step == stepSearch {
		c, _ := trimming.Command()
		var p int
		_, _ = fmt.Sscanf(c.After[0], "17-%d", &p)
		r := Reply{} // after the newest entry
		switch {
		case p < 93:
			r.Entries = entryAt(c.After[0], 5)
		case p <= 99:
			r.Entries = entryAt(c.After[0], 1_700_000_000_000)
		}
		trimming.Take(&r)
	}
	trimming.Take(&Reply{Number: 100})
	c, _ := trimming.Command()
	if got := strings.Join(c.Words("key"), " "); got != "XTRIM key MINID 17-93" {
		t.Errorf("%s, want those before 93 removed", got)
	}
}

// A node that knows of lost entries has the log renewed. The reply must tell it and
// other nodes that the log was renewed.
func TestALogThatHasLostEntriesIsRenewed(t *testing.T) {
	r := NewReading(eventlog.Start{From: eventlog.FromNext, Renew: Identity("1700000000000")})
	c := r.Command()
	if c.Kind != Eval || len(c.After) != 1 || c.After[0] != "1700000000000" {
		t.Errorf("arguments %q, want the number of the log", c.After)
	}
	if _, err := r.Take(&Reply{List: []string{"1700000000001", "1", "1700000000001", "1700000000000"}}); err != nil {
		t.Fatal(err)
	}
	if info := r.Info(); !info.Renewed || info.Identity != Identity("1700000000001") || info.End != 1 {
		t.Errorf("info %+v, want log 1700000000001, renewed, with one entry", info)
	}
}
