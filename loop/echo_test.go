package loop

import (
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
)

// An echo is a peer for tests of the transports, in place of a Socket.IO
// socket: it sends back every message. The message "close" closes the session.
type echo struct {
	s      *session
	closed int
}

func (e *echo) Text(content []byte, _ time.Time) {
	if string(content) == "close" {
		e.s.Close(rooms.ReasonDraining)
		return
	}
	e.s.Send(codec.NewText(append([]byte("4"), content...)))
}

func (e *echo) Binary(content []byte, _ time.Time) {
	m, err := codec.FromFrames(ws.MustCompileFrame(ws.NewBinaryFrame(content)))
	if err != nil {
		panic(err)
	}
	e.s.Send(m)
}

func (e *echo) Deadline() time.Time { return time.Time{} }
func (e *echo) Holds() int          { return 0 }
func (e *echo) Expire(time.Time)    {}
func (e *echo) Closed(time.Time)    { e.closed++ }

// newEchoServer starts a server whose sessions have an echo as peer.
func newEchoServer(t testing.TB, mutate func(*Config)) *Server {
	return newServer(t, func(c *Config) {
		c.peer = func(_ *worker, s *session, _ string, _ time.Time) peer { return &echo{s: s} }
		if mutate != nil {
			mutate(c)
		}
	})
}
