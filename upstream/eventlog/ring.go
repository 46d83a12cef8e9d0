package eventlog

import "sort"

// A Ring holds the newest entries of a log in order, limited by their bytes. It
// is not safe for concurrent use.
type Ring struct {
	limit   int // bytes
	entries []Entry
	head    int // index of the oldest
	bytes   int
}

// NewRing returns a ring that keeps up to limit bytes, and at least the newest
// entry.
func NewRing(limit int) *Ring { return &Ring{limit: limit} }

// Add adds an entry behind the newest one and drops the oldest ones that no
// longer fit.
func (r *Ring) Add(e Entry) {
	r.entries = append(r.entries, e)
	r.bytes += e.Size()
	for r.bytes > r.limit && r.head < len(r.entries)-1 {
		r.bytes -= r.entries[r.head].Size()
		r.entries[r.head] = Entry{}
		r.head++
	}
	if r.head*2 > len(r.entries) {
		n := copy(r.entries, r.entries[r.head:])
		clear(r.entries[n:])
		r.entries, r.head = r.entries[:n], 0
	}
}

// Reset drops all entries.
func (r *Ring) Reset() { *r = Ring{limit: r.limit} }

// First and Last return the positions of the oldest and the newest entry, 0 if
// there is none.
func (r *Ring) First() Position {
	if r.head == len(r.entries) {
		return 0
	}
	return r.entries[r.head].Position
}

// Last is described at First.
func (r *Ring) Last() Position {
	if r.head == len(r.entries) {
		return 0
	}
	return r.entries[len(r.entries)-1].Position
}

// Bytes returns about how much memory the entries take.
func (r *Ring) Bytes() int { return r.bytes }

// From appends up to most entries to dst. It begins at a position or, if that
// entry was dropped, at the oldest one.
func (r *Ring) From(p Position, most int, dst []Entry) []Entry {
	kept := r.entries[r.head:]
	i := sort.Search(len(kept), func(i int) bool { return kept[i].Position >= p })
	return append(dst, kept[i:min(i+most, len(kept))]...)
}
