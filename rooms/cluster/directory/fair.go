package directory

// fair is a queue of rooms that serves users in turn, so that thousands of
// rooms of one user do not delay the room of another. Owned by its directory.
type fair struct {
	lines map[string]*line
	turns []*line // users with waiting rooms
	at    int     // index in turns of the next user
	size  int
}

// A line has the waiting rooms of one user, first in, first out.
type line struct {
	by    string
	rooms []*entry
	head  int
}

func (f *fair) push(by string, e *entry) {
	l := f.lines[by]
	if l == nil {
		if f.lines == nil {
			f.lines = make(map[string]*line)
		}
		l = &line{by: by}
		f.lines[by] = l
		f.turns = append(f.turns, l)
	}
	l.rooms = append(l.rooms, e)
	f.size++
}

// pop returns the next room, nil if none waits.
func (f *fair) pop() *entry {
	if f.size == 0 {
		return nil
	}
	if f.at >= len(f.turns) {
		f.at = 0
	}
	l := f.turns[f.at]
	e := l.rooms[l.head]
	l.rooms[l.head] = nil
	l.head++
	f.size--
	if l.head < len(l.rooms) {
		f.at++
		return e
	}
	delete(f.lines, l.by)
	last := len(f.turns) - 1
	f.turns[f.at] = f.turns[last]
	f.turns[last] = nil
	f.turns = f.turns[:last]
	return e
}
