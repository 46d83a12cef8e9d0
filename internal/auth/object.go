package auth

// An object walks the members of a JSON object that is known to be valid,
// without decoding them. Used by one goroutine.
type object struct {
	rest []byte // what follows the opening brace
}

// next returns the next member as it is written. On text that is not valid
// JSON it ends early or returns nonsense, but stays inside the text.
func (o *object) next() (key, value []byte, ok bool) {
	o.skip(',')
	if key = o.take(); len(key) == 0 || key[0] != '"' {
		return nil, nil, false
	}
	o.skip(':')
	value = o.take()
	return key, value, len(value) > 0
}

// skip passes white space and the separator.
func (o *object) skip(separator byte) {
	for len(o.rest) > 0 && (space(o.rest[0]) || o.rest[0] == separator) {
		o.rest = o.rest[1:]
	}
}

func (o *object) take() []byte {
	n := valueLen(o.rest)
	value := o.rest[:n]
	o.rest = o.rest[n:]
	return value
}

// valueLen returns the length of the JSON value that b begins with, 0 when b
// is at the end of the object.
func valueLen(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringLen(b[i:]) - 1
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // after a number or a literal
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// stringLen returns the length of the JSON string b begins with, quotes
// included.
func stringLen(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

func space(b byte) bool {
	return b == ' ' || b == '\t' || b == '\r' || b == '\n'
}
