package eventlog

import "time"

// TurnSettles is how long the node whose turn it is waits for notes of the node
// before, which come first.
const TurnSettles = 200 * time.Millisecond

// A Turn is what the node that writes the dead letters knows of how far they
// are: from notes in a queue that delivers to one node at a time. A note is an
// offset up to which everything is done, or any other text of a node that wants
// the turn. The newest offset stays unacknowledged, so that the next node gets
// it. Owned by one goroutine.
type Turn struct {
	Done Offset // zero: no node has told
	held uint64 // tag of the note that is kept; 0: none has come
}

// Take takes a note with its delivery tag. It returns the tag that is to be
// acknowledged, 0 for none. first: it is this node's turn from here on.
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
