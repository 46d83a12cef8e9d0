package eventlog

import "time"

// TurnSettles is how long a node whose turn begins waits for notes of the
// previous node, which are delivered before its own.
const TurnSettles = 200 * time.Millisecond

// A Turn tracks up to which offset the dead letters are written. One node at a
// time writes them: the one to which a queue delivers notes. A note is an offset
// up to which all dead letters are written, or any other text, with which a node
// requests the turn. The newest offset stays unacknowledged, so that the queue
// delivers it to the next node. Owned by one goroutine.
type Turn struct {
	Done Offset // zero: no note with an offset has come
	held uint64 // delivery tag of the unacknowledged note; 0: none
}

// Take handles a note with its delivery tag. It returns the tag that must be
// acknowledged, 0 for none. first reports whether this node's turn begins with
// the note.
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
		letGo = tag // the note has no newer offset
	}
	return letGo, first
}
