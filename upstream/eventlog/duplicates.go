package eventlog

import "github.com/cespare/xxhash/v2"

// Duplicates recognizes events that a publisher has appended twice because it
// did not get the first answer. Two events are the same if they have the same
// id and also the same exchange, key, application and body, because ids are
// often unique only within one service. The window is a number of positions, not
// a duration, so every node that reads the log gets the same result.
//
// Owned by one goroutine.
type Duplicates struct {
	window Position
	seen   map[uint64]Position // by hash: the last position of the event
	order  []Seen              // a ring, the oldest at head
	head   int
	digest xxhash.Digest // scratch
}

// NewDuplicates returns a Duplicates that remembers the events of that many
// positions.
func NewDuplicates(window int) *Duplicates {
	return &Duplicates{window: Position(window), seen: make(map[uint64]Position)}
}

// Repeats reports whether an event repeats one within the window, and remembers
// it otherwise. id is the message id, or the id in the body; an event without
// one is never a repetition.
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
	d.order = append(d.order, Seen{hash, e.Position})
	return false
}

// hash returns a hash of an event, which is the same in every process. The texts
// are separated by a byte that does not occur in UTF-8.
func (d *Duplicates) hash(e *Entry, id []byte) uint64 {
	h := &d.digest
	h.Reset()
	_, _ = h.Write(id)
	for _, text := range [...]string{e.Exchange, e.Key, e.AppID} {
		_, _ = h.Write(separator)
		_, _ = h.WriteString(text)
	}
	_, _ = h.Write(separator)
	_, _ = h.Write(e.Body)
	return h.Sum64()
}

var separator = []byte{0xff}

// A Seen is a remembered event.
type Seen struct {
	Hash     uint64
	Position Position
}

// Seen returns what is remembered, the oldest first.
func (d *Duplicates) Seen() []Seen { return append([]Seen(nil), d.order[d.head:]...) }

// Remember adds the events that another process has seen in the log.
func (d *Duplicates) Remember(seen []Seen) {
	d.Reset()
	for _, s := range seen {
		d.seen[s.Hash] = s.Position
		d.order = append(d.order, s)
	}
}

// forget drops events whose positions are outside the window.
func (d *Duplicates) forget(now Position) {
	for d.head < len(d.order) && d.order[d.head].Position+d.window <= now {
		delete(d.seen, d.order[d.head].Hash)
		d.head++
	}
	if d.head*2 > len(d.order) {
		d.order = append(d.order[:0], d.order[d.head:]...)
		d.head = 0
	}
}

// Reset forgets everything, because the log is another one.
func (d *Duplicates) Reset() {
	clear(d.seen)
	d.order, d.head = d.order[:0], 0
}
