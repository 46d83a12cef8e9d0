package loop

import (
	"sync"

	"golang.org/x/sys/unix"
)

// early has the connections that a successor accepts before it serves. The
// kernel gives it some when the process before has died. If they were served at
// once, their clients would be in a process that is not yet what that one was:
// what it then takes over would replace what they had done. Safe for concurrent
// use.
type early struct {
	mu  sync.Mutex // guards the following
	fds []int
	end bool // they are served, or closed, from now on
}

// keep keeps a connection, by its descriptor, and reports false if that is over.
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

// take returns all of them. No more are kept.
func (e *early) take() []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.fds
	e.fds, e.end = nil, true
	return all
}

// keepEarly has accepted connections wait for Begin.
func (s *Server) keepEarly() {
	keep := func(fd int) {
		if !s.early.keep(fd, s.live().MaxConnections) {
			s.Fresh(fd) // Begin was called meanwhile
		}
	}
	s.redirectTo.Store(&keep)
}

// Begin has a successor serve the connections that it has accepted, and those
// to come.
func (s *Server) Begin() {
	s.redirectTo.Store(nil)
	for _, fd := range s.early.take() {
		s.Fresh(fd)
	}
}
