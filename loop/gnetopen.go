package loop

import (
	"net"
	"reflect"
	"unsafe"

	gnetsocket "github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// gnet's Enroll registers a connection by way of a goroutine of a pool, two
// more descriptors and the loop's queue. A hand-over has thousands of
// connections, and their clients wait: 46 us of CPU each. These are the
// functions that gnet calls on an event loop for a connection that it has
// accepted itself: 3 us. acceptMore uses them too. They are not exported. A
// version of gnet without them does not link, and a test holds the version whose
// signatures these are.

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
