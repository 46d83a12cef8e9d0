package loop

import (
	"errors"
	"reflect"
	"sync"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/buffer/elastic"
)

// gnet keeps the bytes that it has read from a connection, and those that it
// has still to write, in two buffers without accessors. A hand-over needs both:
// what is to be written must be copied without being written, and what was read
// must be put into the buffer of the connection's next Conn. Nothing else uses
// these functions.

var errGnetBuffers = errors.New("this version of gnet keeps its buffers elsewhere")

// gnetBuffers returns an error unless both buffers of c are where this file
// looks for them. A giver calls it before it gives anything up. The successor
// has the same version of gnet, or another version of the form.
func gnetBuffers(c gnet.Conn) error {
	if outbound(c) == nil || inbound(c) == nil {
		return errGnetBuffers
	}
	return nil
}

// outbound returns the buffer of bytes that c has still to write, nil if it is
// not where it is expected. Called on the connection's event loop.
func outbound(c gnet.Conn) *elastic.Buffer { return bufferOf[elastic.Buffer](c, &outboundOffset) }

// inbound returns the buffer of bytes that c has read.
func inbound(c gnet.Conn) *elastic.RingBuffer {
	return bufferOf[elastic.RingBuffer](c, &inboundOffset)
}

// A fieldOffset is where a field is in gnet's connections. It is looked up
// once, because that takes longer than the rest of describing a connection.
type fieldOffset struct {
	name  string
	once  sync.Once
	conn  reflect.Type // the pointer to a struct whose field it is; nil: there is none
	value uintptr
}

var (
	outboundOffset = fieldOffset{name: "outboundBuffer"}
	inboundOffset  = fieldOffset{name: "inboundBuffer"}
)

func bufferOf[T any](c gnet.Conn, o *fieldOffset) *T {
	v := reflect.ValueOf(c)
	o.once.Do(func() {
		if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
			return
		}
		if field, ok := v.Type().Elem().FieldByName(o.name); ok && field.Type == reflect.TypeFor[T]() {
			o.conn, o.value = v.Type(), field.Offset
		}
	})
	if v.Type() != o.conn {
		return nil
	}
	return (*T)(unsafe.Add(v.UnsafePointer(), o.value))
}

// unread returns a copy of the bytes that c has read and that were not used.
func unread(c gnet.Conn) ([]byte, error) {
	if c.InboundBuffered() == 0 {
		return nil, nil
	}
	b, err := c.Peek(-1)
	return append([]byte(nil), b...), err
}

// unwritten returns a copy of the bytes that c has still to write.
func unwritten(c gnet.Conn) ([]byte, error) {
	n := c.OutboundBuffered()
	if n == 0 {
		return nil, nil
	}
	buffer := outbound(c)
	if buffer == nil {
		return nil, errGnetBuffers
	}
	parts, err := buffer.Peek(-1)
	all := make([]byte, 0, n)
	for _, part := range parts {
		all = append(all, part...)
	}
	if err == nil && len(all) != n {
		err = errGnetBuffers
	}
	return all, err
}

// putBack puts b into the buffer of bytes that c has read, and reports whether
// it could.
func putBack(c gnet.Conn, b []byte) bool {
	buffer := inbound(c)
	if buffer == nil {
		return false
	}
	_, err := buffer.Write(b)
	return err == nil
}

// disown closes this process's half of a connection that lives on in another
// process: nothing is written, and no OnClose of ours is called.
func disown(loop gnet.EventLoop, c gnet.Conn) {
	c.SetContext(nil)
	if n := c.OutboundBuffered(); n > 0 {
		_, _ = outbound(c).Discard(n) // closing would write it
	}
	_ = loop.Close(c)
}
