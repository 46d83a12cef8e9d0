package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// send gives frame to c: at once, or with -batch at the end of the turn, or
// when it polls.
func (s *server) send(c *conn, frame []byte) {
	if c.poll != nil {
		if c.out = append(c.out, frame...); len(c.out) > maxPending {
			s.kill(c)
		} else {
			s.release(c)
		}
		return
	}
	if s.batch || c.blocked {
		s.owe(c, frame)
		if !c.blocked && len(c.out) >= flushAt {
			s.flush(c)
		}
		return
	}
	if n := s.write(c, frame); n < len(frame) && !c.dead {
		s.block(c)
		s.owe(c, frame[n:])
	}
}

func (s *server) owe(c *conn, b []byte) {
	if len(c.out)+len(b) > maxPending {
		s.kill(c)
		return
	}
	if c.out == nil && len(s.free) > 0 {
		c.out = s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
	}
	c.out = append(c.out, b...)
	if !c.dirty && !c.blocked {
		c.dirty = true
		s.dirty = append(s.dirty, c)
	}
}

func (s *server) flush(c *conn) {
	if len(c.out) > 0 {
		n := s.write(c, c.out)
		if c.dead {
			return
		}
		if n < len(c.out) {
			c.out = append(c.out[:0], c.out[n:]...)
			s.block(c)
			return
		}
		s.free = append(s.free, c.out[:0])
		c.out = nil
	}
	if c.blocked {
		c.blocked = false
		_ = s.watch(unix.EPOLL_CTL_MOD, int(c.fd), unix.EPOLLIN|unix.EPOLLRDHUP)
	}
}

func (s *server) block(c *conn) {
	if !c.blocked {
		c.blocked = true
		_ = s.watch(unix.EPOLL_CTL_MOD, int(c.fd), unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLOUT)
	}
}

// write returns how many bytes the kernel took and kills c on an error.
func (s *server) write(c *conn, b []byte) int {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(c.fd),
		uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	switch errno {
	case 0:
		return int(n)
	case unix.EAGAIN, unix.EINTR:
		return 0
	}
	s.kill(c)
	return 0
}
