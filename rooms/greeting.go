package rooms

import "github.com/hometrip/gateway/codec"

// maxHeld bounds what a gate keeps for a socket, in bytes.
const maxHeld = 256 << 10

// A gate is the Sink of a socket that has connected but not been greeted: the
// other nodes do not know its user's room yet. It keeps what the socket is sent
// meanwhile, so that connected is its first event. Owned by the socket's event
// loop.
type gate struct {
	Sink // the session's

	socket *Socket
	held   []*codec.Message
	size   int // bytes of held
}

// Send implements Sink. When more than maxHeld waits, the client is greeted
// before the other nodes know of it, as when Redis is out of reach: that may
// cost it an event of another node, but closing it would cost it more.
func (g *gate) Send(m *codec.Message) {
	g.held = append(g.held, m)
	if g.size += m.Size(); g.size > maxHeld {
		g.socket.greet()
	}
}

// greetWhenKnown has the client greeted as soon as the other nodes know that
// its user's room, r, is on this one.
func (s *Socket) greetWhenKnown(r *room) {
	if r.known {
		s.sayConnected()
		return
	}
	s.sink = &gate{Sink: s.sink, socket: s}
	s.shard.await(r, s, s.greet)
}

// sayConnected tells the client that what is sent to its user reaches it.
func (s *Socket) sayConnected() { s.sendPacket(s.appendConnected(s.shard.buf[:0])) }

// greet opens the gate, if there is one: the client is told that it is
// connected, and then sent what was held back.
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

// dropGate makes the session the socket's sink again. It returns the gate with
// what it holds, nil when there was none.
func (s *Socket) dropGate() *gate {
	g, gated := s.sink.(*gate)
	if !gated {
		return nil
	}
	s.sink = g.Sink
	return g
}
