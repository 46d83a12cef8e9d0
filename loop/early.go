package loop

import (
	"sync"

	"golang.org/x/sys/unix"
)

// early has the connections that a successor accepts before it serves. The
// kernel gives it some when the previous process has died. If they were served
// at once, the state that is then taken over would replace what their clients
// have done. Safe for concurrent use.
type early struct {
	mu  sync.Mutex // guards the following
	fds []int
	end bool // they are served, or closed, from now on
}

// keep stores a connection, by its descriptor. It reports false once
// connections are no longer stored.
func (e *early) keep(fd, most int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.end {
		return false
	}
	if len(e.fds) < most {
		e.fds = append(e.fds, fd)
	} else {
		unix.Close(fd)
	}
	return true
}

// take returns all stored connections. No more are stored.
func (e *early) take() []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.fds
	e.fds, e.end = nil, true
	return all
}

// keepEarly makes accepted connections wait for Begin.
func (s *Server) keepEarly() {
	keep := func(fd int) {
		if !s.early.keep(fd, s.live().MaxConnections) {
			s.Fresh(fd) // Begin was called meanwhile
		}
	}
	s.redirectTo.Store(&keep)
}

// Begin makes a successor serve the connections that it has accepted, and all
// later ones.
func (s *Server) Begin() {
	s.redirectTo.Store(nil)
	for _, fd := range s.early.take() {
		s.Fresh(fd)
	}
}
