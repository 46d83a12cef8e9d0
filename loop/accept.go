package loop

import (
	"encoding/binary"
	"net"
	"reflect"
	"slices"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// acceptBatch is how many connections a loop accepts in one round of epoll, in
// addition to the one that gnet accepts. With gnet's alone nearly each of 19,000
// connections, opened 128 at a time, took a round of its own: 19,283 calls of
// epoll_wait, and 879 with batches. It is limited because other clients wait
// meanwhile.
const acceptBatch = 32

// A backlog is the listener of one event loop, from which it accepts what gnet
// leaves. Owned by the loop.
type backlog struct {
	fd          int  // of the listener; 0: not known
	registering bool // register is on the stack
	peer        unix.RawSockaddrAny
}

// acceptMore is called when a connection was accepted by gnet, or registered.
// If it was accepted by gnet, acceptMore accepts up to acceptBatch of those
// that wait at the loop's listener. Errors are left to gnet, which gets them in
// the next round.
func (w *worker) acceptMore() {
	b := &w.backlog
	if b.registering {
		return
	}
	if b.fd == 0 {
		b.fd = listenerOf(w.loop)
	}
	for range acceptBatch {
		fd, peer := b.accept()
		if peer == nil {
			return
		}
		w.register(fd, peer, nil)
	}
}

// accept accepts one connection. peer is nil if there was none. The socket does
// not block, so the runtime need not be told of the call.
func (b *backlog) accept() (fd int, peer *net.TCPAddr) {
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(b.fd), uintptr(unsafe.Pointer(&b.peer)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return 0, nil
	}
	return int(n), tcpAddr(&b.peer)
}

// tcpAddr returns the address in from. It is empty for a client of the socket
// that stands in for a listener, see standIn.
func tcpAddr(from *unix.RawSockaddrAny) *net.TCPAddr {
	switch from.Addr.Family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(from))
		return &net.TCPAddr{IP: slices.Clone(a.Addr[:]), Port: hostOrder(&a.Port)}
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(from))
		return &net.TCPAddr{IP: slices.Clone(a.Addr[:]), Port: hostOrder(&a.Port)}
	}
	return &net.TCPAddr{}
}

// hostOrder returns a port that is in network order.
func hostOrder(port *uint16) int {
	return int(binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(port))[:]))
}

// listenerOf returns the descriptor of a loop's listener. -1, of which accept4
// returns an error, means that this version of gnet keeps it elsewhere.
func listenerOf(loop gnet.EventLoop) int {
	v := reflect.ValueOf(loop)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return -1
	}
	listeners := v.Elem().FieldByName("listeners")
	if !listeners.IsValid() || listeners.Kind() != reflect.Map || listeners.Type().Key().Kind() != reflect.Int || listeners.Len() != 1 {
		return -1
	}
	return int(listeners.MapKeys()[0].Int())
}
