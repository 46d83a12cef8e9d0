package loop

import (
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

// A worker has everything that one event loop owns: its sessions, its timers
// and its shard of the rooms. Owned by that event loop; other goroutines may
// use postTurn and the atomic fields only.
type worker struct {
	server *Server
	index  int
	shard  *rooms.Shard
	loop   gnet.EventLoop
	wakeup *wakeup // wakes the loop after a round of epoll
	ticker *ticker // wakes the loop for its deadlines

	backlog backlog

	sessions []*session           // all of them; each knows its index
	bySID    map[string]*session  // those that HTTP requests can reach
	departed map[string]*departed // polling sessions that ended a moment ago
	wheel    *wheel.Wheel
	drain    *drain // nil unless sessions are being ended

	outbox     outbox
	held       heldBytes
	blocked    blocked
	turns      turns
	quietTicks int  // ticks since something happened
	asleep     bool // the ticker is set to the next deadline
	frozen     bool // the loop is frozen, see Freeze: requests are not handled

	out  []byte // for building what is written; valid until the next use
	body []byte // for building a reply's body

	scratch [2048]byte // for input that is discarded

	turn     gnet.Runnable // w.onPosted, made once
	lastTurn atomic.Int64  // rooms.Monotonic, ns; while the loop sleeps, when it is to wake
	stats    Stats
}

func newWorker(s *Server, index int) *worker {
	w := &worker{
		server:   s,
		index:    index,
		shard:    s.config.Hub.Shard(index),
		bySID:    make(map[string]*session),
		departed: make(map[string]*departed),
		wheel:    newWheel(time.Now()),
		turns:    turns{budget: deliverBatch},
		held:     heldBytes{by: make(map[holder]int)},
	}
	w.turn = gnet.RunnableFunc(w.onPosted)
	w.turned(time.Now())
	return w
}

// turned records that the loop has taken a turn.
func (w *worker) turned(now time.Time) { w.lastTurn.Store(int64(rooms.Monotonic(now))) }

// postTurn schedules a turn of the loop. Any goroutine may call it once the worker
// has its loop. It fails only after the engine has stopped.
func (w *worker) postTurn() {
	_ = w.loop.Execute(w.server.ctx, w.turn)
}

// onTick is called by the ticker: every tickerInterval, and while the loop sleeps
// when it is to wake up.
func (w *worker) onTick() {
	w.turns.depth++
	defer w.settle()
	defer w.recoverPanic("tick")
	now := time.Now()
	w.turned(now)
	if w.wheel.Advance(now) {
		w.tick(now)
	}
	w.checkBlocked()
	w.sleepIfIdle(now)
}

// tick does the work that is due every wheel.Tick while the loop is awake.
func (w *worker) tick(now time.Time) {
	w.shard.Expire(now)
	w.checkHeld(now)
	if w.drain != nil {
		w.drain.step(w, now)
	}
}

// recoverPanic recovers a panic of a task, so that it does not end the process. gnet
// has no recover of its own.
func (w *worker) recoverPanic(where string) {
	if r := recover(); r != nil {
		w.reportPanic(where, r)
		w.scheduleTurn() // for what it had not done yet
	}
}

// recoverTraffic is recoverPanic for input of a client: its connection, and with it
// its session, is closed.
func (w *worker) recoverTraffic(c gnet.Conn, action *gnet.Action) {
	r := recover()
	if r == nil {
		return
	}
	w.reportPanic("traffic", r)
	if conn, ok := c.Context().(*wsConn); ok && conn.s != nil && !conn.probing() {
		conn.s.end(rooms.ReasonPanic, time.Now())
	}
	*action = gnet.Close
}

func (w *worker) reportPanic(where string, r any) {
	w.stats.Panics.Add(1)
	w.server.config.Log.Error("panic on an event loop", "loop", w.index, "in", where,
		"panic", r, slog.String("stack", string(debug.Stack())))
}

// addSession adds a session.
func (w *worker) addSession(s *session) {
	s.index = int32(len(w.sessions))
	w.sessions = append(w.sessions, s)
	w.stats.Sessions.Add(1)
}

// removeSession removes a session; the last one takes its index.
func (w *worker) removeSession(s *session) {
	last := int32(len(w.sessions) - 1)
	w.sessions[s.index] = w.sessions[last]
	w.sessions[s.index].index = s.index
	w.sessions[last] = nil
	w.sessions = w.sessions[:last]
	w.stats.Sessions.Add(-1)
}

// Messages that every client gets in the same form.
var (
	pingMessage = codec.NewText([]byte("2"))
	noopPacket  = []byte("6")
)
