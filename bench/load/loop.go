package load

import (
	"bytes"
	"fmt"
	"math"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readBufferSize = 256 << 10
	maxEvents      = 128 // per epoll_wait: bounds how late a paced send can be
	maxWait        = 100 * time.Millisecond
	maxProblems    = 20 // texts kept per phase
)

// phase is what the worker is doing. All methods run on the Loop's thread.
type phase interface {
	// tick may send. It returns when it wants to run again at the latest (ns)
	// and whether the phase is over. It runs after every round of epoll.
	tick(now int64) (next int64, done bool)
	connected(c *conn)
	event(c *conn, name eventName, p []byte)
	ack(c *conn, p []byte)
	closed(c *conn, was step)
}

// Loop is one epoll instance and its clients. Owned by the thread that runs a
// phase; phases do not overlap.
type Loop struct {
	epoll    int
	targets  []unix.SockaddrInet4
	hosts    []string // Host headers of targets
	conns    []conn
	pub      *publisher // nil until Publish is asked for
	polls    pollers
	dialect  dialect
	minter   minter
	sessions sessions
	source   byte // third byte of the clients' addresses, one per worker
	buf      []byte
	scratch  []byte
	free     [][]byte // part buffers given back
	phase    phase
	now      int64 // ns; when the last read returned

	pings, frames, reads, received uint64
	failures                       uint64
	problems                       []string
}

func newLoop() (*Loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	l := &Loop{epoll: fd, buf: make([]byte, readBufferSize), scratch: make([]byte, 0, 64<<10)}
	l.polls.byFD = make(map[int32]*poller)
	l.sessions = make(sessions)
	return l, nil
}

// base ties Go's monotonic clock, which is read without a system call, to
// CLOCK_MONOTONIC, which all processes share.
var base, baseNs = func() (time.Time, int64) {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Now(), ts.Nano()
}()

// indexOf is the inverse of &l.conns[i].
func (l *Loop) indexOf(c *conn) int32 {
	first := uintptr(unsafe.Pointer(&l.conns[0]))
	return int32((uintptr(unsafe.Pointer(c)) - first) / unsafe.Sizeof(*c))
}

func clock() int64 { return baseNs + int64(time.Since(base)) }

// problem records one way in which the run is not right.
func (l *Loop) problem(format string, args ...any) {
	l.failures++
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

// run drives p until it is done.
func (l *Loop) run(p phase) error {
	l.phase = p
	l.now = clock()
	var events [maxEvents]unix.EpollEvent
	for {
		now := clock()
		next, done := p.tick(now)
		if done {
			return nil
		}
		wait := unix.NsecToTimespec(min(max(next-now, 0), int64(maxWait)))
		// Raw: the runtime would take the processor away during each wait and
		// give it back afterwards, which costs more than what is measured.
		// Nothing else in this process runs during a phase.
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(l.epoll),
			uintptr(unsafe.Pointer(&events[0])), maxEvents, uintptr(unsafe.Pointer(&wait)), 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return fmt.Errorf("epoll_pwait2: %w", errno)
		}
		if errno == 0 {
			for i := range events[:n] {
				l.ready(&events[i])
			}
		}
	}
}

// never is a tick that waits for events only.
const never = math.MaxInt64

// What a descriptor belongs to; kept in the unused half of the epoll data.
const (
	kindConn int32 = iota
	kindPublisher
	kindPoller
)

func (l *Loop) watch(op, fd int, events uint32, kind, index int32) error {
	ev := unix.EpollEvent{Events: events, Fd: index, Pad: kind}
	if err := unix.EpollCtl(l.epoll, op, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl fd %d: %w", fd, err)
	}
	return nil
}

func (l *Loop) ready(ev *unix.EpollEvent) {
	switch ev.Pad {
	case kindPublisher:
		l.pub.ready(l)
		return
	case kindPoller:
		l.polls.ready(l, ev.Fd)
		return
	}
	c := &l.conns[ev.Fd]
	switch c.step {
	case stepClosed, stepKicked:
	case stepStalled:
		l.kicked(c)
	case stepDialing:
		l.request(c)
	default:
		l.read(c)
	}
}

func rawRead(fd int32, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

func rawWrite(fd int32, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

func (l *Loop) read(c *conn) {
	head := copy(l.buf, c.part)
	n, errno := rawRead(c.fd, l.buf[head:])
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	if errno != 0 || n == 0 {
		l.hungUp(c, errno)
		return
	}
	l.now = clock()
	l.reads++
	l.received += uint64(n)
	b := l.buf[:head+n]
	used := 0
	if c.step == stepHead {
		used = l.head(c, b)
	}
	if c.step > stepHead {
		used += l.packets(c, b[used:])
	}
	if c.step != stepClosed {
		l.keep(c, b[used:])
	}
}

// keep stores the bytes of an incomplete frame, in a buffer that is given back
// as soon as the frame is whole.
func (l *Loop) keep(c *conn, rest []byte) {
	if len(rest) == 0 {
		if c.part != nil {
			l.free = append(l.free, c.part[:0])
			c.part = nil
		}
		return
	}
	if c.part == nil && len(l.free) > 0 {
		c.part = l.free[len(l.free)-1]
		l.free = l.free[:len(l.free)-1]
	}
	c.part = append(c.part[:0], rest...)
}

func (l *Loop) hungUp(c *conn, errno unix.Errno) {
	why := "end of file"
	if errno != 0 {
		why = errno.Error()
	}
	if c.step < stepReady {
		l.problem("connection closed in step %d: %s", c.step, why)
	}
	l.gone(c)
}

// gone drops c and tells the phase.
func (l *Loop) gone(c *conn) {
	was := c.step
	l.drop(c)
	l.phase.closed(c, was)
}

// drop closes c without a word to the phase.
func (l *Loop) drop(c *conn) {
	if c.step != stepClosed {
		_ = unix.Close(int(c.fd))
		l.keep(c, nil)
		c.step, c.fd = stepClosed, -1
	}
}

func (l *Loop) packets(c *conn, b []byte) int {
	used := 0
	for c.step != stepClosed {
		op, p, n, err := nextFrame(b[used:])
		if err != nil {
			l.problem("%v", err)
			l.gone(c)
			return used
		}
		if n == 0 {
			return used
		}
		used += n
		l.frames++
		switch op {
		case opText:
			l.dialect.packet(l, c, p)
		case opPing:
			l.send(c, appendFrame(l.scratch[:0], opPong, p))
		case opClose:
			l.gone(c)
		case opPong:
		default:
			l.problem("frame with opcode %d", op)
		}
	}
	return used
}

// send writes b whole. Clients send little, so that a full socket is an error.
func (l *Loop) send(c *conn, b []byte) {
	n, errno := rawWrite(c.fd, b)
	switch {
	case errno == unix.EPIPE || errno == unix.ECONNRESET:
		l.hungUp(c, errno)
	case errno != 0:
		l.problem("write: %v", errno)
	case n < len(b):
		l.problem("short write: %d of %d bytes", n, len(b))
	}
}

// pinged counts a heartbeat of the server.
func (l *Loop) pinged(c *conn) {
	l.pings++
	c.pings++
}

// emit sends one packet as a text frame.
func (l *Loop) emit(c *conn, packet []byte) {
	l.scratch = appendFrame(l.scratch[:0], opText, packet)
	l.send(c, l.scratch)
}

// head takes the answer to the upgrade request.
func (l *Loop) head(c *conn, b []byte) int {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return 0
	}
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 101")) {
		l.problem("upgrade refused: %q", b[:min(end, 80)])
		l.gone(c)
		return 0
	}
	c.step = stepOpen
	l.dialect.upgraded(l, c)
	return end + len(headEnd)
}

var headEnd = []byte("\r\n\r\n")
