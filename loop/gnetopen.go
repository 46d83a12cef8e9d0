package loop

import (
	"net"
	"reflect"
	"slices"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	gnetsocket "github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// gnet's Enroll registers a connection by way of a goroutine of a pool, two
// more descriptors and the loop's queue. A hand-over has thousands of
// connections, and their clients wait: 46 us of CPU each. These are the
// functions that gnet calls on an event loop for a connection that it has
// accepted itself: 3 us. They are not exported. A version of gnet without them
// does not link, and a test holds the version whose signatures these are.
//
// gnet accepts one connection in a round of epoll. When clients come in a
// burst, acceptMore accepts the others that wait, and registers them in the
// same way.

//go:linkname newStreamConn github.com/panjf2000/gnet/v2.newStreamConn
func newStreamConn(proto string, fd int, loop unsafe.Pointer, remote unix.Sockaddr, localAddr, remoteAddr net.Addr) (conn unsafe.Pointer)

//go:linkname setContext github.com/panjf2000/gnet/v2.(*conn).SetContext
func setContext(conn unsafe.Pointer, ctx any)

//go:linkname register0 github.com/panjf2000/gnet/v2.(*eventloop).register0
func register0(loop, conn unsafe.Pointer) error

// register registers the TCP connection behind a descriptor with the loop, on
// which it is called. OnOpen finds as in its context. It reports false, and
// closes the descriptor, if the connection cannot be registered.
func (w *worker) register(fd int, peer net.Addr, as any) bool {
	w.backlog.registering = true
	defer func() { w.backlog.registering = false }()
	loop := reflect.ValueOf(w.loop).UnsafePointer()
	c := newStreamConn("tcp", fd, loop, nil, nil, peer)
	setContext(c, as)
	return register0(loop, c) == nil
}

// acceptBatch is how many connections a loop accepts in one round of epoll, but
// for gnet's own: a burst of clients must not keep the others waiting.
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
		return &net.TCPAddr{IP: slices.Clone(a.Addr[:]), Port: hostOrder(a.Port)}
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(from))
		return &net.TCPAddr{IP: slices.Clone(a.Addr[:]), Port: hostOrder(a.Port)}
	}
	return &net.TCPAddr{}
}

// hostOrder returns a port that is in network order.
func hostOrder(port uint16) int {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return int(b[0])<<8 | int(b[1])
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

// A peerOf is the address of the client behind an open descriptor. The kernel
// is asked when the address is needed: to ask for thousands of connections
// takes a third of the time of registering them.
type peerOf int

func (peerOf) Network() string { return "tcp" }

func (p peerOf) String() string {
	if addr := p.ask(); addr != nil {
		return addr.String()
	}
	return "unknown"
}

func (p peerOf) ask() net.Addr {
	peer, err := unix.Getpeername(int(p))
	if err != nil {
		return nil // reset by now
	}
	return gnetsocket.SockaddrToTCPOrUnixAddr(peer)
}
