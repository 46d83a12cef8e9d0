package loop

import (
	"cmp"
	"slices"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// The bytes held for one client are limited: what waits to be read by it
// (MaxPending), and an incomplete message from it (MaxPayload). Their sum over
// all clients of the node is limited too (MaxOwed), so that a thousand clients
// that stop in the middle at once do not take the memory of the rest. Beyond
// it, each loop that holds more than its share closes the clients with the
// most.

// Messages that wait for blocked WebSockets are shared, and counted once
// (blocked.go).

// owedPollsEvery: polling sessions, all of which have to be asked, are looked
// at once in so many looks at the known debtors.
const owedPollsEvery = 10

// A debtor is a connection or polling session that bytes are held for.
type debtor interface {
	holds() int         // how many bytes, but for messages that it shares with others
	waits() int         // bytes of those
	shed(now time.Time) // ends it
}

// owed has the bytes that one loop holds for clients. Owned by its event loop.
type owed struct {
	by    map[debtor]int // bytes at the last look, where there were any
	looks int
}

// owe records how many bytes are held for d.
func (w *worker) owe(d debtor, bytes int) {
	before, known := w.owed.by[d]
	switch {
	case bytes > 0:
		w.owed.by[d] = bytes
	case known:
		delete(w.owed.by, d)
	default:
		return
	}
	w.stats.Owed.Add(int64(bytes - before))
}

// checkOwed updates the figures. It is called each wheel.Tick while the loop is
// awake, because gnet does not tell when a client has read what waited for it.
func (w *worker) checkOwed(now time.Time) {
	for d := range w.owed.by {
		w.owe(d, d.holds())
	}
	if w.owed.looks++; w.owed.looks%owedPollsEvery == 0 {
		w.checkPolls()
	}
	w.shed(now)
}

// checkPolls asks all polling sessions.
func (w *worker) checkPolls() {
	for _, s := range w.bySID {
		w.owe(s, s.holds())
	}
}

// overdrawn reports whether the node holds too much, and this loop more than
// its share.
func (w *worker) overdrawn() bool {
	most := int64(w.server.live().MaxOwed)
	loops := int64(len(w.server.workers))
	return most > 0 && w.stats.Owed.Load()*loops > most && w.server.owed() > most
}

// owed returns the bytes held on all loops.
func (s *Server) owed() (n int64) {
	for _, w := range s.workers {
		n += w.stats.Owed.Load()
	}
	return n
}

// shed closes debtors until the loop holds no more than its share.
func (w *worker) shed(now time.Time) {
	if !w.overdrawn() {
		return
	}
	type debt struct {
		of    debtor
		bytes int
	}
	all := make([]debt, 0, len(w.owed.by))
	for d, n := range w.owed.by {
		all = append(all, debt{d, n + d.waits()})
	}
	slices.SortFunc(all, func(a, b debt) int { return cmp.Compare(b.bytes, a.bytes) })
	left := w.stats.Owed.Load() - int64(w.server.live().MaxOwed/len(w.server.workers))
	for _, d := range all {
		if left <= 0 {
			return
		}
		left -= int64(d.bytes)
		w.stats.Shed.Add(1)
		d.of.shed(now)
		w.owe(d.of, 0)
	}
}

// holds implements debtor: what waits to be read, and what has come of a
// message that is not whole.
func (c *wsConn) holds() int {
	if c.c == nil {
		return 0
	}
	n := c.c.OutboundBuffered() + c.c.InboundBuffered()
	if c.partial != nil {
		n += len(c.partial.data)
	}
	if c.s != nil {
		n += c.s.peer.Holds()
	}
	return n
}

// waits implements debtor.
func (c *wsConn) waits() int {
	if c.s == nil {
		return 0
	}
	return int(c.s.queue.bytes)
}

// shed implements debtor. It closes at once, without waiting for pending bytes
// to be written.
func (c *wsConn) shed(now time.Time) {
	if c.s != nil && !c.probing() {
		c.s.end(rooms.ReasonShed, now)
	}
	c.close()
}

// holds implements debtor for a polling session: a WebSocket's are its
// connection's.
func (s *session) holds() int {
	if s.poll == nil {
		return 0
	}
	return int(s.queue.bytes) + s.peer.Holds()
}

func (s *session) waits() int { return 0 }

func (s *session) shed(now time.Time) { s.end(rooms.ReasonShed, now) }

// holds implements debtor: what waits to be read, and what has come of a
// request that is not whole.
func (h *httpConn) holds() int {
	if h.c == nil {
		return 0
	}
	return h.c.OutboundBuffered() + h.c.InboundBuffered() + len(h.requests.Gathered())
}

func (h *httpConn) waits() int { return 0 }

func (h *httpConn) shed(time.Time) { h.close() }
