package routes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/hometrip/gateway/codec"
)

// Fault describes what is wrong with a body that is no JSON object, and where.
// It repeats at most one character of it.
func Fault(body []byte) string {
	if len(bytes.TrimSpace(body)) == 0 {
		return "the body is empty: want a JSON object"
	}
	for i := 0; i < len(body); {
		r, size := utf8.DecodeRune(body[i:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Sprintf("%s: byte 0x%02x is not UTF-8", position(body, i), body[i])
		}
		i += size
	}
	var value json.RawMessage
	wrong, found := errors.AsType[*json.SyntaxError](json.Unmarshal(body, &value))
	if !found && codec.ValidJSON(body) {
		return "want a JSON object, which begins with {"
	}
	if !found {
		return "the JSON is nested too deep"
	}
	return fmt.Sprintf("%s: %s", position(body, max(int(wrong.Offset)-1, 0)), wrong.Error())
}

// position returns line and column of the byte at offset, as an editor counts.
func position(text []byte, offset int) string {
	before := text[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return fmt.Sprintf("line %d, column %d", 1+bytes.Count(before, []byte{'\n'}), 1+utf8.RuneCount(before[start:]))
}
