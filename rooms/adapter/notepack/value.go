// Package notepack reads and writes the dialect of MessagePack in which
// Socket.IO servers on Node.js talk to each other: that of the npm package
// notepack.io, versions 2 and 3, which @socket.io/redis-adapter and
// @socket.io/redis-emitter use.
//
// General libraries for MessagePack do not fit. They give the type and the
// content of an extension but not how its length was written, and notepack
// gives extension type 0 three meanings by that alone: fixext1 is undefined,
// fixext8 is a Date, ext8 to ext32 are an ArrayBuffer.
//
// Values are what JavaScript makes of the bytes, so that AppendJSON writes
// byte for byte what a Node server would send to its own clients. Nothing in
// the package has state; all functions are safe for concurrent use.
package notepack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Kind is the JavaScript type of a Value.
type Kind uint8

// The kinds of values.
const (
	Undefined Kind = iota
	Null
	Bool
	Number
	String
	Binary // a Buffer or an ArrayBuffer
	Date
	Array
	Object
)

// A Value is one decoded value. Its slices are views of the decoded bytes.
type Value struct {
	Kind    Kind
	Bool    bool
	Number  float64  // of a Number; of a Date its milliseconds since 1970, NaN when invalid
	Bytes   []byte   // of a String, perhaps not UTF-8, and of a Binary
	Items   []Value  // of an Array
	Members []Member // of an Object, in JavaScript's order, no key twice
}

// A Member is one property of an Object.
type Member struct {
	Key   string
	Value Value
}

// MaxDepth is how many arrays and maps may be open at once. Node has no such
// limit; nothing that is meant for a client comes near it.
const MaxDepth = 128

// roomAtFirst is for how many elements space is allocated before any was read,
// because the length of an array may be false.
const roomAtFirst = 16

// ErrTrailing is returned if bytes follow the value.
var ErrTrailing = errors.New("notepack: bytes behind the value")

// Decode reads b, which is one value and nothing else. It allocates at most a
// constant times what it reads of b.
func Decode(b []byte) (Value, error) {
	d := decoder{b: b}
	v, err := d.value(0)
	if err == nil && len(d.b) > 0 {
		err = fmt.Errorf("%w: %d", ErrTrailing, len(d.b))
	}
	return v, err
}

// A decoder has the bytes that are still to be read.
type decoder struct{ b []byte }

func (d *decoder) take(n int) ([]byte, error) {
	if n < 0 || n > len(d.b) {
		return nil, fmt.Errorf("notepack: %d bytes announced, %d left", n, len(d.b))
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken, nil
}

// uint reads a big-endian number of size bytes, 1 to 8.
func (d *decoder) uint(size int) (uint64, error) {
	raw, err := d.take(size)
	if err != nil {
		return 0, err
	}
	var padded [8]byte
	copy(padded[8-size:], raw)
	return binary.BigEndian.Uint64(padded[:]), nil
}

// length reads a length of size bytes. Lengths beyond what is left fail later.
func (d *decoder) length(size int) (int, error) {
	n, err := d.uint(size)
	return int(min(n, math.MaxInt32)), err
}

// MessagePack's first bytes (specification, "Formats").
const (
	fixMap      = 0x80
	fixArray    = 0x90
	fixStr      = 0xa0
	nilByte     = 0xc0
	falseByte   = 0xc2
	trueByte    = 0xc3
	bin8        = 0xc4
	ext8        = 0xc7
	float32Byte = 0xca
	float64Byte = 0xcb
	uint8Byte   = 0xcc
	int8Byte    = 0xd0
	fixExt1     = 0xd4
	fixExt16    = 0xd8
	str8        = 0xd9
	array16     = 0xdc
	map16       = 0xde
	negFixInt   = 0xe0
)

func (d *decoder) value(depth int) (Value, error) {
	head, err := d.uint(1)
	if err != nil {
		return Value{}, err
	}
	switch c := byte(head); {
	case c < fixMap:
		return number(float64(c)), nil
	case c < fixArray:
		return d.object(int(c-fixMap), depth)
	case c < fixStr:
		return d.array(int(c-fixArray), depth)
	case c < nilByte:
		return d.bytes(String, int(c-fixStr))
	case c >= negFixInt:
		return number(float64(int8(c))), nil
	case c >= bin8 && c < ext8:
		return d.sized(1<<(c-bin8), func(n int) (Value, error) { return d.bytes(Binary, n) })
	case c >= ext8 && c < float32Byte:
		return d.sized(1<<(c-ext8), d.ext)
	case c >= float32Byte && c < fixExt1:
		return d.number(c)
	case c >= fixExt1 && c <= fixExt16:
		return d.fixExt(1 << (c - fixExt1))
	case c >= str8 && c < array16:
		return d.sized(1<<(c-str8), func(n int) (Value, error) { return d.bytes(String, n) })
	case c >= array16 && c < map16:
		return d.sized(2<<(c-array16), func(n int) (Value, error) { return d.array(n, depth) })
	case c >= map16 && c < negFixInt:
		return d.sized(2<<(c-map16), func(n int) (Value, error) { return d.object(n, depth) })
	case c == nilByte:
		return Value{Kind: Null}, nil
	case c == falseByte || c == trueByte:
		return Value{Kind: Bool, Bool: c == trueByte}, nil
	default:
		return Value{}, fmt.Errorf("notepack: no value begins with %#x", c)
	}
}

func number(f float64) Value { return Value{Kind: Number, Number: f} }

// sized reads a length of size bytes and then the value.
func (d *decoder) sized(size int, read func(n int) (Value, error)) (Value, error) {
	n, err := d.length(size)
	if err != nil {
		return Value{}, err
	}
	return read(n)
}

func (d *decoder) bytes(kind Kind, n int) (Value, error) {
	raw, err := d.take(n)
	return Value{Kind: kind, Bytes: raw}, err
}

// number reads floats and integers. JavaScript keeps 64-bit integers as floats.
func (d *decoder) number(c byte) (Value, error) {
	var size int
	switch {
	case c <= float64Byte:
		size = 4 << (c - float32Byte)
	case c < int8Byte:
		size = 1 << (c - uint8Byte)
	default:
		size = 1 << (c - int8Byte)
	}
	raw, err := d.uint(size)
	switch {
	case err != nil:
		return Value{}, err
	case c == float32Byte:
		return number(float64(math.Float32frombits(uint32(raw)))), nil
	case c == float64Byte:
		return number(math.Float64frombits(raw)), nil
	case c < int8Byte:
		return number(wide(float64(raw>>32), raw)), nil
	case size == 8:
		return number(wide(float64(int32(raw>>32)), raw)), nil
	}
	shift := 64 - 8*size
	return number(float64(int64(raw<<shift) >> shift)), nil
}

// wide adds the halves of a 64-bit integer as notepack does, in floats.
func wide(high float64, raw uint64) float64 { return high*(1<<32) + float64(uint32(raw)) }

func (d *decoder) array(n, depth int) (Value, error) {
	if err := d.open(n, depth); err != nil {
		return Value{}, err
	}
	v := Value{Kind: Array, Items: make([]Value, 0, min(n, roomAtFirst))}
	for range n {
		item, err := d.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		v.Items = append(v.Items, item)
	}
	return v, nil
}

// open checks an array or a map before anything is allocated for its n
// elements, each of which takes a byte at least.
func (d *decoder) open(n, depth int) error {
	if depth >= MaxDepth {
		return fmt.Errorf("notepack: nested deeper than %d", MaxDepth)
	}
	if n > len(d.b) {
		return fmt.Errorf("notepack: %d elements announced, %d bytes left", n, len(d.b))
	}
	return nil
}

func (d *decoder) object(n, depth int) (Value, error) {
	if err := d.open(2*n, depth); err != nil {
		return Value{}, err
	}
	var o properties
	for range n {
		key, err := d.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		value, err := d.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		name, err := key.propertyName()
		if err != nil {
			return Value{}, err
		}
		o.set(name, value)
	}
	return Value{Kind: Object, Members: o.ordered()}, nil
}

// Types of extensions.
const (
	extCustom    = 0  // notepack's own, see the package comment
	extTimestamp = -1 // MessagePack's
)

// ext reads an extension with a length of its own.
func (d *decoder) ext(n int) (Value, error) {
	kind, err := d.uint(1)
	if err != nil {
		return Value{}, err
	}
	raw, err := d.take(n)
	if err != nil {
		return Value{}, err
	}
	switch t := int8(kind); {
	case t == extCustom:
		return Value{Kind: Binary, Bytes: raw}, nil
	case t == extTimestamp && n == 12:
		ns := binary.BigEndian.Uint32(raw)
		seconds := wide(float64(int32(binary.BigEndian.Uint32(raw[4:]))), uint64(binary.BigEndian.Uint32(raw[8:])))
		return date(seconds*1e3 + float64(ns)/1e6), nil
	case t == extTimestamp:
		// Node reads 12 bytes whatever the length says, so it would not read
		// what was written. Such a message is of no use.
		return Value{}, fmt.Errorf("notepack: a timestamp of %d bytes", n)
	default:
		return unknownExt(t, raw), nil
	}
}

// fixExt reads an extension of 1, 2, 4, 8 or 16 bytes.
func (d *decoder) fixExt(n int) (Value, error) {
	kind, err := d.uint(1)
	if err != nil {
		return Value{}, err
	}
	raw, err := d.take(n)
	if err != nil {
		return Value{}, err
	}
	t := int8(kind)
	switch {
	case t == extCustom && n == 1:
		return Value{}, nil // undefined
	case t == extCustom && n == 8:
		bits := binary.BigEndian.Uint64(raw)
		return date(wide(float64(int32(bits>>32)), bits)), nil
	case t == extTimestamp && n == 4:
		return date(float64(binary.BigEndian.Uint32(raw)) * 1e3), nil
	case t == extTimestamp && n == 8:
		bits := binary.BigEndian.Uint64(raw)
		seconds, ns := bits&(1<<34-1), bits>>34
		return date(float64(seconds)*1e3 + float64(ns)/1e6), nil
	}
	return unknownExt(t, raw), nil
}

// unknownExt is what notepack makes of an extension it does not know.
func unknownExt(kind int8, raw []byte) Value {
	return Value{Kind: Array, Items: []Value{number(float64(kind)), {Kind: Binary, Bytes: raw}}}
}

// maxDate is how far from 1970 a JavaScript Date reaches, in milliseconds
// (ECMAScript, "Time Values and Time Range").
const maxDate = 8.64e15

func date(ms float64) Value {
	if math.IsNaN(ms) || math.Abs(ms) > maxDate {
		ms = math.NaN()
	}
	return Value{Kind: Date, Number: math.Trunc(ms)}
}
