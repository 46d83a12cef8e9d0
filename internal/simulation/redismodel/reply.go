package redismodel

import (
	"fmt"
	"strconv"
	"strings"
)

// A Kind is the first byte of a reply in RESP3.
type Kind byte

// The kinds of replies that the modelled commands return.
const (
	Simple Kind = '+'
	Fault  Kind = '-'
	Int    Kind = ':'
	Bulk   Kind = '$'
	Null   Kind = '_'
	Array  Kind = '*'
	Set    Kind = '~'
	Map    Kind = '%' // Elems has keys and values alternately
	Double Kind = ','
	Push   Kind = '>'
)

// A Reply is one value that a server writes to a connection. It is immutable.
type Reply struct {
	Kind  Kind
	Text  string // of Simple, Fault, Bulk and Double
	Int   int64
	Elems []Reply
}

// String formats the reply on one line, for traces and comparisons.
func (r Reply) String() string {
	switch r.Kind {
	case Int:
		return strconv.FormatInt(r.Int, 10)
	case Null:
		return "nil"
	case Bulk:
		return strconv.Quote(r.Text)
	case Simple, Fault, Double:
		return string(rune(r.Kind)) + r.Text
	}
	list := make([]string, len(r.Elems))
	for i, e := range r.Elems {
		list[i] = e.String()
	}
	return string(rune(r.Kind)) + "[" + strings.Join(list, " ") + "]"
}

// Err returns the error of an error reply, nil for any other.
func (r Reply) Err() error {
	if r.Kind != Fault {
		return nil
	}
	return fmt.Errorf("%s", r.Text)
}

// Strings returns the texts of the elements; "" stands for null.
func (r Reply) Strings() []string {
	list := make([]string, len(r.Elems))
	for i, e := range r.Elems {
		list[i] = e.Text
	}
	return list
}

var (
	ok        = Reply{Kind: Simple, Text: "OK"}
	null      = Reply{Kind: Null}
	wrongType = fault("WRONGTYPE Operation against a key holding the wrong kind of value")
	notInt    = fault("ERR value is not an integer or out of range")
	notFloat  = fault("ERR value is not a valid float")
	syntax    = fault("ERR syntax error")
)

func fault(text string) Reply  { return Reply{Kind: Fault, Text: text} }
func bulk(s string) Reply      { return Reply{Kind: Bulk, Text: s} }
func number(n int64) Reply     { return Reply{Kind: Int, Int: n} }
func simple(s string) Reply    { return Reply{Kind: Simple, Text: s} }
func array(e ...Reply) Reply   { return Reply{Kind: Array, Elems: e} }
func push(e ...Reply) Reply    { return Reply{Kind: Push, Elems: e} }
func double(f float64) Reply   { return Reply{Kind: Double, Text: formatFloat(f)} }
func count[T any](s []T) Reply { return number(int64(len(s))) }

func bulks(kind Kind, list []string) Reply {
	r := Reply{Kind: kind, Elems: make([]Reply, len(list))}
	for i, s := range list {
		r.Elems[i] = bulk(s)
	}
	return r
}

func yes(b bool) Reply {
	if b {
		return number(1)
	}
	return number(0)
}

// formatFloat formats a score as Redis does: whole numbers without a fraction,
// others with up to 17 digits.
func formatFloat(f float64) string {
	if f == float64(int64(f)) {
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}
