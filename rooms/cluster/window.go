package cluster

// windowSize is how far behind the newest message of a lane another may come
// and still be told apart from one that was there. A lane publishes at most
// letterBatch messages before it looks whether all went out.
const windowSize = 1024

// A window remembers which numbers of one source have come. Owned by the
// receiver.
type window struct {
	top  uint64 // the highest number so far
	seen [windowSize / 64]uint64
}

// first reports whether number comes for the first time. What is too old to
// tell has come: the network holds late copies back, never late originals.
func (w *window) first(number uint64) bool {
	if number > w.top {
		w.advance(number)
	} else if w.top-number >= windowSize {
		return false
	}
	word, bit := &w.seen[number/64%(windowSize/64)], uint64(1)<<(number%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// advance makes number the top and forgets those that fall out at the end.
func (w *window) advance(number uint64) {
	if number-w.top >= windowSize {
		w.seen = [windowSize / 64]uint64{}
	} else {
		for n := w.top + 1; n <= number; n++ {
			w.seen[n/64%(windowSize/64)] &^= 1 << (n % 64)
		}
	}
	w.top = number
}
