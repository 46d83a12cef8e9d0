package upstream

import (
	"context"
	"slices"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
	"github.com/hometrip/gateway/upstream/routes"
)

// A filler reads older entries of the log: those behind oldest, up to after.
type filler struct {
	h             *history
	log           string
	oldest, after eventlog.Position
	next          eventlog.Position // that is to come
	holes         eventlog.Position // in a row that mean nothing

	encoder    *routes.Encoder
	duplicates *eventlog.Duplicates
	entries    []eventlog.Entry
	keys       [][]uint64
	bytes      int
}

// filler returns a filler for the entries that a question needs and that are
// not in memory. It is nil if there are none, or the log is another one.
func (h *history) filler(a *ask) (*filler, rooms.RecoveryResult) {
	h.mu.Lock()
	defer h.mu.Unlock()
	log, after := h.tail.Log(), h.tail.After()
	oldest, needed := h.oldest(a)
	if log != a.q.Log {
		return nil, rooms.RecoveryOtherLog
	}
	if !needed || oldest >= after { // another question was for the same
		return nil, rooms.RecoveryDone
	}
	return &filler{
		h: h, log: log, oldest: oldest, after: after, next: oldest + 1,
		encoder: routes.NewEncoder(h.table, h.maxBody), duplicates: eventlog.NewDuplicates(duplicateWindow),
	}, rooms.RecoveryDone
}

func (f *filler) start() eventlog.Start {
	return eventlog.Start{From: eventlog.FromPosition, Position: f.next, Window: defaultWindow}
}

// read reads the entries from the log.
func (f *filler) read(ctx context.Context) rooms.RecoveryResult {
	source, err := f.h.log.Open(ctx, f.start())
	if err != nil {
		return rooms.RecoveryFailed
	}
	defer source.Close()
	if !f.opened(source.Info()) {
		return rooms.RecoveryOtherLog
	}
	for !f.done() {
		entries, err := source.Next(ctx, fillTimeout)
		if err != nil || ctx.Err() != nil {
			return rooms.RecoveryFailed
		}
		for i := range entries {
			if !f.step(&entries[i]) {
				return rooms.RecoveryLogShort
			}
		}
		if len(entries) > 0 {
			source.Taken(entries[len(entries)-1].Position)
		}
	}
	return rooms.RecoveryDone
}

// opened checks the log that was opened. It reports whether it is the right
// one.
func (f *filler) opened(info eventlog.Info) bool {
	f.holes = eventlog.Position(info.Holes)
	return info.Identity == f.log
}

// done reports whether everything has been read.
func (f *filler) done() bool { return f.next > f.after }

// step handles the next entry. It reports whether it follows the one before it
// and fits.
func (f *filler) step(e *eventlog.Entry) bool {
	if e.Position < f.next {
		return true // of the same chunk
	}
	if e.Position > f.next+f.holes || f.bytes > f.h.limit {
		return false
	}
	if f.next = e.Position + 1; e.Position <= f.after {
		f.take(e)
	}
	return true
}

// end adds what was read to the front of what is in memory. again: entries in
// memory were dropped meanwhile.
func (f *filler) end() (why rooms.RecoveryResult, again bool) {
	h := f.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tail.Log() != f.log || h.tail.After() != f.after {
		return rooms.RecoveryLogShort, true
	}
	if !h.tail.Prepend(f.oldest, f.entries, f.keys) {
		return rooms.RecoveryLogShort, false
	}
	return rooms.RecoveryDone, false
}

// take keeps an entry that is for rooms, and an order.
func (f *filler) take(e *eventlog.Entry) {
	r := f.h.table.Find(e.Key)
	if r == nil {
		return
	}
	if _, err := f.encoder.Read(r, e.Body); err != nil || f.duplicates.Repeats(e, messageID(e, f.encoder)) {
		return
	}
	var keys []uint64
	switch {
	case r.IsOrder():
		o, err := f.encoder.Order(e.Key, e.Published)
		if err != nil {
			return
		}
		keys = f.h.orderKeys(o, nil)
	case r.Volatile || f.encoder.Address(r) != nil:
		return
	default:
		keys = f.h.roomKeys(f.encoder, nil)
	}
	kept := *e
	kept.Body = slices.Clone(e.Body)
	f.entries, f.keys = append(f.entries, kept), append(f.keys, keys)
	f.bytes += kept.Size()
}
