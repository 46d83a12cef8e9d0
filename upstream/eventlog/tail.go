package eventlog

import "slices"

// A Tail is the newest part of a log without a gap, indexed by room. It is not
// safe for concurrent use.
type Tail struct {
	limit int // bytes

	log     string
	begin   Position // position behind which this node has read the log; 0: not known
	after   Position // every entry behind this one, up to last, is here
	last    Position
	started bool // after is known

	items []tailItem // in order of position; only entries that are for rooms
	head  int        // index of the oldest
	base  uint64     // number of the item at index 0; the numbers in refs and newest
	bytes int

	newest map[uint64]uint64 // by key of a room: the number of its newest item, plus 1
}

// A tailItem is an entry of a Tail with its rooms.
type tailItem struct {
	entry Entry
	first tailRef
	more  []tailRef // for rooms beyond the first
}

// A tailRef links an item to the previous one of the same room.
type tailRef struct {
	key      uint64
	previous uint64 // number of that item, plus 1; 0: none
}

// tailOverhead is about how much memory an item takes in addition to its entry.
const tailOverhead = 96 // bytes

// NewTail returns an empty tail that keeps up to limit bytes.
func NewTail(limit int) *Tail { return &Tail{limit: limit, newest: make(map[uint64]uint64)} }

// Begin empties the tail for a log that is read behind a position, which is 0 if
// it is not known.
func (t *Tail) Begin(log string, behind Position, known bool) {
	*t = Tail{limit: t.limit, log: log, begin: behind, after: behind, last: behind, started: known,
		newest: make(map[uint64]uint64)}
}

// Gap drops all entries, because entries up to a position were lost. It is 0 if
// it is not known.
func (t *Tail) Gap(to Position) { t.Begin(t.log, to, to != 0) }

// Log returns the identity of the log.
func (t *Tail) Log() string { return t.log }

// After returns the position behind which every entry is in the tail.
func (t *Tail) After() Position { return t.after }

// Began returns the position behind which this node has read the log.
func (t *Tail) Began() Position { return t.begin }

// BeganAt sets the position behind which reading began. It is for a process that
// continues the reading of a previous one.
func (t *Tail) BeganAt(p Position) { t.begin = p }

// Last returns the position up to which every entry is in the tail.
func (t *Tail) Last() Position { return t.last }

// Bytes returns about how much memory the tail takes.
func (t *Tail) Bytes() int { return t.bytes }

// Pass records that the log has been read up to a position.
func (t *Tail) Pass(p Position) {
	if !t.started {
		t.begin, t.after, t.started = p-1, p-1, true
	}
	t.last = max(t.last, p)
}

// Skip records that the log has been read up to a position without its entries
// being added. It drops all entries.
func (t *Tail) Skip(p Position) {
	t.Pass(p)
	if len(t.items) > t.head {
		began := t.begin
		t.Begin(t.log, p, true)
		t.begin = began
	}
	t.after = t.last
}

// Add adds the next entry, which is addressed to the rooms with these keys, and
// drops the oldest entries that no longer fit.
func (t *Tail) Add(e Entry, keys []uint64) {
	t.Pass(e.Position)
	if len(keys) == 0 {
		return
	}
	e.Headers = nil
	item := tailItem{entry: e, first: t.link(keys[0])}
	for _, key := range keys[1:] {
		item.more = append(item.more, t.link(key))
	}
	t.items = append(t.items, item)
	t.bytes += item.size()
	for t.bytes > t.limit && t.head < len(t.items) {
		t.drop()
	}
}

func (i *tailItem) size() int { return i.entry.Size() + tailOverhead + 16*cap(i.more) }

// link makes the item that is about to be added the newest one of a room.
func (t *Tail) link(key uint64) tailRef {
	r := tailRef{key: key, previous: t.newest[key]}
	t.newest[key] = t.base + uint64(len(t.items)) + 1
	return r
}

// drop drops the oldest item.
func (t *Tail) drop() {
	item := &t.items[t.head]
	number := t.base + uint64(t.head) + 1
	for _, r := range append([]tailRef{item.first}, item.more...) {
		if t.newest[r.key] == number {
			delete(t.newest, r.key)
		}
	}
	t.bytes -= item.size()
	t.after = item.entry.Position
	*item = tailItem{}
	if t.head++; t.head*2 > len(t.items) {
		n := copy(t.items, t.items[t.head:])
		clear(t.items[n:])
		t.items, t.base, t.head = t.items[:n], t.base+uint64(t.head), 0
	}
}

// Find appends to dst up to most entries of a room between two positions, newest
// first.
func (t *Tail) Find(key uint64, from, to Position, most int, dst []Entry) []Entry {
	for number := t.newest[key]; number > t.base+uint64(t.head); {
		item := &t.items[number-1-t.base]
		if item.entry.Position <= from || most <= 0 {
			break
		}
		if item.entry.Position <= to {
			dst = append(dst, item.entry)
			most--
		}
		number = item.previous(key)
	}
	return dst
}

func (i *tailItem) previous(key uint64) uint64 {
	if i.first.key == key {
		return i.first.previous
	}
	for _, r := range i.more {
		if r.key == key {
			return r.previous
		}
	}
	return 0
}

// Prepend adds entries that are older than all in the tail, with the keys of
// their rooms. The first of them is the one after the position after. It
// reports whether they fit.
func (t *Tail) Prepend(after Position, entries []Entry, keys [][]uint64) bool {
	size := t.bytes
	for i := range entries {
		item := tailItem{entry: entries[i], more: make([]tailRef, max(len(keys[i])-1, 0))}
		size += item.size()
	}
	if size > t.limit {
		return false
	}
	older := *t
	t.items = slices.Grow([]tailItem(nil), len(entries)+len(older.items)-older.head)
	t.head, t.base, t.bytes, t.after = 0, 0, 0, after
	t.newest = make(map[uint64]uint64, len(older.newest))
	for i := range entries {
		t.Add(entries[i], keys[i])
	}
	var again []uint64
	for i := older.head; i < len(older.items); i++ {
		item := &older.items[i]
		again = append(again[:0], item.first.key)
		for _, r := range item.more {
			again = append(again, r.key)
		}
		t.Add(item.entry, again)
	}
	return true
}
