package codec

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// maxJSONDepth is how many arrays and objects may be open at once. It bounds
// the stack a hostile packet can make the scanner use.
const maxJSONDepth = 512

// ValidJSON reports whether b is one JSON value (RFC 8259) with nothing after
// it, nested no deeper than maxJSONDepth. Apart from that limit encoding/json's
// Valid gives the same answer, several times slower; the two are fuzzed against
// each other. Like that one it does not ask for UTF-8.
func ValidJSON(b []byte) bool {
	end := skipValue(b, skipSpace(b, 0), 0)
	return end > 0 && skipSpace(b, end) == len(b)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the index behind the value that starts at i, or -1; depth
// counts the arrays and objects around it.
func skipValue(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i)
	case c == '{' && depth < maxJSONDepth:
		return skipObject(b, i, depth)
	case c == '[' && depth < maxJSONDepth:
		return skipArray(b, i, depth)
	case c == '-' || c >= '0' && c <= '9':
		return skipNumber(b, i)
	case c == 't':
		return skipWord(b, i, "true")
	case c == 'f':
		return skipWord(b, i, "false")
	case c == 'n':
		return skipWord(b, i, "null")
	}
	return -1
}

func skipWord(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func skipString(b []byte, i int) int {
	for i = skipPlain(b, i+1); i < len(b); i = skipPlain(b, i+1) {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c == '\\':
			if i++; i >= len(b) {
				return -1
			}
			if b[i] != 'u' {
				if bytes.IndexByte([]byte(`"\/bfnrt`), b[i]) < 0 {
					return -1
				}
				continue
			}
			for range 4 {
				if i++; i >= len(b) || hexValue(b[i]) < 0 {
					return -1
				}
			}
		}
	}
	return -1
}

// skipPlain returns the index of the next byte from i on that is special in a
// JSON string: a quote, a backslash or a control character. It looks at eight
// bytes at a time; the tests for "equal" and "less" mark the lowest such byte
// exactly, and only bytes above it can be marked in error.
func skipPlain(b []byte, i int) int {
	const each, high = 0x0101010101010101, 0x8080808080808080
	for ; len(b)-i >= 8; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, backslash := w^each*'"', w^each*'\\'
		marks := ((w-each*' ')&^w | (quote-each)&^quote | (backslash-each)&^backslash) & high
		if marks != 0 {
			return i + bits.TrailingZeros64(marks)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

func skipNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	start := i
	if i = skipDigits(b, i); i == start || i-start > 1 && b[start] == '0' {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = skipDigits(b, start); i == start {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start = i
		if i = skipDigits(b, start); i == start {
			return -1
		}
	}
	return i
}

func skipArray(b []byte, i, depth int) int {
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i = skipValue(b, i, depth+1); i < 0 {
			return -1
		}
		i = skipSpace(b, i)
		if i >= len(b) || b[i] != ',' {
			return skipWord(b, i, "]")
		}
		i = skipSpace(b, i+1)
	}
}

func skipObject(b []byte, i, depth int) int {
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return -1
		}
		if i = skipString(b, i); i < 0 {
			return -1
		}
		if i = skipWord(b, skipSpace(b, i), ":"); i < 0 {
			return -1
		}
		if i = skipValue(b, skipSpace(b, i), depth+1); i < 0 {
			return -1
		}
		i = skipSpace(b, i)
		if i >= len(b) || b[i] != ',' {
			return skipWord(b, i, "}")
		}
		i = skipSpace(b, i+1)
	}
}

// Members returns the members of a JSON object in their order. Keys are
// unescaped, values are JSON text. It ends at the first fault; of anything but an
// object there are no members.
func Members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for key, value, rest, ok := nextMember(object); ok; key, value, rest, ok = nextMember(rest) {
			if !yield(key, value) {
				return
			}
		}
	}
}

// Elements returns the elements of a JSON array in their order, as JSON text. It
// ends at the first fault; of anything but an array there are no elements.
func Elements(array []byte) iter.Seq[[]byte] {
	return func(yield func(element []byte) bool) {
		if i := skipSpace(array, 0); i >= len(array) || array[i] != '[' {
			return
		}
		for element, rest := NextArg(array); element != nil; element, rest = NextArg(rest) {
			if !yield(element) {
				return
			}
		}
	}
}

// ScanObject calls member for each member of text, as Members does, and reports
// whether text is one JSON object with nothing but white space after it. It
// checks and reads in one pass. If text is not an object, member may have been
// called before that was found.
func ScanObject(text []byte, member func(key, value []byte)) (valid bool) {
	i := skipSpace(text, 0)
	if i >= len(text) || text[i] != '{' {
		return false
	}
	rest := text[i:]
	if i := skipSpace(rest, 1); i < len(rest) && rest[i] == '}' {
		return skipSpace(rest, i+1) == len(rest)
	}
	for {
		key, value, next, ok := nextMember(rest)
		if !ok {
			return false
		}
		member(key, value)
		i := skipSpace(next, 0)
		if i >= len(next) {
			return false
		}
		if rest = next[i:]; rest[0] != ',' {
			return rest[0] == '}' && skipSpace(rest, 1) == len(rest)
		}
	}
}

// nextMember splits the first member off an object: pass the object's text first
// and rest afterwards, until ok is false.
func nextMember(object []byte) (key, value, rest []byte, ok bool) {
	i := skipSpace(object, 0)
	if i >= len(object) || object[i] != '{' && object[i] != ',' {
		return nil, nil, nil, false
	}
	i = skipSpace(object, i+1)
	if i >= len(object) || object[i] != '"' {
		return nil, nil, nil, false
	}
	keyEnd := skipString(object, i)
	if keyEnd < 0 {
		return nil, nil, nil, false
	}
	key, _ = Text(object[i:keyEnd])
	start := skipWord(object, skipSpace(object, keyEnd), ":")
	if start < 0 {
		return nil, nil, nil, false
	}
	start = skipSpace(object, start)
	end := skipValue(object, start, 0)
	if end < 0 {
		return nil, nil, nil, false
	}
	return key, object[start:end], object[end:], true
}

// Text returns the content of a JSON string, without quotes and escapes. ok is
// false if value is not a string. Without escapes the result is a view, and
// UTF-8 only if the value was. An escaped half of a surrogate pair, which
// JavaScript's strings may have, is kept as the three bytes that UTF-8 would
// need for it (WTF-8); AppendString writes it as an escape again.
func Text(value []byte) (text []byte, ok bool) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return nil, false
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	if skipString(value, 0) != len(value) {
		return nil, false
	}
	return unescape(inner), true
}

// unescape resolves the escapes of a checked string.
func unescape(s []byte) []byte {
	text := make([]byte, 0, len(s)) // an escape is never shorter than what it stands for
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(text, s...)
		}
		text = append(text, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		if c != 'u' {
			text = append(text, unescapeByte(c))
			continue
		}
		r := hexRune(s)
		s = s[4:]
		if utf16.IsSurrogate(r) {
			low := rune(0)
			if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
				low = hexRune(s[2:])
			}
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				r, s = pair, s[6:]
			}
		}
		text = appendRune(text, r)
	}
}

// appendRune is utf8.AppendRune for halves of surrogate pairs too.
func appendRune(b []byte, r rune) []byte {
	if utf16.IsSurrogate(r) {
		return append(b, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
	}
	return utf8.AppendRune(b, r)
}

// surrogate returns the half of a surrogate pair at the start of s, as
// appendRune writes it.
func surrogate(s string) (r rune, ok bool) {
	if len(s) < 3 || s[0] != 0xed || s[1]&0xe0 != 0xa0 || s[2]&0xc0 != 0x80 {
		return 0, false
	}
	return 0xd000 | rune(s[1]&0x3f)<<6 | rune(s[2]&0x3f), true
}

func unescapeByte(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// hexRune reads four checked hex digits.
func hexRune(s []byte) (r rune) {
	for _, c := range s[:4] {
		r = r<<4 | rune(hexValue(c))
	}
	return r
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string, as JSON.stringify does: halves of
// surrogate pairs are escaped. Other bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	plain := 0 // start of what has not been copied yet
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, size := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[plain:i]...)
		if r, ok := surrogate(s[i:]); ok {
			dst = append(dst, '\\', 'u', 'd', hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf])
			i += 3
		} else {
			dst = appendEscaped(dst, c)
			i++
		}
		plain = i
	}
	dst = append(dst, s[plain:]...)
	return append(dst, '"')
}

func appendEscaped(dst []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c >= utf8.RuneSelf:
		return append(dst, "\ufffd"...)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}
