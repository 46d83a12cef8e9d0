package notepack

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/hometrip/gateway/codec"
)

// maxSafeInteger is the largest whole number up to which JavaScript represents
// all whole numbers exactly.
const maxSafeInteger = 1<<53 - 1

// AppendFromJSON appends the value of a JSON text, which must be valid
// (codec.ValidJSON). The placeholders of attachments in it (socket.io-parser,
// reconstructPacket) stand for binaries. It reads the text once, however deeply
// it is nested: event loops call it with clients' texts.
func AppendFromJSON(dst, text []byte, binaries ...[]byte) []byte {
	w := rewriter{dst, text, binaries}
	w.value()
	return w.dst
}

// A rewriter turns JSON into notepack.
type rewriter struct {
	dst      []byte
	text     []byte // what is left to read
	binaries [][]byte
}

func (w *rewriter) value() {
	w.space()
	switch w.text[0] {
	case '"':
		w.dst = AppendString(w.dst, w.string())
	case '[':
		w.array()
	case '{':
		w.object()
	case 't':
		w.word()
		w.dst = append(w.dst, trueByte)
	case 'f':
		w.word()
		w.dst = append(w.dst, falseByte)
	case 'n':
		w.word()
		w.dst = append(w.dst, nilByte)
	default:
		w.number()
	}
}

func (w *rewriter) space() {
	i := 0
	for i < len(w.text) && isSpace(w.text[i]) {
		i++
	}
	w.text = w.text[i:]
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// word reads a number, true, false or null.
func (w *rewriter) word() (word []byte) {
	end := 0
	for end < len(w.text) && !isSpace(w.text[end]) && w.text[end] != ',' && w.text[end] != ']' && w.text[end] != '}' {
		end++
	}
	word, w.text = w.text[:end], w.text[end:]
	return word
}

func (w *rewriter) number() {
	f, _ := strconv.ParseFloat(string(w.word()), 64) // ±Inf beyond the range, as in JavaScript
	if f == math.Trunc(f) && math.Abs(f) <= maxSafeInteger {
		w.dst = AppendInt(w.dst, int64(f))
		return
	}
	w.dst = binary.BigEndian.AppendUint64(append(w.dst, float64Byte), math.Float64bits(f))
}

func (w *rewriter) string() []byte {
	end := 1
	for w.text[end] != '"' {
		if w.text[end] == '\\' {
			end++
		}
		end++
	}
	s, _ := codec.Text(w.text[:end+1])
	w.text = w.text[end+1:]
	return s
}

func (w *rewriter) array() {
	w.elements(array16, ']', w.value)
}

func (w *rewriter) object() {
	start, is, index := len(w.dst), false, -1
	w.elements(map16, '}', func() {
		w.space()
		key := w.string()
		w.dst = AppendString(w.dst, key)
		w.space()
		w.text = w.text[1:] // the colon
		w.space()
		value := w.text
		w.value()
		switch value = value[:len(value)-len(w.text)]; string(key) {
		case "_placeholder":
			is = string(value) == "true"
		case "num":
			if i, err := strconv.Atoi(string(value)); err == nil && i >= 0 && i < len(w.binaries) {
				index = i
			}
		}
	})
	if is && index >= 0 {
		w.dst = AppendBinary(w.dst[:start], w.binaries[index])
	}
}

// elements converts an array or an object, up to its closing bracket. The
// number of its elements, which is known only at the end, is written before
// them: in 16 bits, for which room is left.
func (w *rewriter) elements(head, end byte, element func()) {
	at := len(w.dst)
	w.dst = append(w.dst, head, 0, 0)
	w.text = w.text[1:]
	count := 0
	if w.space(); w.text[0] != end {
		for more := true; more; w.text = w.text[1:] {
			element()
			count++
			w.space()
			more = w.text[0] == ','
		}
	} else {
		w.text = w.text[1:]
	}
	if count <= math.MaxUint16 {
		binary.BigEndian.PutUint16(w.dst[at+1:], uint16(count))
		return
	}
	w.dst = slices.Insert(w.dst, at+1, 0, 0)
	w.dst[at]++ // to 32 bits
	binary.BigEndian.PutUint32(w.dst[at+1:], uint32(count))
}
