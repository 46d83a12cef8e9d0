package notepack

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hometrip/gateway/codec"
)

// AppendJSON appends v as JSON.stringify writes it, each Binary as the
// placeholder of an attachment (socket.io-parser, deconstructPacket), and
// appends the attachments to binaries. An Undefined in an array or at the top
// is null.
func (v *Value) AppendJSON(dst []byte, binaries [][]byte) ([]byte, [][]byte) {
	switch v.Kind {
	case Bool:
		dst = strconv.AppendBool(dst, v.Bool)
	case Number:
		dst = appendJSONNumber(dst, v.Number)
	case String:
		dst = appendText(dst, v.Bytes)
	case Date:
		dst = appendDate(dst, v.Number)
	case Binary:
		dst = append(dst, `{"_placeholder":true,"num":`...)
		dst = append(strconv.AppendInt(dst, int64(len(binaries)), 10), '}')
		binaries = append(binaries, v.Bytes)
	case Array:
		dst = append(dst, '[')
		for i := range v.Items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst, binaries = v.Items[i].AppendJSON(dst, binaries)
		}
		dst = append(dst, ']')
	case Object:
		dst, binaries = v.appendObject(dst, binaries)
	default:
		dst = append(dst, "null"...)
	}
	return dst, binaries
}

func (v *Value) appendObject(dst []byte, binaries [][]byte) ([]byte, [][]byte) {
	dst = append(dst, '{')
	first := true
	for i := range v.Members {
		m := &v.Members[i]
		if m.Value.Kind == Undefined {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendText(dst, []byte(m.Key)), ':')
		dst, binaries = m.Value.AppendJSON(dst, binaries)
	}
	return append(dst, '}'), binaries
}

// appendText appends a string. Bytes that are not UTF-8 become U+FFFD, one for
// each longest beginning of a character, as in Node (WHATWG Encoding, "UTF-8
// decoder").
func appendText(dst, text []byte) []byte {
	dst = append(dst, '"')
	for len(text) > 0 {
		c := text[0]
		if c < utf8.RuneSelf {
			dst = appendASCII(dst, c)
			text = text[1:]
			continue
		}
		if _, n := utf8.DecodeRune(text); n > 1 {
			dst = append(dst, text[:n]...)
			text = text[n:]
			continue
		}
		dst = append(dst, "\ufffd"...)
		text = text[brokenPrefix(text):]
	}
	return append(dst, '"')
}

// appendASCII appends a character as JSON.stringify escapes it.
func appendASCII(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c >= ' ':
		return append(dst, c)
	}
	switch c {
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
}

// brokenPrefix returns how many bytes at the start of text could have become a
// character but did not: 1 to 3.
func brokenPrefix(text []byte) int {
	lead := text[0]
	low, high, most := byte(0x80), byte(0xbf), 0
	switch {
	case lead >= 0xc2 && lead <= 0xdf:
		most = 1
	case lead >= 0xe0 && lead <= 0xef:
		most = 2
	case lead >= 0xf0 && lead <= 0xf4:
		most = 3
	}
	switch lead {
	case 0xe0:
		low = 0xa0
	case 0xed:
		high = 0x9f
	case 0xf0:
		low = 0x90
	case 0xf4:
		high = 0x8f
	}
	n := 1
	for n <= most && n < len(text) && text[n] >= low && text[n] <= high {
		low, high = 0x80, 0xbf
		n++
	}
	return n
}

func appendJSONNumber(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	return codec.AppendNumber(dst, f)
}

// appendDate appends a Date as toISOString does, null when it is invalid.
func appendDate(dst []byte, ms float64) []byte {
	if math.IsNaN(ms) {
		return append(dst, "null"...)
	}
	t := time.UnixMilli(int64(ms)).UTC()
	dst = append(dst, '"')
	switch year := t.Year(); {
	case year > 9999:
		dst = appendYear(append(dst, '+'), year)
	case year < 0:
		dst = appendYear(append(dst, '-'), -year)
	default:
		dst = appendPadded(dst, year, 4)
	}
	return append(t.AppendFormat(dst, "-01-02T15:04:05.000Z"), '"')
}

func appendYear(dst []byte, year int) []byte { return appendPadded(dst, year, 6) }

func appendPadded(dst []byte, n, digits int) []byte {
	text := strconv.Itoa(n)
	for range digits - len(text) {
		dst = append(dst, '0')
	}
	return append(dst, text...)
}
