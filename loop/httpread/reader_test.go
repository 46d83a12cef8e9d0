package httpread

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hometrip/gateway/codec"
)

var limits = Limits{Head: 200, Body: 1000}

// read gives input to a Reader in packets, as a connection does. It returns
// "path body" of each request, and the result of the last Read.
func read(packets ...string) (found []string, last Found) {
	var r Reader
	var input []byte
	for _, packet := range packets {
		input = append(input, packet...)
		for {
			buffered := len(input)
			n, ok := r.Wants(buffered, limits)
			if !ok {
				break
			}
			b := input[:n]
			if r.Gathered() != nil {
				r.Gather(input)
				input = nil
				b = r.Gathered()
			}
			var head codec.Head
			last = r.Read(b, buffered, limits, &head)
			if last.State == Further {
				continue
			}
			if last.State == PartOfBody && r.Await(&head, last.Size) {
				r.Gather(b)
				input = input[len(b):]
			}
			if last.State != Whole {
				break
			}
			found = append(found, string(head.Path)+" "+string(last.Body))
			if r.Done() {
				return found, last
			}
			input = input[last.Size:]
		}
	}
	return found, last
}

func TestRequestsAreFoundInPacketsOfAnySize(t *testing.T) {
	get := "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
	post := "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n" + strings.Repeat("b", 300)
	chunked := "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
	whole := get + post + get + chunked
	want := fmt.Sprint([]string{"/a ", "/b " + strings.Repeat("b", 300), "/a ", "/c abcde"})
	for size := 1; size <= len(whole); size++ {
		var packets []string
		for rest := whole; rest != ""; {
			n := min(size, len(rest))
			packets, rest = append(packets, rest[:n]), rest[n:]
		}
		if found, last := read(packets...); fmt.Sprint(found) != want || last.State != Whole {
			t.Fatalf("in packets of %d bytes: %q, then state %d, %v", size, found, last.State, last.Err)
		}
	}
}

func TestReadReturnsTheStateOfTheInput(t *testing.T) {
	var limit *codec.LimitError
	var syntax *codec.SyntaxError
	for _, row := range []struct {
		input string
		want  State
		as    any
	}{
		{"GET /a HT", PartOfHead, nil},
		{"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc", PartOfBody, nil},
		{"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", PartOfBody, nil},
		{"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", Invalid, &limit},
		{"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n", Invalid, &limit},
		{"GET\r\n\r\n", Invalid, &syntax},
		{"GET /a HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 200), Invalid, nil},
		{"GET /a HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 200) + "\r\n\r\n", Invalid, nil},
	} {
		_, last := read(row.input)
		if last.State != row.want {
			t.Errorf("%.60q: state %d (%v), want %d", row.input, last.State, last.Err, row.want)
		}
		switch {
		case row.want != Invalid:
		case row.as == nil && last.Err != ErrHeadTooLarge, row.as != nil && !errors.As(last.Err, row.as):
			t.Errorf("%.60q: error %v, want another type", row.input, last.Err)
		}
	}
}

// Many small requests are in the buffer. Only as much as the largest head may
// have must be read at a time.
func TestBufferOfSmallRequestsIsReadInParts(t *testing.T) {
	var r Reader
	if n, ok := r.Wants(1<<20, limits); !ok || n != limits.Head+1 {
		t.Errorf("%d bytes wanted (%v), want the largest head and one byte", n, ok)
	}
	r = Restore(500, nil)
	if _, ok := r.Wants(499, limits); ok {
		t.Error("a request is read before all of its body has arrived")
	}
	if n, ok := r.Wants(600, limits); !ok || n != 500 {
		t.Errorf("%d bytes wanted (%v), want the whole request", n, ok)
	}
}

func FuzzReader(f *testing.F) {
	f.Add("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", 3)
	f.Add("POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET", 7)
	f.Fuzz(func(t *testing.T, input string, size int) {
		if size < 1 || size > len(input) || len(input) > 4000 {
			return
		}
		var packets []string
		for rest := input; rest != ""; {
			n := min(size, len(rest))
			packets, rest = append(packets, rest[:n]), rest[n:]
		}
		whole, one := read(input)
		cut, two := read(packets...)
		if fmt.Sprint(whole) != fmt.Sprint(cut) && one.State != Invalid && two.State != Invalid {
			t.Errorf("at once %q, in packets of %d %q", whole, size, cut)
		}
	})
}
