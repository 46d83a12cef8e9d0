package loop

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// A worker is everything one event loop owns: its sessions, its timers and its
// shard of the rooms. Owned by that event loop; ring and the atomic fields are
// all that others may touch.
type worker struct {
	server *Server
	index  int
	shard  *rooms.Shard
	loop   gnet.EventLoop
	again  *again // comes back after a round of epoll

	sessions []*session          // all of them; each knows its index
	bySID    map[string]*session // those that HTTP requests can reach
	wheel    *wheel
	drain    *drain // nil unless the node is draining

	outbox  outbox
	fresh   []*session // touched since the last flush
	spare   []*session // empty, to become fresh
	backlog []*session // touched earlier
	written int        // how many of the backlog have been written
	budget  int        // bytes of broadcasts to take before the backlog is written
	coming  bool       // a turn has been asked for
	depth   int        // callbacks on the stack

	out  []byte // for building what is written; valid until the next use
	body []byte // for building a reply's body

	turn     gnet.Runnable // w.onTurn, made once
	tick     func(time.Time)
	ticking  atomic.Bool  // a tick waits in the mailbox
	lastTurn atomic.Int64 // Unix ms
	stats    Stats
}

func newWorker(s *Server, index int) *worker {
	w := &worker{
		server: s,
		index:  index,
		shard:  s.config.Hub.Shard(index),
		bySID:  make(map[string]*session),
		wheel:  newWheel(time.Now()),
		budget: deliverBatch,
	}
	w.turn = gnet.RunnableFunc(w.onTurn)
	w.tick = w.onTick
	w.lastTurn.Store(time.Now().UnixMilli())
	return w
}

// ring has the loop take a turn. Safe to call from any goroutine once the
// worker has its loop. It fails only when the engine has stopped, and then
// nobody is left to be served.
func (w *worker) ring() {
	_ = w.loop.Execute(w.server.ctx, w.turn)
}

// enter and settle stand around every callback of gnet's. When the outermost
// of them is done, what it has to say is written: at once when it is for a few
// sessions, as in a chat, where waiting would cost a wake-up and bring nothing
// together; at the end of this round of epoll when it is for many, because then
// others who speak in the same round are likely to reach the same ones.
func (w *worker) enter() { w.depth++ }

func (w *worker) settle() {
	if w.depth--; w.depth > 0 || w.coming || len(w.fresh) == 0 {
		return
	}
	if len(w.fresh) <= flushAtOnce {
		w.flushGuarded()
		return
	}
	w.coming = true
	w.ring()
}

func (w *worker) flushGuarded() {
	w.depth++ // what closes meanwhile has its say afterwards
	defer func() { w.depth-- }()
	defer w.survive("flush")
	w.flush(time.Now())
}

// onTurn is the end of a turn: everything that waits in the mailbox is done,
// and everything that has something to say is written to, once.
func (w *worker) onTurn(context.Context) error {
	defer w.survive("turn")
	w.depth++
	defer func() { w.depth-- }()
	now := time.Now()
	w.coming = false
	w.lastTurn.Store(now.UnixMilli())
	w.shard.Tasks(now)
	if w.budget > 0 {
		w.budget = w.shard.Drain(w.budget)
	}
	w.flush(now)
	if len(w.backlog) == 0 && w.budget < deliverBatch {
		more := w.budget == 0
		w.budget = deliverBatch
		if more {
			w.comeBack()
		}
	}
	return nil
}

// flush writes to the sessions touched in this turn. When they are many (a
// broadcast into a large room) they queue up, and each round of epoll writes
// to a batch of them, so that a crowd does not hold up the loop.
func (w *worker) flush(now time.Time) {
	// A session that ends has more to say to others, who then are the fresh.
	fresh := w.fresh
	w.fresh = w.spare[:0]
	batch := flushBatch
	if len(fresh) > batch/2 {
		w.backlog = append(w.backlog, fresh...)
	} else {
		batch -= len(fresh)
		w.write(fresh, now)
	}
	clear(fresh)
	w.spare = fresh

	end := min(w.written+batch, len(w.backlog))
	w.write(w.backlog[w.written:end], now)
	if w.written = end; end == len(w.backlog) {
		clear(w.backlog)
		w.backlog, w.written = w.backlog[:0], 0
	}
	if len(w.fresh) > 0 || len(w.backlog) > 0 {
		w.comeBack()
	}
}

func (w *worker) write(sessions []*session, now time.Time) {
	for _, s := range sessions {
		s.dirty = false
		s.flush(now)
	}
}

// comeBack asks for a turn after another round of epoll. A task that posts
// itself to the loop again would keep it from its sockets, because gnet runs
// tasks until none is left.
func (w *worker) comeBack() {
	if w.coming {
		return
	}
	w.coming = true
	if w.again == nil { // in the first instants
		w.ring()
		return
	}
	w.again.ask()
}

// onTick advances the wheel. It runs every wheelTick, as a task.
func (w *worker) onTick(now time.Time) {
	w.ticking.Store(false)
	w.wheel.advance(now)
	if w.drain != nil {
		w.drain.step(w, now)
	}
}

// postTick is called by the ticker's goroutine. A loop that lags behind has
// one tick waiting, not many.
func (w *worker) postTick() {
	if w.ticking.CompareAndSwap(false, true) {
		w.shard.Post(w.tick)
	}
}

// survive keeps a bug in one task from ending the process. gnet has no recover
// of its own.
func (w *worker) survive(where string) {
	if r := recover(); r != nil {
		w.reportPanic(where, r)
		w.comeBack() // for what it had not done yet
	}
}

// surviveTraffic is survive for what a client has sent: its connection, and
// with it its session, ends.
func (w *worker) surviveTraffic(c gnet.Conn, action *gnet.Action) {
	r := recover()
	if r == nil {
		return
	}
	w.reportPanic("traffic", r)
	if conn, ok := c.Context().(*wsConn); ok && conn.s != nil && !conn.probing {
		conn.s.end(rooms.ReasonPanic, time.Now())
	}
	*action = gnet.Close
}

func (w *worker) reportPanic(where string, r any) {
	w.stats.Panics.Add(1)
	w.server.config.Log.Error("panic on an event loop", "loop", w.index, "in", where,
		"panic", r, slog.String("stack", string(debug.Stack())))
}

// addSession takes in a new session.
func (w *worker) addSession(s *session) {
	s.index = int32(len(w.sessions))
	w.sessions = append(w.sessions, s)
	w.stats.Sessions.Add(1)
}

// removeSession forgets a session; the last one takes its place.
func (w *worker) removeSession(s *session) {
	last := int32(len(w.sessions) - 1)
	w.sessions[s.index] = w.sessions[last]
	w.sessions[s.index].index = s.index
	w.sessions[last] = nil
	w.sessions = w.sessions[:last]
	w.stats.Sessions.Add(-1)
}

// The messages that are the same for everybody.
var (
	pingMessage = codec.NewText([]byte("2"))
	noopPacket  = []byte("6")
	closePacket = []byte("1")
)
