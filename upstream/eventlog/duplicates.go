package eventlog

import "hash/maphash"

// Duplicates recognizes events that a publisher has appended twice, because it
// did not get the answer to the first time. Two events are the same when they
// have the same id and also the same exchange, key, application and body: ids
// are often unique only within one service. It remembers the events of a window
// of positions, not of a time, so every node that reads the log decides alike.
//
// Owned by one goroutine.
type Duplicates struct {
	window Position
	seed   maphash.Seed
	seen   map[uint64]Position // by hash: where the event was last
	order  []remembered        // a ring, the oldest at head
	head   int
}

type remembered struct {
	hash     uint64
	position Position
}

// NewDuplicates returns one that remembers the events of so many positions.
func NewDuplicates(window int) *Duplicates {
	return &Duplicates{window: Position(window), seed: maphash.MakeSeed(), seen: make(map[uint64]Position)}
}

// Repeats reports whether an event is a repetition of one within the window,
// and remembers it otherwise. id is the message id, or what stands for it in
// the body; an event without one is never a repetition.
func (d *Duplicates) Repeats(e *Entry, id []byte) bool {
	d.forget(e.Position)
	if len(id) == 0 {
		return false
	}
	hash := d.hash(e, id)
	if _, known := d.seen[hash]; known {
		return true
	}
	d.seen[hash] = e.Position
	d.order = append(d.order, remembered{hash, e.Position})
	return false
}

// hash separates the texts by a byte that UTF-8 does not have.
func (d *Duplicates) hash(e *Entry, id []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(d.seed)
	h.Write(id)
	h.WriteByte(0xff)
	h.WriteString(e.Exchange)
	h.WriteByte(0xff)
	h.WriteString(e.Key)
	h.WriteByte(0xff)
	h.WriteString(e.AppID)
	h.WriteByte(0xff)
	h.Write(e.Body)
	return h.Sum64()
}

// forget drops what is further back than the window.
func (d *Duplicates) forget(now Position) {
	for d.head < len(d.order) && d.order[d.head].position+d.window <= now {
		delete(d.seen, d.order[d.head].hash)
		d.head++
	}
	if d.head*2 > len(d.order) {
		d.order = append(d.order[:0], d.order[d.head:]...)
		d.head = 0
	}
}

// Reset forgets everything: the log is another one.
func (d *Duplicates) Reset() {
	clear(d.seen)
	d.order, d.head = d.order[:0], 0
}
