package loop

import (
	"bytes"
	"net/http"
	"net/netip"
	"time"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/handover/form"
	"github.com/hometrip/gateway/loop/httpread"
	"github.com/hometrip/gateway/loop/limits"
	"github.com/hometrip/gateway/rooms"
)

// This file serves connections that come from another process, on their event
// loops.

// open is called on the connection's loop when it is registered.
func (a *arrival) open(s *Server, c gnet.Conn, w *worker, now time.Time) gnet.Action {
	s.conns.Add(1)
	w.stats.Connections.Add(1)
	if a.form.Kind == form.KindWebSocket {
		return a.openWebSocket(c, w, now)
	}
	return a.openHTTP(c, w, now)
}

func (a *arrival) openWebSocket(c gnet.Conn, w *worker, now time.Time) gnet.Action {
	f := &a.form.WebSocket
	conn := &wsConn{
		c: c, more: &wsMore{w: w}, fd: int32(c.Fd()), ending: f.Ending, input: rooms.ThrottleAhead(f.Ahead, now),
		place: w.server.guard.Inherit(limits.Source(a.form.Place), false),
	}
	c.SetContext(conn)
	slim(c)
	if f.HasPing {
		ping := bytes.Clone(f.Ping)
		conn.more.ping = &ping
	}
	if f.Op != 0 {
		conn.more.partial = &partial{op: ws.OpCode(f.Op), data: bytes.Clone(f.Partial)}
	}
	if f.Waits {
		conn.await(now.Add(f.Left))
	}
	if !a.attach(conn) {
		return gnet.Close
	}
	if len(a.form.Out) > 0 {
		conn.write(a.form.Out)
	}
	if conn.c != nil && conn.ending && conn.more != nil && conn.more.wait != nil {
		conn.shutDown(now)
	}
	if conn.c == nil || len(a.form.In) == 0 {
		return gnet.None
	}
	if !putBack(c, a.form.In) {
		return gnet.Close
	}
	return conn.traffic(now)
}

// attach makes the WebSocket the transport of its session. It reports false if
// the session has ended meanwhile.
func (a *arrival) attach(conn *wsConn) bool {
	if a.of == nil {
		return true
	}
	s := a.of.session
	if s == nil || s.phase == phaseEnded || a.role == roleProbe && s.poll == nil {
		return a.role == roleProbe && a.of.form.Polling.Probed // until "5", as without the hand-over
	}
	conn.s = s
	if a.role == roleProbe {
		s.poll.probe = conn
		return true
	}
	conn.tidy()
	s.ws, s.dirty = conn, false
	s.w.stats.WebSockets.Add(1)
	if s.queue.first != 0 || s.phase != phaseOpen || conn.pinged() {
		s.touch()
	}
	return true
}

func (a *arrival) openHTTP(c gnet.Conn, w *worker, now time.Time) gnet.Action {
	f := &a.form.HTTP
	addr, _ := netip.AddrFromSlice(a.form.Addr)
	h := &httpConn{
		w: w, c: c, served: f.Served, requests: httpread.Restore(int(f.Need), bytes.Clone(f.Gathered)),
		from: limits.Caller{
			Addr: addr, Relayed: a.form.Relayed, ProxyHeader: a.form.ProxyHeader,
			Place: w.server.guard.Inherit(limits.Source(a.form.Place), false),
		},
	}
	c.SetContext(h)
	h.await(f.Timeout, now.Add(f.Left))
	if f.GiveUp != 0 {
		h.giveUp = now.Add(f.GiveUp)
	}
	if a.of != nil {
		h.exchange = &exchange{
			conn: h, method: f.Exchange.Method, origin: f.Exchange.Origin, preflight: f.Exchange.Preflight,
			keepAlive: f.Exchange.KeepAlive, http10: f.Exchange.HTTP10, relayed: f.Exchange.Relayed, home: a.home,
		}
		x := h.exchange
		a.home.shard.Post(func(now time.Time) { a.asks(x, now) })
	}
	if len(a.form.Out) > 0 {
		h.write(a.form.Out)
	}
	if h.c == nil || len(a.form.In) == 0 {
		return gnet.None
	}
	if !putBack(c, a.form.In) {
		return gnet.Close
	}
	return h.traffic(now)
}

// asks brings a pending request to its session, on the session's loop.
func (a *arrival) asks(x *exchange, now time.Time) {
	s := a.of.session
	switch {
	case s == nil || s.poll == nil:
		x.reply(a.home, engineError(http.StatusBadRequest, codeSID))
	case a.role == rolePost:
		s.poll.post = &post{exchange: x, rest: a.rest(), own: true}
		s.resume(now)
	default:
		x.session, s.poll.parked = s, x
		if s.hasAnswer() {
			s.answerPoll()
		}
	}
}

// Fresh takes over a connection, by its descriptor, that the other process has
// accepted and from which it has read nothing. It is closed if it cannot be
// taken over, or was reset: it has no address any more.
func (s *Server) Fresh(fd int) {
	w := s.workers[int(s.turn.Add(1))%len(s.workers)]
	w.shard.Post(func(time.Time) {
		peer := peerOf(fd).ask()
		if peer == nil {
			unix.Close(fd)
			return
		}
		w.register(fd, peer, nil)
	})
}
