package codec

import (
	"strings"
	"unicode/utf8"
)

// JSONText is a string that encoding/json writes and reads as Text and
// AppendString do. With the type string, halves of surrogate pairs would become
// U+FFFD, and two ids would become one.
type JSONText string

// MarshalJSON implements json.Marshaler.
func (t JSONText) MarshalJSON() ([]byte, error) { return AppendString(nil, string(t)), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (t *JSONText) UnmarshalJSON(value []byte) error {
	if string(value) == "null" {
		return nil
	}
	text, ok := Text(value)
	if !ok {
		return syntax(LayerSocket, "%.40q is no string", value)
	}
	*t = JSONText(text)
	return nil
}

// ValidText returns text with U+FFFD for bytes that are neither UTF-8 nor, as
// Text returns it, half of a surrogate pair.
func ValidText(text []byte) string {
	s := string(text)
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	plain := 0 // start of what has not been copied yet
	for i := 0; i < len(s); i++ {
		if _, ok := surrogate(s[i:]); ok {
			b.WriteString(strings.ToValidUTF8(s[plain:i], "\ufffd"))
			b.WriteString(s[i : i+3])
			plain, i = i+3, i+2
		}
	}
	b.WriteString(strings.ToValidUTF8(s[plain:], "\ufffd"))
	return b.String()
}
