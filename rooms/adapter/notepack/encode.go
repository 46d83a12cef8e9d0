package notepack

import (
	"encoding/binary"
	"math"
)

// AppendArray appends the head of an array of n elements, which have to be
// appended next.
func AppendArray(dst []byte, n int) []byte { return appendHead(dst, n, fixArray, 16, array16) }

// AppendMap appends the head of a map of n members: keys, each with its value,
// have to be appended next.
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

// AppendBool appends true or false.
func AppendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, trueByte)
	}
	return append(dst, falseByte)
}

// AppendBinary appends bytes, which Node reads as a Buffer.
func AppendBinary(dst, b []byte) []byte {
	switch n := len(b); {
	case n <= math.MaxUint8:
		dst = append(dst, bin8, byte(n))
	default:
		dst = appendHead(dst, n, 0, 0, bin8+1)
	}
	return append(dst, b...)
}
