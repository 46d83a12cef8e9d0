package notepack

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"

	"github.com/hometrip/gateway/codec"
)

// AppendArray appends the head of an array of n elements, which have to
// follow.
func AppendArray(dst []byte, n int) []byte { return appendHead(dst, n, fixArray, 16, array16) }

// AppendMap appends the head of a map of n members: keys, each with its value,
// have to follow.
func AppendMap(dst []byte, n int) []byte { return appendHead(dst, n, fixMap, 16, map16) }

// appendHead appends the length of an array or a map: in the first byte below
// most, else in 16 or 32 bits.
func appendHead(dst []byte, n int, fixed byte, most int, wide byte) []byte {
	switch {
	case n < most:
		return append(dst, fixed|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, wide), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, wide+1), uint32(n))
}

// AppendString appends text.
func AppendString[T string | []byte](dst []byte, s T) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, fixStr|byte(n))
	case n <= math.MaxUint8:
		dst = append(dst, str8, byte(n))
	default:
		dst = appendHead(dst, n, 0, 0, str8+1)
	}
	return append(dst, s...)
}

// AppendInt appends a whole number. Node compares ids with ===, so a whole
// number is never written as a float.
func AppendInt(dst []byte, n int64) []byte {
	switch {
	case n >= 0 && n < fixMap:
		return append(dst, byte(n))
	case n < 0 && n >= -32:
		return append(dst, byte(n))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		return binary.BigEndian.AppendUint32(append(dst, int8Byte+2), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, int8Byte+3), uint64(n))
}

// maxSafeInteger is up to where JavaScript tells whole numbers apart.
const maxSafeInteger = 1<<53 - 1

// AppendFromJSON appends what the JSON text of one value stands for. The text
// must be valid (codec.ValidJSON). The placeholders of attachments in it
// (socket.io-parser, reconstructPacket) stand for binaries.
func AppendFromJSON(dst, text []byte, binaries ...[]byte) []byte {
	text = bytes.TrimSpace(text)
	switch text[0] {
	case '"':
		s, _ := codec.Text(text)
		return AppendString(dst, s)
	case '[':
		return appendItems(dst, text, binaries)
	case '{':
		return appendMembers(dst, text, binaries)
	case 't':
		return append(dst, trueByte)
	case 'f':
		return append(dst, falseByte)
	case 'n':
		return append(dst, nilByte)
	}
	f, _ := strconv.ParseFloat(string(text), 64) // ±Inf beyond the range, as in JavaScript
	if f == math.Trunc(f) && math.Abs(f) <= maxSafeInteger {
		return AppendInt(dst, int64(f))
	}
	return binary.BigEndian.AppendUint64(append(dst, float64Byte), math.Float64bits(f))
}

func appendItems(dst, text []byte, binaries [][]byte) []byte {
	count := 0
	for item, rest := codec.NextArg(text); item != nil; item, rest = codec.NextArg(rest) {
		count++
	}
	dst = AppendArray(dst, count)
	for item, rest := codec.NextArg(text); item != nil; item, rest = codec.NextArg(rest) {
		dst = AppendFromJSON(dst, item, binaries...)
	}
	return dst
}

func appendMembers(dst, text []byte, binaries [][]byte) []byte {
	if i := placeholder(text, len(binaries)); i >= 0 {
		return AppendBinary(dst, binaries[i])
	}
	count := 0
	for _, _, rest, ok := codec.Member(text); ok; _, _, rest, ok = codec.Member(rest) {
		count++
	}
	dst = AppendMap(dst, count)
	for key, value, rest, ok := codec.Member(text); ok; key, value, rest, ok = codec.Member(rest) {
		dst = AppendFromJSON(AppendString(dst, key), value, binaries...)
	}
	return dst
}

// AppendBool appends true or false.
func AppendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, trueByte)
	}
	return append(dst, falseByte)
}

// placeholder returns which of n attachments an object stands for, or -1.
func placeholder(object []byte, n int) int {
	if n == 0 {
		return -1
	}
	is, index := false, -1
	for key, value, rest, ok := codec.Member(object); ok; key, value, rest, ok = codec.Member(rest) {
		switch string(key) {
		case "_placeholder":
			is = string(value) == "true"
		case "num":
			if i, err := strconv.Atoi(string(value)); err == nil && i >= 0 && i < n {
				index = i
			}
		}
	}
	if !is {
		return -1
	}
	return index
}

// AppendBinary appends bytes, which are a Buffer in Node.
func AppendBinary(dst, b []byte) []byte {
	switch n := len(b); {
	case n <= math.MaxUint8:
		dst = append(dst, bin8, byte(n))
	default:
		dst = appendHead(dst, n, 0, 0, bin8+1)
	}
	return append(dst, b...)
}
