package loop

import (
	"errors"
	"net"
	"reflect"
	"sync"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/buffer/elastic"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// Fields of gnet's connections that have no accessor are accessed here.
//
// A hand-over needs two buffers: of the bytes that a connection has read, and
// of those it has still to write. What is to be written must be copied without
// being written, and what was read must be put into the buffer of the
// connection's next Conn.
//
// slim clears three other fields, which an idle WebSocket does not need.

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
func outbound(c gnet.Conn) *elastic.Buffer { return fieldOf[elastic.Buffer](c, &outboundOffset) }

// inbound returns the buffer of bytes that c has read.
func inbound(c gnet.Conn) *elastic.RingBuffer {
	return fieldOf[elastic.RingBuffer](c, &inboundOffset)
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
	outboundOffset   = fieldOffset{name: "outboundBuffer"}
	inboundOffset    = fieldOffset{name: "inboundBuffer"}
	remoteOffset     = fieldOffset{name: "remote"}
	remoteAddrOffset = fieldOffset{name: "remoteAddr"}
	attachmentOffset = fieldOffset{name: "pollAttachment"}
)

// slim releases what gnet holds for a TCP connection and does not use: the
// client's address, twice, and a callback that only its build tag poll_opt calls.
// It is 96 of 370 bytes. RemoteAddr returns nil afterwards; peerOf asks the
// kernel. A version of gnet that keeps them elsewhere keeps them.
func slim(c gnet.Conn) {
	if remote := fieldOf[unix.Sockaddr](c, &remoteOffset); remote != nil {
		*remote = nil
	}
	if addr := fieldOf[net.Addr](c, &remoteAddrOffset); addr != nil {
		*addr = nil
	}
	if attachment := fieldOf[netpoll.PollAttachment](c, &attachmentOffset); attachment != nil {
		attachment.Callback = nil
	}
}

func fieldOf[T any](c gnet.Conn, o *fieldOffset) *T {
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
