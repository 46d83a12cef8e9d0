package loop

import (
	"cmp"
	"slices"
	"time"

	"github.com/hometrip/gateway/rooms"
)

// What waits for clients that do not read is bounded for each of them
// (MaxPending), and for all of them together (MaxOwed): a thousand that stop at
// once must not take the memory of the rest. When it comes to that, each loop
// that holds more than its share ends the sessions with the most waiting.

// owedPollsEvery is how many looks at WebSockets come between two at polling
// sessions, of which all have to be asked.
const owedPollsEvery = 10

// owed is one loop's part of it. Owned by its event loop.
type owed struct {
	conns map[*wsConn]int // bytes waiting in gnet, where there are any
	polls int             // bytes queued for sessions that do not poll, at the last look
	looks int
}

// owe notes what waits for a WebSocket after a write.
func (w *worker) owe(c *wsConn, waiting int) {
	before, known := w.owed.conns[c]
	switch {
	case waiting > 0:
		w.owed.conns[c] = waiting
	case known:
		delete(w.owed.conns, c)
	default:
		return
	}
	w.stats.Owed.Add(int64(waiting - before))
}

// lookAtOwed is called each wheelTick: gnet does not tell when a client has
// read what was waiting for it.
func (w *worker) lookAtOwed(now time.Time) {
	for c := range w.owed.conns {
		w.owe(c, c.c.OutboundBuffered())
	}
	if w.owed.looks++; w.owed.looks%owedPollsEvery == 0 {
		polls := 0
		for _, s := range w.bySID {
			polls += int(s.queue.bytes)
		}
		w.stats.Owed.Add(int64(polls - w.owed.polls))
		w.owed.polls = polls
	}
	w.shed(now)
}

// overdrawn reports whether too much waits on the node, and more than its
// share on this loop.
func (w *worker) overdrawn() bool {
	most := int64(w.server.config.MaxOwed)
	loops := int64(len(w.server.workers))
	return most > 0 && w.stats.Owed.Load()*loops > most && w.server.owed() > most
}

// owed is what waits on all loops.
func (s *Server) owed() (n int64) {
	for _, w := range s.workers {
		n += w.stats.Owed.Load()
	}
	return n
}

// shed ends sessions until the loop has no more than its share.
func (w *worker) shed(now time.Time) {
	if !w.overdrawn() {
		return
	}
	type debtor struct {
		conn    *wsConn
		session *session
		bytes   int
	}
	var all []debtor
	for c, n := range w.owed.conns {
		all = append(all, debtor{c, c.s, n})
	}
	for _, s := range w.bySID {
		if s.queue.bytes > 0 {
			all = append(all, debtor{nil, s, int(s.queue.bytes)})
		}
	}
	slices.SortFunc(all, func(a, b debtor) int { return cmp.Compare(b.bytes, a.bytes) })
	left := w.stats.Owed.Load() - int64(w.server.config.MaxOwed/len(w.server.workers))
	for _, d := range all {
		if left <= 0 {
			return
		}
		left -= int64(d.bytes)
		w.stats.Shed.Add(1)
		if d.session != nil {
			d.session.end(rooms.ReasonShed, now)
		}
		if d.conn != nil {
			d.conn.close() // at once: what waits is the matter
		} else {
			w.owed.polls -= d.bytes
			w.stats.Owed.Add(int64(-d.bytes))
		}
	}
}
