package main

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readBufferSize = 256 << 10
	maxEvents      = 512
	listenBacklog  = 4096
	acceptsPerTurn = 64
	maxPending     = 1 << 20 // bytes a socket may owe before it is closed
	flushAt        = 64 << 10
	pingTick       = 50 * time.Millisecond
)

// conn is one TCP connection, or a session of long-polling. Owned by the one thread.
type conn struct {
	fd      int32
	open    bool  // upgraded to WebSocket
	redis   bool  // leads to Redis
	blocked bool  // the kernel refused bytes; EPOLLOUT is armed
	dirty   bool  // listed in server.dirty
	dead    bool  // listed in server.dead
	poll    *poll // not nil: has no socket
	probes  *conn // the session it is to take over
	user    string
	seats   []seat
	part    []byte // an incomplete head or frame
	out     []byte // what the kernel has not taken, or, batching, what this turn owes
}

// server is the whole state. Owned by the one thread.
type server struct {
	epoll, listener int
	batch           bool
	pingInterval    time.Duration

	conns    []*conn // by descriptor
	rooms    map[string]*room
	sessions map[string]*conn // those of long-polling
	sid      int              // of the last of them
	bus      *bus             // nil: there are no other servers
	dirty    []*conn
	dead     []*conn
	free     [][]byte // buffers given back by conns
	buf      []byte
	frame    []byte // scratch of the event being sent
	pingFrom int    // next descriptor to ping
}

func listen(port int, batch bool, pingInterval time.Duration) (*server, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, fmt.Errorf("bind 127.0.0.1:%d: %w", port, err)
	}
	if err := unix.Listen(fd, listenBacklog); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	s := &server{
		epoll: epoll, listener: fd, batch: batch, pingInterval: pingInterval,
		rooms: make(map[string]*room), sessions: make(map[string]*conn), buf: make([]byte, readBufferSize),
		frame: make([]byte, 0, 64<<10),
	}
	return s, s.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN)
}

func (s *server) watch(op, fd int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(s.epoll), uintptr(op),
		uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("epoll_ctl fd %d: %w", fd, errno)
	}
	return nil
}

func (s *server) serve() error {
	events := make([]unix.EpollEvent, maxEvents)
	lastPing := time.Now()
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_WAIT, uintptr(s.epoll),
			uintptr(unsafe.Pointer(&events[0])), maxEvents, uintptr(pingTick/time.Millisecond), 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", errno)
		}
		if errno == 0 {
			for i := range events[:n] {
				s.ready(&events[i])
			}
		}
		if now := time.Now(); now.Sub(lastPing) >= pingTick {
			s.pingSome(now.Sub(lastPing))
			lastPing = now
		}
		s.endTurn()
	}
}

func (s *server) ready(ev *unix.EpollEvent) {
	if int(ev.Fd) == s.listener {
		s.accept()
		return
	}
	c := s.conns[ev.Fd]
	if c == nil || c.dead {
		return
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		s.flush(c)
	}
	if ev.Events&^unix.EPOLLOUT != 0 {
		s.read(c)
	}
}

func (s *server) accept() {
	for range acceptsPerTurn {
		fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(s.listener), 0, 0,
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if errno != 0 {
			return
		}
		// Without it a reply waits for the delayed ACK of the one before.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		s.keep(&conn{fd: int32(fd)})
		if s.watch(unix.EPOLL_CTL_ADD, int(fd), unix.EPOLLIN|unix.EPOLLRDHUP) != nil {
			s.kill(s.conns[fd])
		}
	}
}

func (s *server) read(c *conn) {
	head := copy(s.buf, c.part)
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(c.fd),
		uintptr(unsafe.Pointer(&s.buf[head])), uintptr(len(s.buf)-head))
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	if errno != 0 || n == 0 {
		s.kill(c)
		return
	}
	c.part = c.part[:0]
	b := s.buf[:head+int(n)]
	used := 0
	switch {
	case c.redis:
		used = s.replies(c, b)
	case c.open:
		used = s.frames(c, b)
	default:
		used = s.requests(c, b)
	}
	if rest := b[used:]; len(rest) > 0 && !c.dead {
		if len(rest) > readBufferSize/2 {
			s.kill(c)
			return
		}
		c.part = append(c.part, rest...)
	} else {
		c.part = nil
	}
}

// kill closes c at the end of the turn, so that no list being walked changes.
func (s *server) kill(c *conn) {
	if !c.dead {
		c.dead = true
		s.dead = append(s.dead, c)
	}
}

func (s *server) endTurn() {
	for i, c := range s.dirty {
		c.dirty = false
		if !c.dead {
			s.flush(c)
		}
		s.dirty[i] = nil
	}
	s.dirty = s.dirty[:0]
	for i, c := range s.dead {
		s.leaveAll(c)
		s.dead[i] = nil
		if c.poll != nil {
			delete(s.sessions, c.poll.sid)
			continue
		}
		s.conns[c.fd] = nil
		_ = unix.Close(int(c.fd))
	}
	s.dead = s.dead[:0]
}

var pingFrame = []byte("\x81\x012")

// pingSome pings the share of the connections that fell due since the last time.
func (s *server) pingSome(since time.Duration) {
	share := int(int64(len(s.conns))*int64(since)/int64(s.pingInterval)) + 1
	for range min(share, len(s.conns)) {
		if s.pingFrom >= len(s.conns) {
			s.pingFrom = 0
		}
		if c := s.conns[s.pingFrom]; c != nil && c.open && !c.dead {
			s.send(c, pingFrame)
		}
		s.pingFrom++
	}
}
