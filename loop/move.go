package loop

import (
	"net"
	"os"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/loop/limits"
)

// A moved is a connection that is being moved to the loop of its session, with
// the request that named the session. gnet keeps it as the connection's
// context.
type moved struct {
	request []byte
	from    limits.Caller
}

// move moves the connection to another loop: a duplicate of its descriptor is
// registered there, and this half is dropped. It moves only if nothing but the
// request has been read and nothing waits to be written, so no byte can be lost
// or reordered. It reports false if the connection has to stay.
func (h *httpConn) move(to *worker, request []byte) bool {
	if h.c.InboundBuffered() != len(request) || h.c.OutboundBuffered() != 0 {
		return false
	}
	loop := h.w.server.loopOf(to)
	if loop == nil {
		return false // not up yet
	}
	moving := &h.w.server.moving
	if moving.Add(1) > maxMoving {
		moving.Add(-1)
		return false
	}
	conn, err := duplicate(h.c)
	if err != nil {
		moving.Add(-1)
		return false // out of descriptors, most likely
	}
	m := &moved{request: append([]byte(nil), request...), from: h.from}
	enrolled, err := loop.Enroll(gnet.NewContext(h.w.server.ctx, m), conn)
	if err != nil {
		moving.Add(-1)
		conn.Close()
		return false
	}
	guard := h.w.server.guard
	go func() {
		if result := <-enrolled; result.Err != nil { // and the connection is closed
			guard.Release(m.from.Place, false)
		}
		moving.Add(-1)
	}()
	h.w.stats.Moved.Add(1)
	h.exchange, h.from.Place = nil, 0 // the place moves with it
	h.close()
	return true
}

// duplicate returns a duplicate of the connection for gnet to register.
func duplicate(c gnet.Conn) (net.Conn, error) {
	fd, err := c.Dup()
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "moved")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err == nil && conn.RemoteAddr() == nil {
		// Reset meanwhile: Enroll would panic on its missing address, in a
		// goroutine of gnet's, and lose the descriptor.
		conn.Close()
		return nil, net.ErrClosed
	}
	return conn, err
}

// arrive serves the request of a connection that came from another loop.
func (h *httpConn) arrive(m *moved) {
	var head codec.Head
	now := time.Now()
	n, err := codec.ParseHead(m.request, &head)
	if err != nil || n == 0 {
		h.close() // it parsed on the other loop
		return
	}
	body := m.request[n:]
	if head.Chunked {
		if body, _, err = codec.ParseChunked(nil, body, h.w.server.config.MaxPayload); err != nil {
			h.close()
			return
		}
	}
	h.await(awaitNothing, now)
	h.parsing = true
	h.serve(&head, body, m.request, now)
	h.parsing = false
}
