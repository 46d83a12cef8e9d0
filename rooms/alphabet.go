package rooms

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// An Alphabet is the set of characters that a room's id may have. The zero
// Alphabet has all characters but control characters.
type Alphabet struct {
	some  bool
	ascii [2]uint64 // bit set, unless all are allowed
}

// ParseAlphabet parses characters and ranges of them, such as "a-zA-Z0-9_.-"; a
// "-" at either end stands for itself. "" is the zero Alphabet.
func ParseAlphabet(text string) (a Alphabet, err error) {
	for i := 0; i < len(text); i++ {
		low, high := text[i], text[i]
		if i+2 < len(text) && text[i+1] == '-' {
			high = text[i+2]
			i += 2
		}
		if low > high || low <= ' ' || high >= 0x7f {
			return Alphabet{}, fmt.Errorf("alphabet %q: want ASCII characters and ranges such as a-z", text)
		}
		for c := low; c <= high; c++ {
			a.ascii[c/64] |= 1 << (c % 64)
		}
		a.some = true
	}
	return a, nil
}

// allows reports whether all characters of id are in the alphabet.
func (a *Alphabet) allows(id []byte) bool {
	for _, c := range id {
		switch {
		case c < ' ' || c == 0x7f:
			return false
		case a.some && (c >= utf8.RuneSelf || a.ascii[c/64]&(1<<(c%64)) == 0):
			return false
		}
	}
	return true
}

// String returns the alphabet in the form that ParseAlphabet parses.
func (a Alphabet) String() string {
	var b strings.Builder
	dash := false
	for c := byte('!'); a.some && c < 0x7f; c++ {
		switch {
		case a.ascii[c/64]&(1<<(c%64)) == 0:
		case c == '-':
			dash = true
		default:
			b.WriteByte(c)
		}
	}
	if dash {
		b.WriteByte('-')
	}
	return b.String()
}
