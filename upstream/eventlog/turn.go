package eventlog

import "time"

// TurnSettles is how long a node whose turn begins waits for notes of the
// previous node, which come first.
const TurnSettles = 200 * time.Millisecond

// A Turn is what the node that writes the dead letters knows about how far they
// are written: from notes in a queue that delivers to one node at a time. A
// note is an offset up to which everything is done, or any other text, with
// which a node requests the turn. The newest offset stays unacknowledged, so
// that the next node gets it. Owned by one goroutine.
type Turn struct {
	Done Offset // zero: no node has told
	held uint64 // tag of the note that is kept; 0: none has come
}

// Take handles a note with its delivery tag. It returns the tag that is to be
// acknowledged, 0 for none. first: this node's turn begins with it.
func (t *Turn) Take(tag uint64, note string) (letGo uint64, first bool) {
	first = t.held == 0
	o, told := ParseOffset(note)
	letGo = t.held
	switch {
	case told:
		t.Done, t.held = o, tag
	case first:
		t.held = tag
	default:
		letGo = tag // nothing new
	}
	return letGo, first
}
