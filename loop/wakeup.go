package loop

import (
	"net"
	"os"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// A wakeup wakes its event loop after a round of epoll, to go on with
// unfinished work: an eventfd among the loop's connections. Owned by its event
// loop.
type wakeup struct {
	w  *worker // nil until it is registered
	fd int     // of the eventfd, beside the registered duplicate
}

// newWakeup creates the eventfd and returns it as a connection for gnet.
func newWakeup() (*wakeup, net.Conn, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, nil, os.NewSyscallError("eventfd", err)
	}
	conn, err := asSocket(fd)
	if err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	return &wakeup{fd: fd}, conn, nil
}

// asSocket returns a duplicate of fd as a connection. gnet registers only
// sockets, by their descriptors: so a socket is created, and fd is put in the
// place of its descriptor.
func asSocket(fd int) (net.Conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(pair[0]), "socket")
	defer f.Close()
	defer unix.Close(pair[1])
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err == nil {
		failed := raw.Control(func(place uintptr) { err = unix.Dup3(fd, int(place), unix.O_CLOEXEC) })
		if err == nil {
			err = failed
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// signal makes the eventfd readable, so that the loop sees it in its next round.
func (a *wakeup) signal() {
	one := uint64(1)
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(a.fd), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
	if errno != 0 {
		a.w.turns.scheduled = false
		a.w.postTurn() // starves the sockets for a turn, but loses nothing
	}
}

// close closes the eventfd when the engine stops. The descriptor may be reused
// afterwards.
func (a *wakeup) close() {
	_ = unix.Close(a.fd)
	a.w.wakeup, a.w.turns.scheduled = nil, false
}

// traffic is called when the eventfd is readable.
func (a *wakeup) traffic(c gnet.Conn) gnet.Action {
	_, _ = c.Discard(-1)
	a.w.onWakeup()
	return gnet.None
}
