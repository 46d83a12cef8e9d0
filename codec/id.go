package codec

import (
	"bytes"
	"math"
	"strconv"
)

// MaxID is how long an id can be, in bytes.
const MaxID = 1024

// ID returns the id (of a user, a room or a token) that a valid JSON value
// stands for: the text of a string, or JavaScript's text of a number: 42 for
// 42, 42.0 and 4.2e1, 0 for -0, 1e+21 for 1000000000000000000000. A whole
// number that JavaScript would round keeps its digits, so that two users never
// get the same id. ok is false for anything else, and for an id that is empty
// or longer than MaxID.
func ID(value []byte) (id []byte, ok bool) {
	id, ok = Text(value)
	if !ok && len(value) > 0 && (value[0] == '-' || value[0] >= '0' && value[0] <= '9') {
		id = numberText(value)
	}
	return id, len(id) > 0 && len(id) <= MaxID
}

const (
	// exactDigits is how many digits a whole number may have and be exact in a
	// float.
	exactDigits = 15
	exactBelow  = 1 << 53
)

// numberText returns JavaScript's text of a JSON number (ECMAScript, Number::
// toString), nil for a number that is infinite in JavaScript.
func numberText(number []byte) []byte {
	if len(number) <= exactDigits && skipDigits(number, 0) == len(number) {
		return number
	}
	f, err := strconv.ParseFloat(string(number), 64)
	switch {
	case err != nil || math.IsInf(f, 0):
		return nil
	case f == 0:
		return []byte("0") // -0 too
	case math.Abs(f) >= exactBelow:
		if exact := wholeDigits(number); exact != nil && !bytes.Equal(exact, wholeDigits(appendFloat(nil, f))) {
			return exact
		}
	}
	return appendFloat(nil, f)
}

// AppendNumber appends f as JavaScript writes it (ECMAScript,
// "Number::toString").
func AppendNumber(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case f == 0:
		return append(dst, '0') // -0 too
	}
	return appendFloat(dst, f)
}

// appendFloat is AppendNumber for finite numbers other than 0.
func appendFloat(b []byte, f float64) []byte {
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); n >= 4 && b[n-4] == 'e' && b[n-2] == '0' { // e-07, in JavaScript e-7
		b = append(b[:n-2], b[n-1])
	}
	return b
}

// wholeDigits returns the digits of a number, with its sign, if it is whole and
// has at most MaxID of them; otherwise nil.
func wholeDigits(number []byte) []byte {
	mantissa, exponentText, _ := bytes.Cut(bytes.ToLower(number), []byte("e"))
	exponent := 0
	if len(exponentText) > 0 {
		var err error
		if exponent, err = strconv.Atoi(string(exponentText)); err != nil {
			return nil
		}
	}
	digits, negative := bytes.CutPrefix(mantissa, []byte("-"))
	whole, fraction, _ := bytes.Cut(digits, []byte("."))
	digits = append(bytes.Clone(whole), fraction...)
	for exponent -= len(fraction); exponent < 0 && len(digits) > 0 && digits[len(digits)-1] == '0'; exponent++ {
		digits = digits[:len(digits)-1]
	}
	digits = bytes.TrimLeft(digits, "0")
	if exponent < 0 || len(digits) == 0 || len(digits)+exponent > MaxID {
		return nil
	}
	digits = append(digits, bytes.Repeat([]byte("0"), exponent)...)
	if negative {
		return append([]byte("-"), digits...)
	}
	return digits
}
