// Package httpread finds HTTP/1.1 requests in the bytes of a connection while
// they arrive. It has no I/O and no clock.
package httpread

import (
	"errors"

	"github.com/hometrip/gateway/codec"
)

// ErrHeadTooLarge is the error of a head of more than Limits.Head bytes.
var ErrHeadTooLarge = errors.New("request head too large")

// Limits bound a request, in bytes.
type Limits struct{ Head, Body int }

// A State is how much of a request has arrived.
type State uint8

const (
	PartOfHead State = iota // the head is not complete
	PartOfBody              // the head is there
	Further                 // there may be more in the input than Read was given
	Whole                   // the request is complete
	Invalid                 // see Found.Err
)

// Found is the result of Read. Its slices are views of the argument of Read.
type Found struct {
	State State
	Body  []byte // of a whole request, decoded
	Size  int    // bytes of a whole request; of the head with PartOfBody
	Err   error  // ErrHeadTooLarge, a *codec.LimitError or a *codec.SyntaxError
}

// A Reader records how much of a request a connection has read. The zero value
// awaits the first request. Owned by the connection's event loop.
type Reader struct {
	need     int    // bytes that must be there before reading goes on
	gathered []byte // a request with a chunked body, as far as it has come
}

// Restore returns a reader that continues where another one, perhaps of another
// process, has stopped.
func Restore(need int, gathered []byte) Reader { return Reader{need, gathered} }

// Need returns how many bytes must have arrived before reading continues.
func (r *Reader) Need() int { return r.need }

// Gathered returns the gathered bytes, nil if none are.
func (r *Reader) Gathered() []byte { return r.gathered }

// Wants returns how many of the buffered bytes Read is to be given. ok is false
// if more must arrive first. The input is not passed as a whole, because gnet
// may copy what it is asked for: a megabyte of small requests must not be
// copied for each of them.
func (r *Reader) Wants(buffered int, l Limits) (n int, ok bool) {
	if buffered == 0 || buffered < r.need {
		return 0, false
	}
	return min(buffered, max(r.need, l.Head+1)), true
}

// Read looks for a request at the start of b, of which the input has buffered
// bytes. head is set as far as the request's is known. Nothing is consumed.
func (r *Reader) Read(b []byte, buffered int, l Limits, head *codec.Head) Found {
	n, err := codec.ParseHead(b, head)
	switch {
	case err != nil:
		return Found{State: Invalid, Err: err}
	case n == 0 && len(b) > l.Head:
		codec.ParseHeadStart(b, head)
		fallthrough
	case n > l.Head:
		return Found{State: Invalid, Err: ErrHeadTooLarge}
	case n == 0:
		return Found{State: PartOfHead}
	}
	body, size, err := readBody(head, b[n:], l.Body)
	switch {
	case err != nil:
		return Found{State: Invalid, Err: err}
	case size >= 0:
		return Found{State: Whole, Body: body, Size: n + size}
	case r.lookFurther(head, n, len(b), buffered):
		return Found{State: Further}
	}
	return Found{State: PartOfBody, Size: n}
}

// readBody returns the body at the start of b and its size on the wire: -1 when
// it is not complete.
func readBody(head *codec.Head, b []byte, limit int) (body []byte, size int, err error) {
	switch {
	case head.Chunked:
		body, size, err = codec.ParseChunked(nil, b, limit)
		if size == 0 {
			size = -1
		}
		return body, size, err
	case head.ContentLength > limit:
		return nil, 0, &codec.LimitError{Layer: codec.LayerHTTP, What: "body bytes", Got: head.ContentLength, Max: limit}
	}
	size = max(head.ContentLength, 0)
	if len(b) < size {
		return nil, -1, nil
	}
	return b[:size], size, nil
}

// lookFurther reports whether the input has more of a request with a head of n
// bytes than Read was given. Wants asks for it then.
func (r *Reader) lookFurther(head *codec.Head, n, given, buffered int) bool {
	if r.gathered != nil || given >= buffered {
		return false
	}
	r.need = n + max(head.ContentLength, 0)
	if head.Chunked {
		r.need = min(2*given, buffered)
	}
	return r.need <= buffered
}

// Await makes the reader wait for the body after a head of n bytes. It reports
// whether the input is to be gathered. That is so for a body whose length is
// not known beforehand: each packet of it has to be read together with all
// earlier ones, and gnet would join and copy them again each time. A client
// that sends chunks of one byte could cause copies of megabytes for each.
func (r *Reader) Await(head *codec.Head, n int) (gather bool) {
	r.need = n + max(head.ContentLength, 0)
	if head.Chunked {
		r.need = 0
		return r.gathered == nil
	}
	return false
}

// Gather stores b, which the caller removes from the input.
func (r *Reader) Gather(b []byte) { r.gathered = append(r.gathered, b...) }

// Done ends a complete request. It reports whether the request was gathered,
// and so is not at the start of the input.
func (r *Reader) Done() (gathered bool) {
	gathered = r.gathered != nil
	*r = Reader{}
	return gathered
}
