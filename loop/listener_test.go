package loop

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A listener is replaced by a descriptor without connections. accept must
// return EAGAIN for it: gnet takes any other error as a reason to stop.
func TestReplacedListenerAcceptsNoConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l.Close() // f is a duplicate, which still listens
	waiting, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()

	listener := int(f.Fd()) // Fd makes the listener blocking, so it is called once
	if err := standIn([]int{listener}); err != nil {
		t.Fatal(err)
	}
	if fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC); err != unix.EAGAIN {
		t.Errorf("accepted %d with %v, want %v", fd, err, unix.EAGAIN)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("a connection was accepted, want no listener")
	}
}
