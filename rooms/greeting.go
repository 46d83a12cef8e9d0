package rooms

import (
	"time"

	"github.com/hometrip/gateway/codec"
)

// maxHeld limits the bytes that a gate holds for one socket.
const maxHeld = 256 << 10

// A gate is the Sink of a socket that has connected but has not been sent
// connected, because what other servers send to its user does not reach this
// node yet. It holds what the socket is sent meanwhile, so that connected is
// its first event. Owned by the socket's event loop.
type gate struct {
	Sink // the session's

	socket *Socket
	held   []*codec.Message
	size   int // bytes of held
}

// Send implements Sink. Beyond maxHeld the client is sent connected early, as
// when Redis cannot be reached: it may miss an event of other servers, which is
// better than closing it.
func (g *gate) Send(m *codec.Message) {
	g.held = append(g.held, m)
	if g.size += m.Size(); g.size > maxHeld {
		g.socket.greet()
	}
}

// greetWhenHeard sends connected as soon as events that other servers send to
// its user's room, r, reach this node.
func (s *Socket) greetWhenHeard(r *room) {
	if s.shard.hub.config.Outside == nil {
		s.sayConnected()
		return
	}
	s.sink = &gate{Sink: s.sink, socket: s}
	s.shard.whenHeard(r, s, s.greet)
}

// whenHeard calls tell as soon as events that other servers send to r reach
// this node, or at once if there are no other servers. It does not call it if s
// has ended.
func (sh *Shard) whenHeard(r *room, s *Socket, tell func()) {
	outside, id := sh.hub.config.Outside, s.id
	if outside == nil || outside.Await(r.name, func() {
		sh.Post(func(time.Time) {
			if s.connectedAs(id) {
				tell()
			}
		})
	}) {
		tell()
	}
}

// sayConnected sends connected.
func (s *Socket) sayConnected() { s.sendPacket(s.appendConnected(s.shard.buf[:0])) }

// greet removes the gate, if there is one: connected is sent, and then what the
// gate holds.
func (s *Socket) greet() {
	g := s.dropGate()
	if g == nil {
		return
	}
	s.sayConnected()
	for _, m := range g.held {
		s.sink.Send(m)
	}
}

// dropGate makes the session the socket's sink again. It returns the gate, nil
// if there was none.
func (s *Socket) dropGate() *gate {
	g, gated := s.sink.(*gate)
	if !gated {
		return nil
	}
	s.sink = g.Sink
	return g
}
