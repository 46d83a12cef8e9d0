package rooms

import (
	"testing"
	"time"
)

// A recordStore is the remote store of records, in place of Redis. It confirms
// writes at once or, if held, when the test calls answer.
type recordStore struct {
	records map[string]*Record
	saving  []func(saved bool)
	held    bool // Save stores nothing and does not confirm
}

func (d *recordStore) Save(pid string, form []byte, _ time.Duration, done func(bool)) {
	if !d.held {
		d.records[pid], _ = ParseRecord(form)
	}
	switch {
	case done == nil:
	case d.held:
		d.saving = append(d.saving, done)
	default:
		done(true)
	}
}

func (d *recordStore) Forget(pid string, _ uint32) { delete(d.records, pid) }

func (d *recordStore) Take(pid, _ string, done func(*Record, RecoveryResult)) {
	r := d.records[pid]
	if r == nil {
		done(nil, RecoveryUnknown)
		return
	}
	delete(d.records, pid)
	r.Orphan = true
	done(r, RecoveryDone)
}

func (d *recordStore) Elsewhere(pid string, done func(uint32, bool)) {
	r := d.records[pid]
	if r == nil {
		done(0, false)
		return
	}
	done(r.Moves, r.Node != d.Node())
}

func (d *recordStore) Dissolve(string, string) {}

func (d *recordStore) Node() string { return "a" }

// answer confirms all pending writes, or reports that they have failed.
func (d *recordStore) answer(saved bool) {
	waiting := d.saving
	d.saving = nil
	for _, done := range waiting {
		done(saved)
	}
}

func newRecordStore(t *testing.T) (*world, *fakeHistory, *recordStore) {
	d := &recordStore{records: map[string]*Record{}}
	w, past := newHistoryWorld(t, 1, func(c *Config) { c.Recovery.Remote = d })
	return w, past, d
}
