package loop

import (
	"errors"
	"fmt"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/loop/wheel"
	"github.com/hometrip/gateway/rooms"
)

// portion is how many connections and sessions are described together: the
// other process reads them while the next ones are described.
const portion = 1024

// A Part is a portion of what one event loop hands over.
type Part struct {
	Body        []byte // a form.Loop
	Descriptors []int  // in the order of its connections; they stay the loop's
	Sessions    int
}

// A census lists the connections of one frozen loop. Owned by the loop until
// all loops have made theirs; read-only afterwards.
type census struct {
	conns      []gnet.Conn
	of         []any          // *wsConn or *httpConn, beside conns
	transports []uint32       // numbers of the sessions' WebSockets, beside the sessions
	ids        map[any]uint32 // numbers of the other connections
}

// State describes every connection and session, and calls send with one portion
// after the other. It changes nothing.
func (f *Frozen) State(send func(Part) error) error {
	errs := make([]error, len(f.loops))
	begin := func() {
		for i := range errs {
			errs[i] = errUnfinished // until it has finished: a panic is survived
		}
	}
	begin()
	f.each(func(l *frozenLoop) { errs[l.w.index] = l.count() })
	if err := errors.Join(errs...); err != nil {
		return err
	}
	begin()
	parts := make(chan Part, len(f.loops))
	go func() {
		defer close(parts)
		f.each(func(l *frozenLoop) { errs[l.w.index] = f.describe(l, parts) })
	}()
	var failed error
	for p := range parts {
		if failed == nil { // else the rest is described in vain
			failed = send(p)
		}
	}
	return errors.Join(append(errs, failed)...)
}

var errUnfinished = errors.New("an event loop failed while it described its connections")

// count finds the loop's connections. gnet does not list them, but each one
// without a session has a timer.
func (l *frozenLoop) count() error {
	w := l.w
	n := int(w.stats.Connections.Load())
	l.list = census{
		conns: make([]gnet.Conn, 0, n), of: make([]any, 0, n), transports: make([]uint32, len(w.sessions)), ids: make(map[any]uint32),
	}
	for i, s := range w.sessions {
		if l.list.transports[i] = form.None; s.ws != nil && s.ws.c != nil {
			l.list.transports[i] = l.list.append(w, s.ws, s.ws.c)
		}
		if p := s.poll; p != nil && p.probe != nil {
			l.list.add(w, p.probe, p.probe.c)
		}
	}
	w.wheel.Each(func(owner wheel.Owner) {
		switch o := owner.(type) {
		case *httpConn:
			l.list.add(w, o, o.c)
		case *deadline:
			if s := o.ws.s; s == nil || s.phase == phaseEnded || s.ws != o.ws {
				l.list.add(w, o.ws, o.ws.c)
			}
		}
	})
	for _, other := range w.server.workers { // polls and posts that wait, perhaps on another loop
		for _, s := range other.sessions {
			for _, x := range s.exchanges() {
				if x != nil && x.conn.w == w {
					l.list.add(w, x.conn, x.conn.c)
				}
			}
		}
	}
	if n != len(l.list.conns) {
		return fmt.Errorf("loop %d has %d connections, of which %d are in a state that can be handed over", w.index, n, len(l.list.conns))
	}
	if n > form.MaxConns {
		return fmt.Errorf("loop %d has %d connections, at most %d can be handed over", w.index, n, form.MaxConns)
	}
	return nil
}

// exchanges returns the requests that wait in the session.
func (s *session) exchanges() (all [2]*exchange) {
	if p := s.poll; p != nil {
		all[0] = p.parked
		if p.post != nil {
			all[1] = p.post.exchange
		}
	}
	return all
}

func (n *census) append(w *worker, owner any, c gnet.Conn) (id uint32) {
	id = form.ConnID(w.index, len(n.conns))
	n.conns, n.of = append(n.conns, c), append(n.of, owner)
	return id
}

// add appends a connection that is not its session's transport, unless it is
// listed already.
func (n *census) add(w *worker, owner any, c gnet.Conn) {
	if _, known := n.ids[owner]; !known && c != nil {
		n.ids[owner] = n.append(w, owner, c)
	}
}

// id returns the number of such a connection of any loop.
func (f *Frozen) id(w *worker, owner any) uint32 {
	if id, ok := f.loops[w.index].list.ids[owner]; ok {
		return id
	}
	return form.None
}

// describe describes in portions what the loop has.
func (f *Frozen) describe(l *frozenLoop, to chan<- Part) (err error) {
	now := time.Now()
	state := form.Loop{Index: uint32(l.w.index), Log: l.w.shard.Log()}
	if state.Absent, err = l.w.shard.Absent(now); err != nil {
		return err
	}
	for _, d := range l.w.departed {
		state.Departed = append(state.Departed, form.Departed{SID: d.sid, Left: l.w.wheel.Left(&d.timer, now)})
	}
	sessions := l.w.sessions
	state.Conns = make([]form.Conn, 0, min(portion, len(l.list.conns)))
	state.Sessions = make([]form.Session, 0, min(portion, len(sessions)))
	for conns, size := 0, 0; ; { // size is a guess of the next part's
		p := Part{Sessions: min(portion, len(sessions))}
		state.Conns, state.Sessions = state.Conns[:0], state.Sessions[:0]
		for ; conns < len(l.list.conns) && len(state.Conns) < portion; conns++ {
			state.Conns = append(state.Conns, form.Conn{ID: form.ConnID(l.w.index, conns)})
			if err := l.list.state(conns, &state.Conns[len(state.Conns)-1], now); err != nil {
				return err
			}
			p.Descriptors = append(p.Descriptors, l.list.conns[conns].Fd())
		}
		for _, s := range sessions[:p.Sessions] {
			d, err := f.session(s, now)
			if err != nil {
				return err
			}
			state.Sessions = append(state.Sessions, d)
		}
		sessions = sessions[p.Sessions:]
		p.Body = form.AppendLoop(make([]byte, 0, size), &state)
		size = len(p.Body) + len(p.Body)/8
		to <- p
		if conns == len(l.list.conns) && len(sessions) == 0 {
			return nil
		}
		state.Departed, state.Absent = nil, nil
	}
}

// state describes the i-th connection.
func (n *census) state(i int, d *form.Conn, now time.Time) (err error) {
	switch o := n.of[i].(type) {
	case *wsConn:
		err = o.state(d, now)
	case *httpConn:
		err = o.state(d, now)
	}
	if c := n.conns[i]; err == nil {
		if err = gnetBuffers(c); err == nil {
			d.In, err = unread(c)
		}
		if err == nil {
			d.Out, err = unwritten(c)
		}
	}
	return err
}

func (c *wsConn) state(d *form.Conn, now time.Time) error {
	d.Kind, d.Place = form.KindWebSocket, uint64(c.place)
	w := &d.WebSocket
	w.Ending, w.Ahead = c.ending, c.input.Ahead(now)
	m := c.more
	if m == nil {
		return nil
	}
	if m.ping != nil {
		w.HasPing, w.Ping = true, *m.ping
	}
	if m.partial != nil {
		w.Op, w.Partial = uint8(m.partial.op), m.partial.data
	}
	if m.wait != nil {
		w.Waits, w.Left = true, m.wait.until.Sub(now)
	}
	return nil
}

func (h *httpConn) state(d *form.Conn, now time.Time) error {
	if len(h.batch) > 0 || h.parsing {
		return fmt.Errorf("%w: a request", ErrBusy)
	}
	d.Kind, d.Place, d.Addr = form.KindHTTP, uint64(h.from.Place), h.from.Addr.AsSlice()
	d.Relayed, d.ProxyHeader = h.from.Relayed, h.from.ProxyHeader
	w := &d.HTTP
	w.Timeout, w.Served, w.Need, w.Gathered = h.timeout, h.served, uint32(h.requests.Need()), h.requests.Gathered()
	if h.timeout != awaitNothing {
		w.Left = h.w.wheel.Left(&h.timer, now)
	}
	if !h.giveUp.IsZero() {
		w.GiveUp = h.giveUp.Sub(now)
	}
	if x := h.exchange; x != nil {
		w.Asked = true
		w.Exchange = form.Exchange{Method: x.method, Origin: x.origin, Preflight: x.preflight,
			KeepAlive: x.keepAlive, HTTP10: x.http10, Relayed: x.relayed}
	}
	return nil
}

func (f *Frozen) session(s *session, now time.Time) (d form.Session, err error) {
	d = form.Session{
		WS: form.None, Heartbeat: time.Duration(s.heartbeatAt-s.w.wheel.MS(now)) * time.Millisecond,
		Pinged: s.pinged, Closing: s.phase == phaseClosing, Reason: uint8(s.reason), Msgpack: s.msgpack,
	}
	if s.ws != nil {
		d.WS = f.loops[s.w.index].list.transports[s.index]
	}
	for i := s.queue.first; i != 0; i = s.w.outbox.nodes[i].next {
		d.Queue = append(d.Queue, rooms.MessageForm(s.w.outbox.nodes[i].message))
	}
	if p := s.poll; p != nil {
		d.Polls = true
		d.Polling = form.Polling{
			SID: p.sid, Parked: form.None, Post: form.None, Probe: form.None,
			Probed: p.probed, Ahead: p.input.Ahead(now), Place: uint64(p.place),
		}
		if x := p.parked; x != nil {
			d.Polling.Parked = f.id(x.conn.w, x.conn)
		}
		if p.post != nil {
			d.Polling.Post, d.Polling.Rest = f.id(p.post.exchange.conn.w, p.post.exchange.conn), p.post.rest
		}
		if p.probe != nil {
			d.Polling.Probe = f.id(s.w, p.probe)
		}
	}
	socket, ok := s.peer.(*rooms.Socket)
	if !ok {
		return d, errors.New("a session without a socket")
	}
	d.Socket, err = socket.State(now)
	return d, err
}

// LetGo closes this process's half of every connection, which another process
// has taken over, and forgets every session without notifying anybody.
// Connections accepted from then on are passed to next as descriptors, which
// next closes.
func (f *Frozen) LetGo(next func(fd int)) {
	s := f.server
	s.redirectTo.Store(&next)
	f.each(func(l *frozenLoop) {
		w := l.w
		for _, c := range l.list.conns {
			disown(w.loop, c)
		}
		s.conns.Add(-int64(len(l.list.conns)))
		w.letGo()
	})
	f.Thaw()
}

func (w *worker) letGo() {
	w.sessions, w.drain, w.turns.paused, w.turns.pressed = nil, nil, nil, false
	w.bySID, w.departed = make(map[string]*session), make(map[string]*departed)
	w.wheel, w.outbox, w.turns.touched = newWheel(time.Now()), outbox{}, touched{}
	w.held, w.blocked = heldBytes{by: make(map[holder]int)}, blocked{}
	w.stats.Connections.Store(0)
	w.stats.Sessions.Store(0)
	w.stats.WebSockets.Store(0)
	w.stats.Held.Store(0)
	w.shard.LetGo()
}

// forward passes a connection that has just been accepted to the process that
// has taken over the others.
func (s *Server) forward(next func(fd int), c gnet.Conn) {
	if fd, err := c.Dup(); err == nil {
		next(fd)
	}
}

// Rates returns, for each address, how far it is ahead of its rate of
// handshakes, for another process.
func (s *Server) Rates(now time.Time) []form.Rate { return s.guard.Rates(now) }
