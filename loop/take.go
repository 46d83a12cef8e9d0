package loop

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/rooms"
)

// enrolling is how many connections that are taken over wait at once for their
// event loop: each has two descriptors meanwhile.
const enrolling = 256

// An Estate is what another process hands over: looked through, and not taken
// yet. Owned by the goroutine that takes it.
type Estate struct {
	server   *Server
	arrivals []*arrival
	tasks    []adoption // one for each event loop
}

// An adoption is the sessions one loop takes over.
type adoption struct {
	sessions []*inheritance
	departed []form.Departed
	absent   []adoptedAbsent
}

// An adoptedAbsent is a socket without a connection, and the log of its
// positions.
type adoptedAbsent struct {
	form *form.Absent
	log  string
}

// An inheritance is a session to be taken over. Owned by its event loop from
// Take on.
type inheritance struct {
	form    *form.Session
	log     string // of its positions
	queue   []*codec.Message
	session *session // once it is made; nil if it could not be
}

// An arrival is a connection to be taken over, and what of a session it is. It
// is the context it is enrolled with.
type arrival struct {
	form *form.Conn
	fd   int
	w    *worker
	heir *inheritance // whose connection it is; nil: nobody's
	home *worker      // of that session
	role role
}

// role is what a connection is to a session.
type role uint8

const (
	roleNone role = iota
	roleTransport
	roleProbe
	roleParked
	rolePost
)

// Estate looks through what each loop of another process hands over; conns are
// the descriptors of the connections by their numbers. Nothing is taken yet. An error says what
// this process cannot take.
func (s *Server) Estate(loops []*form.Loop, conns map[uint32]int) (*Estate, error) {
	e := &Estate{server: s, tasks: make([]adoption, len(s.workers))}
	byID := make(map[uint32]*arrival, len(conns))
	for i, l := range loops {
		for j := range l.Conns {
			c := &l.Conns[j]
			fd, known := conns[c.ID]
			if !known || byID[c.ID] != nil {
				return nil, fmt.Errorf("connection %d has no descriptor of its own", c.ID)
			}
			if c.Kind == form.KindHTTP && c.HTTP.Timeout > awaitEnd {
				return nil, fmt.Errorf("connection %d waits for %d, which is nothing", c.ID, c.HTTP.Timeout)
			}
			a := &arrival{form: c, fd: fd, w: s.workers[i%len(s.workers)]}
			byID[c.ID] = a
			e.arrivals = append(e.arrivals, a)
		}
	}
	for i, l := range loops {
		for j := range l.Sessions {
			if err := e.session(&l.Sessions[j], l.Log, i, byID); err != nil {
				return nil, err
			}
		}
		for _, d := range l.Departed {
			home, _ := loopOf([]byte(d.SID), len(s.workers))
			e.tasks[home].departed = append(e.tasks[home].departed, d)
		}
		for j := range l.Absent {
			if err := rooms.CheckState(&l.Absent[j].Socket); err != nil {
				return nil, err
			}
			home := i % len(s.workers)
			e.tasks[home].absent = append(e.tasks[home].absent, adoptedAbsent{&l.Absent[j], l.Log})
		}
	}
	for id, a := range byID {
		if a.form.Kind == form.KindHTTP && a.form.HTTP.Asked && a.role == roleNone {
			return nil, fmt.Errorf("connection %d waits for an answer nobody gives", id)
		}
	}
	return e, nil
}

// session plans the session f of the other process's loop from.
func (e *Estate) session(f *form.Session, log string, from int, byID map[uint32]*arrival) error {
	s := e.server
	home := from % len(s.workers)
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
	h := &inheritance{form: f, log: log}
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
		a := byID[id]
		if a == nil || a.role != roleNone || a.form.Kind != kind || kind == form.KindHTTP && !a.form.HTTP.Asked {
			return fmt.Errorf("connection %d is not one of session %q", id, f.Socket.ID)
		}
		if a.heir, a.role, a.home = h, as, s.workers[home]; kind == form.KindWebSocket {
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

// Taken says what has become of an estate.
type Taken struct {
	Connections, Sessions int
	Lost                  int // connections that had ended meanwhile
}

// Take makes the estate this server's. First every session is in its rooms;
// then begun is called; then the connections come to their event loops, and
// nobody is told anything before.
func (e *Estate) Take(ctx context.Context, begun func()) (t Taken, err error) {
	done := make(chan struct{}, len(e.tasks))
	for i := range e.tasks {
		w, task := e.server.workers[i], &e.tasks[i]
		w.shard.Post(func(now time.Time) {
			defer func() { done <- struct{}{} }()
			w.adopt(task, now)
		})
		t.Sessions += len(task.sessions)
	}
	for range e.tasks {
		select {
		case <-done:
		case <-ctx.Done():
			return t, ctx.Err()
		}
	}
	begun()
	slots := make(chan struct{}, enrolling)
	lost := make(chan bool, len(e.arrivals))
	for _, a := range e.arrivals {
		slots <- struct{}{}
		go func() {
			ok := a.enroll(ctx)
			<-slots
			lost <- !ok
		}()
	}
	for range e.arrivals {
		if <-lost {
			t.Lost++
		}
	}
	t.Connections = len(e.arrivals) - t.Lost
	return t, nil
}

// enroll has the event loop take the connection, and reports whether it is
// still there.
func (a *arrival) enroll(ctx context.Context) bool {
	if enroll(ctx, a.w, a.fd, a) {
		return true
	}
	if a.heir != nil {
		a.home.shard.Post(a.lost)
	}
	return false
}

// lost is called on the session's loop when the connection had ended before it
// was taken over.
func (a *arrival) lost(now time.Time) {
	s := a.heir.session
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

// rest is what has not been taken of the session's POST.
func (a *arrival) rest() []byte { return bytes.Clone(a.heir.form.Polling.Rest) }

// adopt makes the sessions, each in its rooms. Nobody can be told anything yet:
// those with a WebSocket are not written to before it is here.
func (w *worker) adopt(task *adoption, now time.Time) {
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
		w.wheel.Arm(&gone.timer, gone, now.Add(d.Left))
	}
}

func (w *worker) adoptAbsent(a adoptedAbsent, now time.Time) {
	defer w.survive("hand-over")
	if err := w.shard.AdoptAbsent(a.form, a.log, now); err != nil {
		w.server.config.Log.Error("an absent client could not be taken over", "error", err)
	}
}

func (w *worker) adoptSession(h *inheritance, now time.Time) {
	defer w.survive("hand-over")
	f := h.form
	s := &session{
		w: w, beat: w.wheel.MS(now.Add(f.Beat)), pinged: f.Pinged, msgpack: f.Msgpack,
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
