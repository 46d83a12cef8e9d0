package loop

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/rooms"
)

// A ReceivedState is the checked state of another process, which has not been
// taken over yet. Owned by the goroutine that takes it over.
type ReceivedState struct {
	server   *Server
	arrivals [][]*arrival // by loop of the other process, and number
	tasks    []adoption   // one for each event loop
}

// An adoption is the part that one loop takes over. Owned by that loop from
// Take on.
type adoption struct {
	w        *worker
	arrivals []*arrival
	sessions []*receivedSession
	departed []form.Departed
	absent   []adoptedAbsent
}

// An adoptedAbsent is a socket without a connection, and the log that its
// positions belong to.
type adoptedAbsent struct {
	form *form.Absent
	log  string
}

// A receivedSession is a session to be taken over. Owned by its event loop from
// Take on.
type receivedSession struct {
	form    *form.Session
	log     string // of its positions
	queue   []*codec.Message
	session *session // once it is made; nil if it could not be
}

// An arrival is a connection to be taken over, and its role for a session. It
// is the context with which it is registered.
type arrival struct {
	form *form.Conn
	w    *worker
	of   *receivedSession // the session of the connection; nil: it has none
	home *worker          // of that session
	role role
}

// A role is what a connection is to a session.
type role uint8

const (
	roleNone role = iota
	roleTransport
	roleProbe
	roleParked
	rolePost
)

// ReceiveState checks the state that another process hands over, in portions.
// Nothing is taken over yet. An error says what this process cannot take over.
func (s *Server) ReceiveState(portions []*form.Loop) (*ReceivedState, error) {
	e := &ReceivedState{server: s, tasks: make([]adoption, len(s.workers)), arrivals: make([][]*arrival, rooms.MaxShards)}
	for _, l := range portions {
		if l.Index >= rooms.MaxShards {
			return nil, fmt.Errorf("event loop %d, there are %d at most", l.Index, rooms.MaxShards)
		}
		if err := e.connections(l); err != nil {
			return nil, err
		}
	}
	for _, l := range portions {
		if err := e.portion(l); err != nil {
			return nil, err
		}
	}
	for _, all := range e.arrivals {
		for _, a := range all {
			if a.form.Kind == form.KindHTTP && a.form.HTTP.Asked && a.role == roleNone {
				return nil, fmt.Errorf("connection %d waits for an answer nobody gives", a.form.ID)
			}
		}
	}
	return e, nil
}

// connections prepares the connections of a portion.
func (e *ReceivedState) connections(l *form.Loop) error {
	of := &e.arrivals[l.Index]
	w := e.server.workers[int(l.Index)%len(e.server.workers)]
	arrivals := make([]arrival, len(l.Conns))
	for i := range l.Conns {
		c := &l.Conns[i]
		if want := form.ConnID(int(l.Index), len(*of)); c.ID != want {
			return fmt.Errorf("connection %d where %d should be", c.ID, want)
		}
		if c.Kind == form.KindHTTP && c.HTTP.Timeout > awaitEnd {
			return fmt.Errorf("connection %d waits for %d, which is nothing", c.ID, c.HTTP.Timeout)
		}
		arrivals[i] = arrival{form: c, w: w}
		*of = append(*of, &arrivals[i])
	}
	return nil
}

// arrival returns the connection with a number, nil if there is none.
func (e *ReceivedState) arrival(id uint32) *arrival {
	loop, i := form.SplitID(id)
	if loop >= len(e.arrivals) || i >= len(e.arrivals[loop]) {
		return nil
	}
	return e.arrivals[loop][i]
}

// portion prepares the rest of a portion.
func (e *ReceivedState) portion(l *form.Loop) error {
	loops := len(e.server.workers)
	for i := range l.Sessions {
		if err := e.session(&l.Sessions[i], l); err != nil {
			return err
		}
	}
	for _, d := range l.Departed {
		home, _ := loopOf([]byte(d.SID), loops)
		e.tasks[home].departed = append(e.tasks[home].departed, d)
	}
	task := &e.tasks[int(l.Index)%loops]
	for i := range l.Absent {
		if err := rooms.CheckState(&l.Absent[i].Socket); err != nil {
			return err
		}
		task.absent = append(task.absent, adoptedAbsent{&l.Absent[i], l.Log})
	}
	return nil
}

// session prepares a session of l.
func (e *ReceivedState) session(f *form.Session, l *form.Loop) error {
	s := e.server
	home := int(l.Index) % len(s.workers)
	if f.Polls { // its id says where it is looked for
		named, ok := loopOf([]byte(f.Polling.SID), len(s.workers))
		if !ok {
			return fmt.Errorf("a session with the id %q", f.Polling.SID)
		}
		home = named
	}
	if f.Polls == (f.WS != form.None) {
		return fmt.Errorf("a session with polls %v and WebSocket %d, want one of them", f.Polls, f.WS)
	}
	if int(f.Reason) >= len(rooms.Reasons()) {
		return fmt.Errorf("a session that ends for reason %d", f.Reason)
	}
	h := &receivedSession{form: f, log: l.Log}
	for i := range f.Queue {
		m, err := codec.FromFrames(bytes.Clone(f.Queue[i].Frames))
		if err != nil {
			return fmt.Errorf("a message that waits for %q: %w", f.Socket.ID, err)
		}
		m.Volatile = f.Queue[i].Volatile
		h.queue = append(h.queue, m)
	}
	if err := rooms.CheckState(&f.Socket); err != nil {
		return err
	}
	e.tasks[home].sessions = append(e.tasks[home].sessions, h)
	give := func(id uint32, kind uint8, as role) error {
		if id == form.None {
			return nil
		}
		a := e.arrival(id)
		if a == nil || a.role != roleNone || a.form.Kind != kind || kind == form.KindHTTP && !a.form.HTTP.Asked {
			return fmt.Errorf("connection %d is not one of session %q", id, f.Socket.ID)
		}
		if a.of, a.role, a.home = h, as, s.workers[home]; kind == form.KindWebSocket {
			a.w = a.home
		}
		return nil
	}
	if !f.Polls {
		return give(f.WS, form.KindWebSocket, roleTransport)
	}
	p := &f.Polling
	for _, err := range []error{
		give(p.Parked, form.KindHTTP, roleParked),
		give(p.Post, form.KindHTTP, rolePost),
		give(p.Probe, form.KindWebSocket, roleProbe),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// Taken is the result of Take.
type Taken struct {
	Connections, Sessions int
	Lost                  int           // connections that could not be registered
	Join                  time.Duration // until every session was in its rooms
	Register              time.Duration // until every connection was on its loop, behind that
}

// Take makes the received sessions and connections this server's. First every
// session joins its rooms; then begun is called; then the connections are
// registered with their event loops. Nothing is sent to a client before that.
func (e *ReceivedState) Take(ctx context.Context, begun func()) (t Taken, err error) {
	began := time.Now()
	for i := range e.tasks {
		e.tasks[i].w = e.server.workers[i]
		t.Sessions += len(e.tasks[i].sessions)
	}
	for _, all := range e.arrivals {
		for _, a := range all {
			task := &e.tasks[a.w.index]
			task.arrivals = append(task.arrivals, a)
		}
		t.Connections += len(all)
	}
	if err := e.onEach(ctx, (*adoption).adopt); err != nil {
		return t, err
	}
	t.Join = time.Since(began)
	begun()
	var lost atomic.Int64
	if err := e.onEach(ctx, func(task *adoption, _ time.Time) { lost.Add(int64(task.open())) }); err != nil {
		return t, err
	}
	t.Register = time.Since(began) - t.Join
	t.Lost = int(lost.Load())
	t.Connections -= t.Lost
	return t, nil
}

// onEach runs a function on each loop and waits for them.
func (e *ReceivedState) onEach(ctx context.Context, do func(*adoption, time.Time)) error {
	done := make(chan struct{}, len(e.tasks))
	for i := range e.tasks {
		task := &e.tasks[i]
		task.w.shard.Post(func(now time.Time) {
			defer func() { done <- struct{}{} }()
			do(task, now)
		})
	}
	for range e.tasks {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// open registers the connections with the loop, and returns how many of them
// had ended.
func (a *adoption) open() (lost int) {
	for _, c := range a.arrivals {
		if a.w.register(c.form.FD, peerOf(c.form.FD), c) {
			continue
		}
		lost++
		if c.of != nil {
			c.home.shard.Post(c.lost)
		}
	}
	return lost
}

// lost is called on the session's loop if the connection had ended before it
// was taken over.
func (a *arrival) lost(now time.Time) {
	s := a.of.session
	switch {
	case s == nil || s.phase == phaseEnded:
	case a.role == roleTransport || a.role == roleParked:
		s.end(rooms.ReasonTransportClosed, now)
	case a.role == rolePost && s.poll != nil: // its packets have arrived all the same
		s.poll.post = &post{exchange: &exchange{conn: &httpConn{w: s.w}}, rest: a.rest(), own: true}
		s.resume(now)
	case a.role == roleProbe && s.poll != nil:
		s.poll.probed = false
	}
}

// rest returns the part of the session's POST that has not been handled.
func (a *arrival) rest() []byte { return bytes.Clone(a.of.form.Polling.Rest) }

// adopt makes the sessions and puts each into its rooms. Nothing is sent yet: a
// session with a WebSocket is not written to before its connection is
// registered.
func (task *adoption) adopt(now time.Time) {
	w := task.w
	w.shard.Drain(math.MaxInt) // which log it is that positions belong to
	for _, h := range task.sessions {
		w.adoptSession(h, now)
	}
	for _, a := range task.absent {
		w.adoptAbsent(a, now)
	}
	for _, d := range task.departed {
		gone := &departed{w: w, sid: d.SID}
		w.departed[d.SID] = gone
		w.wheel.Arm(&gone.timer, timerDeparted, now.Add(d.Left))
	}
}

func (w *worker) adoptAbsent(a adoptedAbsent, now time.Time) {
	defer w.recoverPanic("hand-over")
	if err := w.shard.AdoptAbsent(a.form, a.log, now); err != nil {
		w.server.config.Log.Error("an absent client could not be taken over", "error", err)
	}
}

func (w *worker) adoptSession(h *receivedSession, now time.Time) {
	defer w.recoverPanic("hand-over")
	f := h.form
	s := &session{
		w: w, heartbeatAt: w.wheel.MS(now.Add(f.Heartbeat)), pinged: f.Pinged, msgpack: f.Msgpack,
		reason: rooms.Reason(f.Reason),
		dirty:  !f.Polls, // until its WebSocket is here
	}
	if f.Closing {
		s.phase = phaseClosing
	}
	socket, err := w.shard.Adopt(s, &f.Socket, h.log, now)
	if err != nil {
		w.server.config.Log.Error("a session could not be taken over", "error", err)
		return
	}
	s.peer = socket
	w.addSession(s)
	for _, m := range h.queue {
		w.outbox.push(&s.queue, m)
	}
	if f.Polls {
		p := &f.Polling
		s.poll = &polling{
			sid: p.SID, probed: p.Probed, input: rooms.ThrottleAhead(p.Ahead, now), place: w.server.guard.Inherit(limits.Source(p.Place), true),
		}
		w.bySID[p.SID] = s
	}
	s.rearm(now)
	h.session = s
	if s.phase == phaseClosing && s.poll != nil {
		s.touch()
	}
}

// TakeRates adopts what Rates of another process returned.
func (s *Server) TakeRates(all []form.Rate, now time.Time) { s.guard.TakeRates(all, now) }
