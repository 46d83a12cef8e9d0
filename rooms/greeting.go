package rooms

import (
	"time"

	"github.com/hometrip/gateway/codec"
)

// maxHeld bounds what a gate keeps for a socket, in bytes.
const maxHeld = 256 << 10

// A gate is the Sink of a socket that has connected but not been greeted: what
// the outside sends to its user does not reach this node yet. It keeps what the
// socket is sent meanwhile, so that connected is its first event. Owned by the
// socket's event loop.
type gate struct {
	Sink // the session's

	socket *Socket
	held   []*codec.Message
	size   int // bytes of held
}

// Send implements Sink. When more than maxHeld waits, the client is greeted
// early, as when Redis is out of reach: that may cost it an event from outside,
// but closing it would cost it more.
func (g *gate) Send(m *codec.Message) {
	g.held = append(g.held, m)
	if g.size += m.Size(); g.size > maxHeld {
		g.socket.greet()
	}
}

// greetWhenHeard has the client greeted as soon as what is sent to its user's
// room, r, reaches this node.
func (s *Socket) greetWhenHeard(r *room) {
	if s.shard.hub.config.Outside == nil {
		s.sayConnected()
		return
	}
	s.sink = &gate{Sink: s.sink, socket: s}
	s.shard.whenHeard(r, s, s.greet)
}

// whenHeard calls tell, unless s has gone, as soon as what the outside sends to
// r reaches this node: at once when there is nobody outside.
func (sh *Shard) whenHeard(r *room, s *Socket, tell func()) {
	outside, id := sh.hub.config.Outside, s.id
	if outside == nil || outside.Await(r.name, func() {
		sh.Post(func(time.Time) {
			if s.phase == phaseConnected && s.id == id {
				tell()
			}
		})
	}) {
		tell()
	}
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
