package loop

import (
	"cmp"
	"slices"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// Bytes held for one client are limited: what it has not read (MaxPending), and
// an incomplete message from it (MaxPayload). Their sum over all clients of the
// node is limited too (MaxHeld), so that a thousand clients that stop reading
// at once do not take the memory of the others. Beyond it, each loop that holds
// more than its share closes the clients with the most.

// Messages that wait for blocked WebSockets are shared, and counted once
// (blocked.go).

// pollsEvery is the number of checks in which all polling sessions are asked
// once. The known holders are checked each time.
const pollsEvery = 10

// A holder is a connection or polling session that bytes are held for.
type holder interface {
	holds() int         // how many bytes, but for messages that it shares with others
	waits() int         // bytes of those
	shed(now time.Time) // ends it
}

// heldBytes counts the bytes that one loop holds for clients. Owned by its
// event loop.
type heldBytes struct {
	by    map[holder]int // bytes at the last look, where there were any
	looks int
}

// countHeld records how many bytes are held for d.
func (w *worker) countHeld(d holder, bytes int) {
	before, known := w.held.by[d]
	switch {
	case bytes > 0:
		w.held.by[d] = bytes
	case known:
		delete(w.held.by, d)
	default:
		return
	}
	w.stats.Held.Add(int64(bytes - before))
}

// checkHeld updates the counts. It is called each wheel.Tick while the loop is
// awake, because gnet does not say when a client has read its backlog.
func (w *worker) checkHeld(now time.Time) {
	for d := range w.held.by {
		w.countHeld(d, d.holds())
	}
	if w.held.looks++; w.held.looks%pollsEvery == 0 {
		w.checkPolls()
	}
	w.shed(now)
}

// checkPolls counts the bytes of all polling sessions.
func (w *worker) checkPolls() {
	for _, s := range w.bySID {
		w.countHeld(s, s.holds())
	}
}

// overLimit reports whether the node holds too much, and this loop more than
// its share.
func (w *worker) overLimit() bool {
	most := int64(w.server.live().MaxHeld)
	loops := int64(len(w.server.workers))
	return most > 0 && w.stats.Held.Load()*loops > most && w.server.heldBytes() > most
}

// heldBytes returns the bytes held on all loops.
func (s *Server) heldBytes() (n int64) {
	for _, w := range s.workers {
		n += w.stats.Held.Load()
	}
	return n
}

// shed closes holders until the loop holds no more than its share.
func (w *worker) shed(now time.Time) {
	if !w.overLimit() {
		return
	}
	type debt struct {
		of    holder
		bytes int
	}
	all := make([]debt, 0, len(w.held.by))
	for d, n := range w.held.by {
		all = append(all, debt{d, n + d.waits()})
	}
	slices.SortFunc(all, func(a, b debt) int { return cmp.Compare(b.bytes, a.bytes) })
	left := w.stats.Held.Load() - int64(w.server.live().MaxHeld/len(w.server.workers))
	for _, d := range all {
		if left <= 0 {
			return
		}
		left -= int64(d.bytes)
		w.stats.Shed.Add(1)
		d.of.shed(now)
		w.countHeld(d.of, 0)
	}
}

// holds implements holder: the unread backlog, and the part of an incomplete
// message.
func (c *wsConn) holds() int {
	if c.c == nil {
		return 0
	}
	n := c.c.OutboundBuffered() + c.c.InboundBuffered()
	if p := c.partial(); p != nil {
		n += len(p.data)
	}
	if c.s != nil {
		n += c.s.peer.Holds()
	}
	return n
}

// waits implements holder.
func (c *wsConn) waits() int {
	if c.s == nil {
		return 0
	}
	return int(c.s.queue.bytes)
}

// shed implements holder. It closes at once, without waiting for pending bytes
// to be written.
func (c *wsConn) shed(now time.Time) {
	if c.s != nil && !c.probing() {
		c.s.end(rooms.ReasonShed, now)
	}
	c.close()
}

// holds implements holder for a polling session. The bytes of a WebSocket
// session are counted with its connection.
func (s *session) holds() int {
	if s.poll == nil {
		return 0
	}
	return int(s.queue.bytes) + s.peer.Holds()
}

func (s *session) waits() int { return 0 }

func (s *session) shed(now time.Time) { s.end(rooms.ReasonShed, now) }

// holds implements holder: the unread backlog, and the part of an incomplete
// request.
func (h *httpConn) holds() int {
	if h.c == nil {
		return 0
	}
	return h.c.OutboundBuffered() + h.c.InboundBuffered() + len(h.requests.Gathered())
}

func (h *httpConn) waits() int { return 0 }

func (h *httpConn) shed(time.Time) { h.close() }
